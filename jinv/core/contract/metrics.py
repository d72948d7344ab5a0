"""What every metric of a finished picture keeps: a finite number of any picture, the same each time, and the picture as it was."""

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from jinv.core.contract.findings import Finding, Findings, Stop, in_words, raised
from jinv.core.contract.hyperparameters import Given, check_declared, shown, variants
from jinv.core.contract.inputs import HEIGHT, WIDTH
from jinv.core.contract.surroundings import surroundings
from jinv.core.signatures import as_float, kind_of, silently

SIZES = ((HEIGHT, WIDTH), (7, 9), (1, 1), (1, 5), (6, 1))
CALLS = 4
ADVICE = "a mean of nothing, a division or a logarithm of 0"

Function = Callable[..., Any]


def check_metric(function: Function, given: Given) -> Findings:
    """Everything that a metric keeps, with the hyperparameters given, and with every other choice of each.

    Raises:
      Stop: what was found leaves nothing more to ask.
    """
    yield check_declared("metrics", function, given)
    yield _check_number(function, given)
    yield _check_argument(function, given)
    yield _check_pure(function, given)
    yield _check_finite(function, given)


def pictures(height: int, width: int) -> dict[str, np.ndarray]:
    """uint8 pictures (height, width, 3), by what they are in words."""
    drawn = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    stripes = np.zeros_like(drawn)
    stripes[:, ::2] = 255
    return {
        "a random picture": drawn,
        "a picture of one colour": np.broadcast_to(np.array([200, 90, 30], np.uint8), drawn.shape).copy(),
        "a black picture": np.zeros_like(drawn),
        "a white picture": np.full_like(drawn, 255),
        "a picture of stripes": stripes,
    }


def _check_number(function: Function, given: Given) -> Finding:
    """ "number": of a random picture one real number."""
    try:
        value = _called(function, pictures(HEIGHT, WIDTH)["a random picture"], given)
    except Exception as error:
        raise Stop(raised("number", error, function, f"a uint8 picture of {HEIGHT} x {WIDTH} px")) from error
    if as_float(value) is None:
        raise Stop(Finding("number", f"returns {kind_of(value)}", "one number of one picture: float(...)"))
    return Finding("number")


def _check_argument(function: Function, given: Given) -> Finding:
    """ "argument": the picture is as it was, for other metrics look at it next."""
    pixels = pictures(HEIGHT, WIDTH)["a random picture"]
    before = pixels.copy()
    _called(function, pixels, given)
    if not np.array_equal(before, pixels):
        changed = int((before != pixels).any(axis=2).sum())
        found = f"changes the picture that it is given, {changed} of {HEIGHT * WIDTH} pixels"
        raise Stop(Finding("argument", found, "take a copy first: pixels.astype(np.float64)"))
    return Finding("argument")


def _check_pure(function: Function, given: Given) -> Finding:
    """ "pure": the same number of the same picture, whatever was drawn or asked in the meantime, and however late it is.

    Raises:
      Stop: it is another one.
    """
    asked, others = pictures(HEIGHT, WIDTH)["a random picture"], pictures(7, 9)
    values = []
    try:
        for again in range(CALLS):
            with surroundings(function, drawn=again, moved=again):
                values.append(as_float(_called(function, asked.copy(), given)))
                for other in others.values():
                    with suppress(Exception):  # is said of "finite"
                        _called(function, other, given)
    except Exception as error:
        raise Stop(raised("pure", error, function, "the same picture again")) from error
    said = list(dict.fromkeys(map(repr, values)))  # as text a NaN is itself
    if len(said) > 1:
        found = f"is {said[0]} and {said[1]} of one picture: it draws, reads a clock or its process, or keeps something between calls"
        raise Stop(Finding("pure", found, "a figure of a picture depends on it alone; draw with a seed of your own"))
    return Finding("pure", program=said[0])


def _check_finite(function: Function, given: Given) -> Finding:
    """ "finite": a finite number of every picture of every size."""
    for variant in variants(function, given):
        for height, width in SIZES:
            for kind, pixels in pictures(height, width).items():
                called = f"{kind} of {height} x {width} px"
                try:
                    value = as_float(_called(function, pixels, variant))
                except Exception as error:
                    finding = raised("finite", error, function, called)
                    return finding._replace(found=f"of {called}{shown(variant)} {finding.found}")
                if value is None or not np.isfinite(value):
                    return Finding("finite", f"is {in_words(value)} of {called}{shown(variant)}", ADVICE)
    return Finding("finite")


def _called(function: Function, pixels: np.ndarray, given: Given) -> Any:
    with silently():
        return function(pixels, **copy.deepcopy(dict(given)))
