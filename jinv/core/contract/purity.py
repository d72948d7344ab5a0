"""Does a function's value depend on its arguments alone? Not on draws of its own, nor on a clock, nor on earlier calls."""

import hashlib
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.contract.findings import Finding, Stop, raised
from jinv.core.contract.surroundings import surroundings
from jinv.core.contract.tracing import DRAWS, primitives

TRACES = 8
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def check_pure(call: Callable[..., Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> Finding:
    """ "pure": traced again, whatever else was drawn and however late it is, a function is the same program, and keeps nothing.

    It is traced, not called, for so it is in a run: what Python draws, reads or remembers becomes a constant of the program.

    Raises:
      Stop: it is not pure, so that nothing else that is found of it would be true.
    """
    kept = _kept(function)

    def traced(drawn: int, moved: int) -> Any:
        with surroundings(function, drawn=drawn, moved=moved):
            return _traced(call, arguments)

    try:
        first = traced(0, 0)
        if any(traced(again, again) != first for again in range(1, TRACES)):
            found = (
                "is another program each time it is traced: it draws, reads a clock, or keeps something between calls"
                if traced(0, 0) != traced(0, 0)
                else "reads a clock, the date or the number of its process"
                if any(traced(0, again) != first for again in range(1, TRACES))
                else "draws from the module random or numpy.random"
            )
            raise Stop(Finding("pure", found, f"compiled, it would do so once and keep that for all steps; {DRAWING}"))
    except Stop:
        raise
    except Exception as error:
        raise Stop(raised("pure", error, function, "the same arguments again")) from error
    changed = sorted(name for name, value in _kept(function).items() if kept.get(name, value) != value)
    if changed:
        found = f"keeps something between calls: {', '.join(changed)}"
        raise Stop(Finding("pure", found, "compiled, it is called once: what it keeps would be of that call for ever"))
    return Finding("pure", program=hashlib.sha256(repr(first).encode()).hexdigest())


DRAWING = "what is drawn anew at every step is an augmentation, which gets a key: (key, image, *, ...)"


def _traced(call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The program as a value."""
    # Another function each time: what JAX has traced it does not trace again.
    jaxpr = jax.make_jaxpr(lambda *args: call(*args))(*arguments)
    if any(isinstance(constant, jax.core.Tracer) for constant in jaxpr.consts):
        raise Stop(Finding("pure", "uses a traced value of an earlier call", f"it keeps what it is given; {DRAWING}"))
    constants = [(np.shape(c), np.asarray(c).tobytes()) for c in jaxpr.consts if _is_plain(c)]
    return ADDRESS.sub("", str(jaxpr)), constants


def _is_plain(constant: Any) -> bool:
    return not jnp.issubdtype(getattr(constant, "dtype", np.dtype(float)), jax.dtypes.extended)


def check_draws(call: Callable[..., Any], arguments: tuple[Any, ...], operations: Sequence[str] = DRAWS) -> Finding:
    """ "draws": a remark where a function draws by a key of its own making, which gives the same numbers at every step."""
    if set(primitives(jax.make_jaxpr(call)(*arguments))) & set(operations):
        return Finding(
            "draws",
            "draws by a key of its own: the same numbers at every step",
            "fixed directions are meant so; what is to be drawn anew belongs into an augmentation, which gets a key",
            remark=True,
        )
    return Finding("draws")


def _kept(function: Callable[..., Any]) -> dict[str, Any]:
    """What a function can keep between calls, and what of it changes when it does."""
    inner: Any = inspect.unwrap(function)
    code = inner.__code__
    found = {name: inner.__globals__[name] for name in code.co_names if name in inner.__globals__}
    cells = zip(code.co_freevars, inner.__closure__ or (), strict=True)
    found |= {name: cell.cell_contents for name, cell in cells}
    found |= {f"the default of {name}": value for name, value in (inner.__kwdefaults__ or {}).items()}
    found |= {f"its attribute {name}": value for name, value in vars(inner).items()}
    return {name: (id(value), _size(value)) for name, value in found.items()}


def _size(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.nbytes < 1e6 else None
    if isinstance(value, dict | list | set):
        return len(value), repr(value) if len(value) < 100 else ""
    return None
