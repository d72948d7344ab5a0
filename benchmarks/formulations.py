"""What `jinv.models.ops` chose for each kind of convolution on this platform, against what it passed over.

    python -m benchmarks.formulations [--only KIND ...] [--batch 8] [--rounds 9] [--json FILE]

A convolution and its image's gradient under a frozen kernel, of shapes that real networks have, in one program each: the
choice, the library's own, and a matrix product of patches (im2col). All must agree before their times are reported; rounds are
interleaved, and ratios are medians of the ratios of a round. Where a choice is not the quickest on a processor, it stands here.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import machine
from benchmarks.refusals import refuse_amounts, refuse_places
from jinv.core.processor import jit
from jinv.models import formulations as ways
from jinv.models import ops
from jinv.runs.allocator import keep_freed_memory

CALLS = 4
"""Of a program in a round: one may take less than a clock can tell."""
MOST_DIFFERENT = 1e-4
"""Of the Euclidean norm of what the library computes."""


class Case(NamedTuple):
    """A convolution of `channels` to `features` over square images of `size` pixels."""

    kind: str
    size: int
    channels: int
    features: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1

    @property
    def padding(self) -> ways.Padding:
        return ops.symmetric(self.kernel // 2)

    @property
    def settings(self) -> dict[str, Any]:
        """As `ops.conv` and `ops.derive` have them."""
        return {"stride": self.stride, "padding": self.padding, "groups": self.groups}

    def __str__(self) -> str:
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        return f"{self.kind} {self.kernel}x{self.kernel}{stride}, {self.size} px, {self.channels} to {self.features}"


CASES = (
    Case("stem", 112, 3, 32, stride=2),
    Case("stem", 32, 3, 16),
    Case("stem", 224, 3, 64, kernel=7, stride=2),
    Case("depthwise", 112, 32, 32, groups=32),
    Case("depthwise", 56, 144, 144, groups=144),
    Case("depthwise", 56, 144, 144, kernel=5, stride=2, groups=144),
    Case("depthwise", 14, 480, 480, kernel=5, groups=480),
    Case("depthwise", 7, 1152, 1152, groups=1152),
    Case("pointwise", 56, 24, 144, kernel=1),
    Case("pointwise", 56, 256, 64, kernel=1),
    Case("pointwise", 14, 1024, 256, kernel=1),
    Case("pointwise", 56, 256, 512, kernel=1, stride=2),
    Case("dense", 32, 16, 16),
    Case("dense", 16, 32, 32),
    Case("dense", 8, 64, 64),
    Case("dense", 56, 64, 64),
    Case("dense", 28, 128, 128),
    Case("dense", 14, 256, 256),
    Case("dense", 7, 512, 512),
    Case("dense", 28, 128, 128, stride=2),
    Case("grouped", 28, 256, 256, groups=32),
)
KINDS = tuple(dict.fromkeys(case.kind for case in CASES))
Convolution = Callable[[jax.Array, jax.Array, Any], jax.Array]
"""Of images, a kernel, and what was derived of it once: an argument, for of a constant XLA:CPU makes other programs."""


def chosen(case: Case) -> Convolution:
    """As a network has it."""
    if case.groups == case.channels:
        return lambda x, kernel, _: ops.depthwise_conv(x, kernel, stride=case.stride, padding=case.padding)
    return lambda x, kernel, derived: ops.conv(x, kernel, **case.settings, derived=derived)


def library(case: Case) -> Convolution:
    """As XLA has it."""
    return lambda x, kernel, _: ways.library_conv(x, kernel, **case.settings)


def patches(case: Case) -> Convolution:
    """One matrix product of the windows' pixels, written side by side; of grouped convolutions there is none."""

    def conv(x: jax.Array, kernel: jax.Array, _: Any) -> jax.Array:
        windows = list(
            ways.strided_windows(ways.pad(x, case.padding), (case.kernel, case.kernel), case.stride).values()
        )
        pixels = jnp.concatenate(windows, axis=-1)
        return jnp.dot(pixels, kernel.reshape(-1, case.features))

    return conv


def contestants(case: Case) -> dict[str, Convolution]:
    """Every way to compute it, by name."""
    found = {"chosen": chosen(case), "library": library(case)}
    return found if case.groups > 1 or case.kernel == 1 else found | {"patches": patches(case)}


def program(convolution: Convolution) -> Any:
    """`(x, kernel, derived, g) -> (y, the image's gradient)`, compiled as a step is."""

    def both(x: jax.Array, kernel: jax.Array, derived: Any, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, transpose = jax.vjp(lambda x: convolution(x, kernel, derived), x)
        return y, transpose(g)[0]

    return jit(both)


def measure(case: Case, batch: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of every way, and how many times the choice's they are.

    Raises:
      AssertionError: a way computes something else.
    """
    random = np.random.default_rng(0)
    shape = (case.kernel, case.kernel, case.channels // case.groups, case.features)
    kernel = jnp.asarray(random.normal(size=shape) / np.prod(shape[:3]) ** 0.5, jnp.float32)
    x = jnp.asarray(random.normal(size=(batch, case.size, case.size, case.channels)), jnp.float32)
    made = {name: program(way) for name, way in contestants(case).items()}
    derived = jax.jit(partial(ops.derive, **case.settings))(kernel)
    y = jax.eval_shape(library(case), x, kernel, derived)
    arguments = x, kernel, derived, jnp.asarray(random.normal(size=y.shape), jnp.float32)
    expected = made["library"](*arguments)
    for name, run in made.items():
        for found, right in zip(run(*arguments), expected, strict=True):
            apart = float(jnp.linalg.norm((found - right).ravel()) / jnp.linalg.norm(right.ravel()))
            assert apart < MOST_DIFFERENT, f"{case}: {name} is {apart:.1e} from the library's"
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, run in made.items():
            begun = time.perf_counter()
            for _ in range(CALLS):
                result = run(*arguments)
            jax.block_until_ready(result)
            seconds[name].append((time.perf_counter() - begun) / CALLS)
    ratios = {
        name: statistics.median(other / own for other, own in zip(times, seconds["chosen"], strict=True))
        for name, times in seconds.items()
    }
    return {
        "case": case._asdict(),
        "milliseconds": {name: 1e3 * statistics.median(times) for name, times in seconds.items()},
        "times_the_chosen": ratios,
    }


def row(case: Case, found: dict[str, Any]) -> str:
    """A line of the table."""
    own = found["milliseconds"]["chosen"]
    others = "  ".join(f"{name} {ratio:5.2f}x" for name, ratio in found["times_the_chosen"].items() if name != "chosen")
    return f"{case!s:48} {own:8.3f} ms  {others}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.formulations", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, metavar="KIND")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    refuse_amounts(parser, options, "batch", "rounds")
    refuse_places(parser, options, "json")
    keep_freed_memory()  # as a command does; else what is timed is page faults
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "batch": options.batch,
        "load": machine.load(),
        "cases": [],
    }
    for case in (case for case in CASES if case.kind in options.only):
        result["cases"].append(measure(case, options.batch, options.rounds))
        print(row(case, result["cases"][-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
