"""A profile says what each kernel is, and sums what the trace says of it. Nothing is timed."""

import gzip
import json
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks import profile
from benchmarks.profile import Kernel
from jinv.models import ops


def test_kernels_are_known_by_what_is_in_them():
    @jax.jit
    def step(x, pointwise, kernel):
        with jax.named_scope("expand"):
            x = jnp.dot(x.reshape(-1, 8), pointwise).reshape(2, 9, 9, 16)
        with jax.named_scope("filter"):
            x = ops.depthwise_conv(x, kernel, padding=ops.symmetric(1))
        with jax.named_scope("sum"):
            return x, x.mean((0, 1, 2))

    shapes = ((2, 9, 9, 8), (8, 16), (3, 3, 1, 16))
    known = profile.kernels(step.lower(*map(jnp.ones, shapes)).compile().as_text())
    of = {
        scope: {kernel.kind for kernel in known.values() if scope in kernel.origin}
        for scope in ("expand", "filter", "sum")
    }
    assert "matrix product" in of["expand"] and "shifted products" in of["filter"] and "reduction" in of["sum"]
    assert not any("jit(step)" in kernel.origin or "branch_0_fun" in kernel.origin for kernel in known.values())


KNOWN = {
    "a": Kernel("matrix product", "f32[8,8]", "jvp(Net)/block_1/dot_general"),
    "b": Kernel("matrix product", "f32[8,8]", "jvp(Net)/block_22/dot_general"),
    "c": Kernel("reduction", "f32[8]", "jvp(Net)/bn/reduce_sum"),
}
EVENTS = [
    {"ph": "X", "name": "a", "dur": 3000.0}, {"ph": "X", "name": "a", "dur": 1000.0}, {"ph": "X", "name": "b", "dur": 1000},
    {"ph": "X", "name": "c", "dur": 1000.0}, {"ph": "X", "name": "ThunkExecutor", "dur": 9e9}, {"ph": "M", "name": "a"},
]  # fmt: skip


def test_the_seconds_of_kernels_are_summed_by_kind_and_by_origin(monkeypatch, tmp_path, capsys):
    class Implementation:
        def __init__(self, case, path):
            assert path.exists()

        def run(self, steps):
            pass

        def program(self):
            return "a program"

    @contextmanager
    def trace(folder):
        yield
        Path(folder, "plugins").mkdir(parents=True)
        Path(folder, "plugins", "vm.trace.json.gz").write_bytes(
            gzip.compress(json.dumps({"traceEvents": EVENTS}).encode())
        )

    monkeypatch.setattr("benchmarks.jinv_step.Implementation", Implementation)
    monkeypatch.setattr(profile.Problem, "write", lambda case, path: path.write_bytes(b""))
    monkeypatch.setattr(jax.profiler, "trace", trace)
    monkeypatch.setattr(profile, "kernels", lambda program: KNOWN)
    profile.main(["--steps", "2", "--longest", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3.00 ms per step in 3 kernels"
    assert lines[1].split() == ["2.50", "ms", "83.3%", "matrix", "product,", "2", "kernels"]
    assert lines[4].split() == ["2.50", "ms", "83.3%", "jvp(Net)/block*/dot_general"]
    assert lines[-2].split()[:2] == ["2.00", "ms"] and len(lines) == 9


@pytest.mark.parametrize(("arguments", "words"), [
    (["--model", "resnet51"], "resnet51"), (["--size", "8"], "--size 8: efficientnet_lite0 takes"), (["--steps", "0"], "--steps 0: above 0"),
])  # fmt: skip
def test_what_cannot_be_profiled_is_said(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        profile.main(arguments)
    assert end.value.code == 2 and words in capsys.readouterr().err
