"""The thesis' findings on invented numbers, both ways, and undecided where intervals overlap or a number is missing."""

import pytest

from jinv.judge.metrics import share_of
from jinv.record.entry import validated
from jinv.record.estimate import Estimate
from jinv.record.metrics import MetricsLine
from jinv.report.curves import Curves
from jinv.reproduce import claims
from jinv.reproduce.findings import CLAIMS, _own_share, confidence_curve, judge_claims, numbers_of, steps_to
from jinv.reproduce.numbers import Numbers
from tests.report.test_report import line, make_run, verdict


def near(value, half=0.01):
    return Estimate(value, value - half, value + half)


def run(**numbers):
    return Numbers("a run", **numbers)


def seen(right, total=100):
    return {"a": share_of(right, total), "b": share_of(min(right + 1, total), total)}


CASES = [
    (claims.surer_than_of_a_photograph, run(own_confidence=0.999), run(own_confidence=0.8), "confirmed"),
    (claims.surer_than_of_a_photograph, run(own_confidence=0.7), run(own_confidence=0.8), "refuted"),
    (claims.surer_than_of_a_photograph, run(own_confidence=0.7), None, "undecided"),
    (claims.noise_though_classified, run(own=share_of(100, 100), verifiers=seen(5), high_frequency=near(0.7)), run(high_frequency=near(0.1)), "confirmed"),
    (claims.noise_though_classified, run(own=share_of(90, 100), verifiers=seen(5), high_frequency=near(0.7)), run(high_frequency=near(0.1)), "refuted"),
    (claims.noise_though_classified, run(own=share_of(100, 100), verifiers=seen(98), high_frequency=near(0.7)), run(high_frequency=near(0.1)), "undecided"),
    (claims.noise_though_classified, run(own=share_of(100, 100), verifiers=seen(5), high_frequency=near(0.1)), run(high_frequency=near(0.7)), "refuted"),
    (claims.tricks_show_structure, run(high_frequency=near(0.7)), run(high_frequency=near(0.5)), "confirmed"),
    (claims.tricks_show_structure, run(high_frequency=near(0.5)), run(high_frequency=near(0.7)), "refuted"),
    (claims.tricks_show_structure, run(high_frequency=near(0.5)), run(high_frequency=near(0.51)), "undecided"),
    (claims.tricks_show_structure, run(high_frequency=near(0.7), verifiers=seen(90)), run(high_frequency=near(0.5), verifiers=seen(10)), "refuted"),
    (claims.prior_removes_noise, run(high_frequency=near(0.5), variation=near(0.4)), run(high_frequency=near(0.2), variation=near(0.1)), "confirmed"),
    (claims.prior_removes_noise, run(high_frequency=near(0.2), variation=near(0.1)), run(high_frequency=near(0.5), variation=near(0.4)), "refuted"),
    (claims.prior_removes_noise, run(high_frequency=near(0.5), variation=near(0.1)), run(high_frequency=near(0.2), variation=near(0.4)), "undecided"),
    (claims.statistics_make_objects, run(verifiers=seen(10)), run(verifiers=seen(80)), "confirmed"),
    (claims.statistics_make_objects, run(verifiers=seen(80)), run(verifiers=seen(10)), "refuted"),
    (claims.statistics_make_objects, run(verifiers=seen(50)), run(verifiers=seen(55)), "undecided"),
    (claims.statistics_make_objects, run(verifiers={"a": share_of(10, 100), "b": share_of(50, 100)}), run(verifiers={"a": share_of(80, 100), "b": share_of(50, 100)}), "undecided"),
    (claims.robust_is_clearer, run(verifiers=seen(60)), run(verifiers=seen(97)), "confirmed"),
    (claims.robust_is_clearer, run(verifiers=seen(97)), run(verifiers=seen(60)), "refuted"),
    (claims.robust_is_clearer, run(verifiers=seen(97), kernel_distance={"a": near(9)}), run(verifiers=seen(97), kernel_distance={"a": near(3)}), "confirmed"),
    (claims.robust_is_clearer, run(verifiers=seen(60), kernel_distance={"a": near(3)}), run(verifiers=seen(97), kernel_distance={"a": near(9)}), "undecided"),
    # Distances in other networks' features say nothing about each other.
    (claims.robust_is_clearer, run(verifiers=seen(97), kernel_distance={"a": near(9)}), run(verifiers=seen(97), kernel_distance={"b": near(3)}), "undecided"),
    (claims.no_momentum_blurs, run(high_frequency=near(0.3), class_confidence={"x": 0.2, "y": 0.9}), run(high_frequency=near(0.1), class_confidence={"x": 0.8, "y": 0.5}), "confirmed"),
    (claims.no_momentum_blurs, run(high_frequency=near(0.1), class_confidence={"x": 0.2, "y": 0.9}), run(high_frequency=near(0.3), class_confidence={"x": 0.8, "y": 0.5}), "refuted"),
    (claims.no_momentum_blurs, run(high_frequency=near(0.3), class_confidence={"x": 0.2}), run(high_frequency=near(0.1), class_confidence={"x": 0.2}), "refuted"),
    (claims.no_momentum_blurs, run(high_frequency=near(0.3)), run(high_frequency=near(0.1)), "undecided"),
    (claims.objects_repeat, run(size=224, frequency=near(0.06, 0.002)), run(size=336, frequency=near(0.059, 0.002)), "confirmed"),
    (claims.objects_repeat, run(size=224, frequency=near(0.06, 0.002)), run(size=336, frequency=near(0.041, 0.002)), "refuted"),
    (claims.objects_repeat, run(size=224, frequency=near(0.06, 0.002)), run(size=336, frequency=near(0.05, 0.002)), "undecided"),
    (claims.objects_repeat, run(size=224, frequency=near(0.06)), run(size=224, frequency=near(0.06)), "undecided"),
    (claims.larger_is_realistic, run(verifiers=seen(50)), run(verifiers=seen(90)), "confirmed"),
    (claims.larger_is_realistic, run(verifiers=seen(90)), run(verifiers=seen(50)), "refuted"),
    (claims.larger_is_realistic, run(verifiers=seen(90)), run(verifiers=seen(90)), "undecided"),
    (claims.clipping_contributes_most, run(high_frequency=near(0.3)), run(high_frequency=near(0.6)), "confirmed"),
    (claims.clipping_contributes_most, run(high_frequency=near(0.6)), run(high_frequency=near(0.3)), "refuted"),
    (claims.clipping_contributes_most, run(high_frequency=near(0.3), verifiers=seen(10)), run(high_frequency=near(0.6), verifiers=seen(90)), "undecided"),
    (claims.moves_speed_convergence, run(steps_to_confidence=100), run(steps_to_confidence=50), "confirmed"),
    (claims.moves_speed_convergence, run(steps_to_confidence=50), run(steps_to_confidence=100), "refuted"),
    (claims.moves_speed_convergence, run(steps_to_confidence=None), run(steps_to_confidence=100), "confirmed"),
    (claims.moves_speed_convergence, run(steps_to_confidence=100), run(steps_to_confidence=99), "undecided"),
    (claims.moves_speed_convergence, run(), run(), "undecided"),
]  # fmt: skip


