"""The thesis' findings as pure functions of measured numbers: confirmed, refuted or undecided, and the sentence why.

Two figures differ where their 95 % intervals do not overlap; with several verifiers, every one that judged both runs has
to say so. Where intervals overlap, or a run or figure is missing, a finding is undecided. What has no interval, a single
image's confidence or a run's path, goes by the threshold that its function states; none was chosen after looking at
results.
"""

from typing import Literal, NamedTuple

from jinv.reproduce.numbers import Numbers, Order, agreed, compare, distances, judged_both, order_of

Verdict = Literal["confirmed", "refuted", "undecided"]


class Finding(NamedTuple):
    """A verdict and the sentence with the numbers that it rests on."""

    verdict: Verdict
    sentence: str


def noise_though_classified(bare: Numbers | None, regularized: Numbers | None) -> Finding:
    """Without regularization images are noise though classified at about 100 %.

    The network itself recognises at least 95 %, every verifier fewer than it does, and the share of high frequencies
    is above that of regularized images.
    """
    if not (
        bare and regularized and bare.own and bare.verifiers and bare.high_frequency and regularized.high_frequency
    ):
        return _missing(bare, regularized)
    sure = bare.own.value >= 0.95
    strangers = agreed([order_of(share, bare.own) for share in bare.verifiers.values()])
    noisy = order_of(bare.high_frequency, regularized.high_frequency)
    sentence = (
        f"The network itself recognises {bare.own} of the images{_files(bare)}, {_verifiers(bare)}; high frequencies hold "
        f"{bare.high_frequency} of their energy, {regularized.high_frequency} with every term."
    )
    if not sure or strangers == "above" or noisy == "below":
        return Finding("refuted", sentence)
    return Finding("confirmed" if strangers == "below" and noisy == "above" else "undecided", sentence)


def tricks_show_structure(bare: Numbers | None, tricks: Numbers | None) -> Finding:
    """Roll, flip and clip show more structure: less of the energy is in high frequencies, and no verifier sees less."""
    if not (bare and tricks and bare.high_frequency and tricks.high_frequency):
        return _missing(bare, tricks)
    noise, seen = order_of(tricks.high_frequency, bare.high_frequency), compare(tricks, bare)
    sentence = (
        f"High frequencies hold {tricks.high_frequency} of the energy with them and {bare.high_frequency} without; "
        f"{_verifiers(tricks)} with them, {_verifiers(bare)} without."
    )
    if noise == "above" or seen == "below":
        return Finding("refuted", sentence)
    return Finding("confirmed" if noise == "below" else "undecided", sentence)


def prior_removes_noise(without: Numbers | None, prior: Numbers | None) -> Finding:
    """The image prior removes noise and blurs: neighbouring pixels and high frequencies both differ less."""
    if not (
        without and prior and without.high_frequency and prior.high_frequency and without.variation and prior.variation
    ):
        return _missing(without, prior)
    orders = [order_of(prior.high_frequency, without.high_frequency), order_of(prior.variation, without.variation)]
    sentence = (
        f"High frequencies hold {prior.high_frequency} of the energy with the prior and {without.high_frequency} "
        f"without; neighbouring pixels differ by {prior.variation} with it and {without.variation} without."
    )
    return Finding(_verdict(agreed(orders), confirmed="below"), sentence)


def statistics_make_objects(prior: Numbers | None, statistics: Numbers | None) -> Finding:
    """Batch-norm statistics make whole, recognisable objects: the verifiers recognise more images than without them."""
    if not (prior and statistics):
        return _missing(prior, statistics)
    sentence = f"With the statistics {_verifiers(statistics)}; with the image prior alone {_verifiers(prior)}."
    for name in judged_both(statistics.norm_distance, prior.norm_distance)[:1]:
        sentence += (
            f" The statistics of {name} are off by "
            f"{100 * statistics.norm_distance[name]:.0f} % with the term and {100 * prior.norm_distance[name]:.0f} % "
            "without."
        )
    return Finding(_verdict(compare(statistics, prior), confirmed="above"), sentence)


