"""What a check says of a function: nothing, a remark, or in words and numbers what is violated and what to do."""

import inspect
import math
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax


class Finding(NamedTuple):
    """One check's answer. found: what is the matter, None where nothing is. remark: it may be meant so. program: of "pure",
    what a function comes to, the same in every process."""

    check: str
    found: str | None = None
    advice: str = ""
    remark: bool = False
    program: str = ""

    @property
    def violated(self) -> bool:
        """Is the contract broken?"""
        return self.found is not None and not self.remark


Findings = Iterator[Finding]

_COUPLES = re.compile(r"\bcouples?\b(?!\s+(?:no|none|nothing|neither)\b)", re.IGNORECASE)
_DENIED = re.compile(
    r"(?:\b(?:no|not|never|nor|neither|cannot)|n['\u2019]t)\b(?!\s+only\b)(?:\s+(?!and\b|but\b)\w+){0,3}\s+$",
    re.IGNORECASE,
)
"""In front of the word, with at most three others of the same clause between."""


def says_that_it_couples(docstring: str) -> bool:
    """Does it say that the images of a batch are coupled, if only with some hyperparameters?"""
    return any(not _DENIED.search(docstring[: match.start()]) for match in _COUPLES.finditer(docstring))


class Stop(Exception):
    """What was found leaves nothing more to ask."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.found)
        self.finding = finding


ADVICE: tuple[tuple[type[BaseException], str], ...] = (
    (
        jax.errors.TracerBoolConversionError,
        "a Python if, while, and, or, min or max asks for a value that is known only when the compiled program runs: take "
        "jnp.where, jnp.minimum or jax.lax.cond",
    ),
    (
        jax.errors.TracerArrayConversionError,
        "NumPy asks for a value that is known only when the compiled program runs: take the function of jax.numpy",
    ),
    (
        jax.errors.NonConcreteBooleanIndexError,
        "how many elements a mask picks is known only when the compiled program runs: take jnp.where(mask, x, 0)",
    ),
    (
        jax.errors.ConcretizationTypeError,
        "Python asks for a value that is known only when the compiled program runs: keep it an array of jax.numpy",
    ),
    (jax.errors.UnexpectedTracerError, "a value of an earlier call is kept and used: return it, or compute it anew"),
)


def raised(check: str, error: Exception, function: Callable[..., Any], called: str) -> Finding:
    """What a function raised when it was `called` so, and where in its file."""
    code: Any = getattr(inspect.unwrap(function), "__code__", None)
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if code is not None and f.filename == code.co_filename
    ]
    line = f" at line {frames[-1].lineno}" if frames else ""
    said = " ".join(str(error).partition("\n")[0].split())
    advice = next((text for kind, text in ADVICE if isinstance(error, kind)), f"it was called with {called}")
    return Finding(check, f"raises {type(error).__name__}{line}: {said:.160}", advice)


def in_words(value: Any) -> str:
    """A number, or why it is none."""
    if value is None or math.isnan(value):
        return "no number (NaN)"
    return f"{value:.6g}" if math.isfinite(value) else "infinite"


def by(away: float, said: str) -> str:
    """By how much something is another, in words."""
    return f"by {said}" if math.isfinite(away) else "finite in one and not in the other"


def percent(share: float) -> str:
    """A share as people read it: "12 %", and very small ones as such."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"