@pytest.mark.parametrize("test, first, second, verdict", CASES)
def test_findings(test, first, second, verdict):
    finding = test(first, second)
    assert finding.verdict == verdict, finding.sentence
    assert finding.sentence.endswith(".")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.test.__name__)
def test_every_claim_goes_every_way_and_nothing_measured_is_undecided(claim):
    assert {verdict for test, *_, verdict in CASES if test is claim.test} == {"confirmed", "refuted", "undecided"}
    for pair in ((None, None), (run(), run()), (run(), None), (None, run())):
        assert claim.test(*pair).verdict == "undecided"


def test_sentences_carry_the_numbers():
    sentence = claims.statistics_make_objects(
        run(verifiers={"lite1": share_of(1, 14)}), run(verifiers={"lite1": share_of(13, 14)})
    ).sentence
    assert "13 of 14 (69 to 99 %)" in sentence and "1 of 14 (1 to 31 %)" in sentence


def test_a_robust_network_is_compared_with_its_twin_and_others_with_themselves():
    measured = {
        ("4.5", "standard", ""): run(verifiers=seen(50)),
        ("4.5", "robust", ""): run(verifiers=seen(99)),
        ("4.11", "robust", ""): run(verifiers=seen(60), size=448),
    }
    found = dict(judge_claims(measured, ["standard", "robust"], {"robust": "standard"}))
    assert [(n, f.verdict) for n, f in found["The robust model gives clearer images."]] == [("robust", "confirmed")]
    assert [(n, f.verdict) for n, f in found["Larger images look more realistic."]] == [("robust", "refuted")]
    assert found["The image prior removes noise and blurs."][0][1].verdict == "undecided"


def metrics_line(step, batch, loss, accuracy=0.5):
    return validated(MetricsLine, line(step, loss, batch=batch, accuracy=accuracy), "a line")