def robust_is_clearer(standard: Numbers | None, robust: Numbers | None) -> Finding:
    """The robust model gives clearer images: verifiers recognise more of them, or they are nearer to real images.

    The kernel distance counts where real images were given. Where the two contradict each other it is undecided.
    """
    if not (standard and robust):
        return _missing(standard, robust)
    sentence = f"Of the robust network's images {_verifiers(robust)}; of the standard one's {_verifiers(standard)}."
    if robust.high_frequency and standard.high_frequency:
        sentence += f" High frequencies hold {robust.high_frequency} of the energy against {standard.high_frequency}."
    return _more_real(robust, standard, sentence)


def no_momentum_blurs(with_betas: Numbers | None, without: Numbers | None) -> Finding:
    """Betas 0 help some classes, and blur all: high frequencies hold less of the energy.

    "Some classes": the verifiers' mean confidence rises in at least one class and falls in at least one, by 0.1 or more.
    """
    if not (with_betas and without and with_betas.high_frequency and without.high_frequency):
        return _missing(with_betas, without)
    common = with_betas.class_confidence.keys() & without.class_confidence.keys()
    moved = {name: without.class_confidence[name] - with_betas.class_confidence[name] for name in common}
    better = sorted(name for name, change in moved.items() if change >= 0.1)
    worse = sorted(name for name, change in moved.items() if change <= -0.1)
    blur = order_of(without.high_frequency, with_betas.high_frequency)
    sentence = (
        f"High frequencies hold {without.high_frequency} of the energy with betas 0 and {with_betas.high_frequency} with "
        f"0.9 and 0.999; verifiers are surer of {_list(better)} and less sure of {_list(worse)}."
    )
    if not common:
        return Finding("undecided", sentence)
    if blur == "above" or not better:
        return Finding("refuted", sentence)
    return Finding("confirmed" if blur == "below" and worse else "undecided", sentence)


def objects_repeat(small: Numbers | None, large: Numbers | None) -> Finding:
    """At larger sizes the object repeats instead of growing.

    An object that grows with the image has its mean spatial frequency (cycles per pixel) divided by the ratio of the
    sizes, one that repeats keeps it. Confirmed where the larger images' interval lies above the middle of the two.
    """
    if not (small and large and small.frequency and large.frequency and 0 < small.size < large.size):
        return _missing(small, large)
    grown = small.frequency.value * small.size / large.size
    middle = (grown + small.frequency.value) / 2
    sentence = (
        f"The mean frequency is {small.frequency} cycles per pixel at {small.size} px and {large.frequency} at "
        f"{large.size} px; objects that had grown with the image would have {grown:.3g}.{_confound(small, large)}"
    )
    if large.frequency.low > middle:
        return Finding("confirmed", sentence)
    return Finding("refuted" if large.frequency.high < middle else "undecided", sentence)


def larger_is_realistic(small: Numbers | None, large: Numbers | None) -> Finding:
    """Larger images look more realistic: verifiers, at their own size, recognise more of them; as `robust_is_clearer`."""
    if not (small and large):
        return _missing(small, large)
    sentence = (
        f"At {large.size} px {_verifiers(large)}; at {small.size} px {_verifiers(small)}.{_confound(small, large)}"
    )
    return _more_real(large, small, sentence)


def clipping_contributes_most(clip: Numbers | None, moves: Numbers | None) -> Finding:
    """Clipping contributes most to realism: alone it takes more high frequencies away than roll and flip alone."""
    if not (clip and moves and clip.high_frequency and moves.high_frequency):
        return _missing(clip, moves)
    orders = [order_of(clip.high_frequency, moves.high_frequency)]
    if compare(clip, moves) != "overlap":
        orders.append("below" if compare(clip, moves) == "above" else "above")
    sentence = (
        f"High frequencies hold {clip.high_frequency} of the energy with clipping alone and {moves.high_frequency} with "
        f"roll and flip alone; {_verifiers(clip)} and {_verifiers(moves)}."
    )
    return Finding(_verdict(agreed(orders), confirmed="below"), sentence)


def moves_speed_convergence(clip: Numbers | None, both: Numbers | None) -> Finding:
    """Roll and flip mainly speed convergence: with them a confidence of 0.9 takes fewer steps than with clipping alone.

    A run has one path, so no interval: confirmed and refuted need a difference of a tenth of the steps. The thesis speaks
    of convergence to *realistic* images, which is another matter: what outside judges recognise after how many steps.
    """
    if not (clip and both):
        return _missing(clip, both)
    first, second = clip.steps_to_confidence, both.steps_to_confidence
    sentence = (
        f"The network's own confidence reaches 0.9 {_steps(both)} with roll, flip and clipping, {_steps(clip)} with "
        "clipping alone; how soon images are realistic, which the thesis means, is not tested."
    )
    if first is None and second is None:
        return Finding("undecided", sentence)
    if first is None or (second is not None and second <= 0.9 * first):
        return Finding("confirmed", sentence)
    return Finding("refuted" if second is None or second >= 1.1 * first else "undecided", sentence)


def surer_than_of_a_photograph(optimized: Numbers | None, photograph: Numbers | None) -> Finding:
    """Within a few steps noise is classified with more confidence than a real photograph of the class.

    One image each, so no interval: whichever is larger.
    """
    if not (
        optimized and photograph and optimized.own_confidence is not None and photograph.own_confidence is not None
    ):
        return _missing(optimized, photograph)
    steps = f" after {optimized.steps_to_confidence} steps" if optimized.steps_to_confidence is not None else ""
    sentence = (
        f"Confidence {optimized.own_confidence:.4f} in the optimised noise (0.9{steps or ' was never reached'}){_files(optimized)}, "
        f"{photograph.own_confidence:.4f} in the photograph."
    )
    return Finding("confirmed" if optimized.own_confidence > photograph.own_confidence else "refuted", sentence)


def _more_real(run: Numbers, other: Numbers, sentence: str) -> Finding:
    """Recognised more, or nearer to real images, where the two do not contradict each other."""
    seen = compare(run, other)
    farther, text = distances(run, other)
    better, worse = seen == "above" or farther == "below", seen == "below" or farther == "above"
    verdict: Verdict = "undecided" if better == worse else "confirmed" if better else "refuted"
    return Finding(verdict, sentence + text)


def _verdict(order: Order, *, confirmed: Order) -> Verdict:
    return "undecided" if order == "overlap" else "confirmed" if order == confirmed else "refuted"


def _missing(*runs: Numbers | None) -> Finding:
    known = [run.name for run in runs if run]
    if len(known) == len(runs):
        return Finding("undecided", f"{' and '.join(known)} do not have all the figures that it needs.")
    there = f"only {' and '.join(known)} was" if known else "none was"
    return Finding("undecided", f"Of the two runs that it compares, {there} made.")


def _verifiers(run: Numbers) -> str:
    if not run.verifiers:
        return "no other network judged"
    return " and ".join(f"{name} recognises {share}" for name, share in run.verifiers.items())


def _confound(small: Numbers, large: Numbers) -> str:
    if small.steps == large.steps:
        return ""
    return f" Size and steps changed together: {large.steps} steps at {large.size} px, {small.steps} at {small.size}."


def _files(run: Numbers) -> str:
    return f" ({run.own_files} from 8-bit files)" if run.own_files and run.own_files != run.own else ""


def _steps(run: Numbers) -> str:
    steps = run.steps_to_confidence
    return f"not within {run.steps} steps" if steps is None else f"after {steps} steps"


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"