def test_confidence_is_the_geometric_mean_over_batches():
    lines = [metrics_line(s, b, v) for s, b, v in [(1, 0, 2.0), (1, 1, 4.0), (2, 0, 0.0), (2, 1, 0.2)]]
    curve = confidence_curve(Curves(lines))
    assert curve == [(1, pytest.approx(0.0497871)), (2, pytest.approx(0.9048374))]
    assert steps_to(curve, 0.9) == 2 and steps_to(curve, 0.95) is None


def test_a_small_last_batch_weighs_as_many_images_as_it_has():
    lines = [metrics_line(1, batch, 0.1, accuracy) for batch, accuracy in enumerate([1.0, 0.95, 1.0])]
    assert _own_share(lines, 41, 20) == share_of(40, 41)


def test_numbers_come_from_the_runs_files(tmp_path):
    """Own figures from the last step of each batch in network units, everything else from the evaluation."""
    judged = verdict(["tench", "goldfish"], [False, True]) | {"norm_distances": [[0.1, 0.3]]}
    for opinion, confidence in zip(judged["per_image"], (0.25, 0.75), strict=True):
        opinion["label_confidence"] = confidence
    figure = {"value": 0.3, "low": None, "high": None, "per_image": [0.3]}
    distance = {"value": 0.5, "low": 0.25, "high": 1.0}
    withheld = {"withheld": "too few"}
    beside = {"count": 9, "features": 4, "kernel_distance": distance, "overlap": withheld, "frechet_distance": withheld}
    evaluation = {
        "verifiers": {
            "net_a": judged | {"reference": beside},
            "net_b": judged | {"independent": False},
            "net_c": judged | {"reference": beside | {"kernel_distance": withheld}},
        },
        "pictures": {
            "count": 2, "high_frequency_energy": figure, "mean_variation": figure, "mean_frequency": figure,
        },
    }  # fmt: skip
    lines = [
        line(s, v, batch=b, accuracy=a)
        for b, s, a, v in [(0, 1, 0.0, 3.0), (0, 2, 1.0, 0.0), (1, 1, 0.0, 3.0), (1, 2, 1.0, 0.1)]
    ]
    path = make_run(
        tmp_path / "r", lines=lines, evaluation=evaluation, image_size=[8, 6], stages=[{"size": [8, 6], "steps": 2}]
    )
    half = Estimate(0.5, 0.1, 0.9, 2)  # the interval that the file states
    numbers = numbers_of(path, "a run")
    assert numbers.own == share_of(2, 2) and str(numbers.own).startswith("2 of 2")
    assert (numbers.own_files, numbers.verifiers) == (half, {"net_a": half, "net_c": half})
    assert numbers.own_confidence == pytest.approx(0.9512294) and numbers.steps_to_confidence == 2
    assert (numbers.size, numbers.steps) == (6, 2)
    assert numbers.norm_distance == {"net_a": pytest.approx(0.2), "net_c": pytest.approx(0.2)}
    assert numbers.class_confidence == {"tench": 0.25, "goldfish": 0.75}
    assert numbers.high_frequency.low == -float("inf") and numbers.high_frequency.value == 0.3
    assert numbers.kernel_distance == {"net_a": Estimate(0.5, 0.25, 1.0)}
    start = numbers_of(make_run(tmp_path / "s", evaluation=evaluation), "a photograph")
    assert (start.own, start.own_confidence) == (half, pytest.approx(0.5))


@pytest.mark.parametrize(
    ("relations", "deciding"),
    [
        ({"near": "sibling", "far": "stranger"}, {"far"}),
        ({"near": "sibling", "who": "unknown"}, {"near (a sibling)", "who"}),
        ({"near": "sibling"}, {"near (a sibling)"}),
    ],
)
def test_strangers_decide_where_there_are_any_and_siblings_are_named(tmp_path, relations, deciding):
    judged = verdict(["tench", "goldfish"], [False, True])
    evaluation = {"verifiers": {name: judged | {"relation": relation} for name, relation in relations.items()}}
    numbers = numbers_of(make_run(tmp_path / "r", evaluation=evaluation), "a run")
    assert numbers.verifiers.keys() == deciding


@pytest.mark.parametrize("claim", [claims.objects_repeat, claims.larger_is_realistic])
def test_where_steps_differ_between_two_sizes_the_sentence_says_so(claim):
    small, large, longer = (
        run(size=size, steps=steps, frequency=Estimate(0.1, 0.09, 0.11))
        for size, steps in ((224, 150), (448, 120), (448, 150))
    )
    assert "Size and steps changed together: 120 steps at 448 px, 150 at 224." in claim(small, large).sentence
    assert "changed together" not in claim(small, longer).sentence


def test_convergence_says_which_it_is_not():
    finding = claims.moves_speed_convergence(run(steps_to_confidence=50), run(steps_to_confidence=100))
    assert "realistic" in finding.sentence
