"""What XLA is told of the processor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core import processor
from jinv.runs.records import environment


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    processor.compiler_options.cache_clear()
    yield
    processor.compiler_options.cache_clear()


def has(monkeypatch, *features):
    monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": {"found": list(features)}})


@pytest.mark.parametrize(("features", "options"), [
    (["AVX2", "FMA3"], None), (["X86_V3"], None), (["ASIMD"], None), (["AVX512F", "AVX512_SKX"], None), ([], None),
    (["X86_V3", "X86_V4", "AVX512_ICL"], {processor.WIDTH: 512}),
])  # fmt: skip
def test_wide_vectors_are_preferred_where_they_cost_no_clock(features, options, monkeypatch):
    has(monkeypatch, *features)
    assert processor.compiler_options() == options
    assert environment.__wrapped__().flags == ("" if options is None else f"--{processor.WIDTH}=512")


def test_numpy_says_what_the_processor_has():
    """A list by this name, in this form; of names that /proc/cpuinfo would have otherwise."""
    assert "found" in np.show_config(mode="dicts")["SIMD Extensions"]


def test_the_users_flags_go_before(monkeypatch):
    has(monkeypatch, "AVX512_ICL")
    monkeypatch.setenv("XLA_FLAGS", f"--{processor.WIDTH}=256")
    assert processor.compiler_options() is None and environment.__wrapped__().flags == f"--{processor.WIDTH}=256"


def test_xla_knows_the_option_and_computes_the_same(monkeypatch):
    has(monkeypatch, "AVX512_ICL")
    x = jnp.linspace(-3, 3, 1000)
    ours = processor.jit(lambda x, k: (x[::k] ** 2).sum(), static_argnums=1)(x, 3)
    np.testing.assert_allclose(ours, (np.linspace(-3, 3, 1000)[::3] ** 2).sum(), rtol=1e-6)
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such"):
        jax.jit(lambda x: x + 1, compiler_options={f"{processor.WIDTH}s": 1})(x)


def test_a_gpu_computes_the_same_bits_each_time_unless_told_otherwise(monkeypatch):
    """On an H100 a run was not the same twice without; with it two processes, on two cards, gave the same image."""
    has(monkeypatch, "AVX512_ICL")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert processor.compiler_options() == {processor.DETERMINISTIC: True}
    assert environment.__wrapped__().flags == f"--{processor.DETERMINISTIC}=true"
    processor.compiler_options.cache_clear()
    monkeypatch.setenv("XLA_FLAGS", f"--{processor.DETERMINISTIC}=false")
    assert processor.compiler_options() is None
    monkeypatch.undo()
    np.testing.assert_array_equal(jax.jit(jnp.square, compiler_options={processor.DETERMINISTIC: True})(3.0), 9.0)


def test_a_tpu_gets_none(monkeypatch):
    has(monkeypatch, "AVX512_ICL")
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert processor.compiler_options() is None


def test_a_modules_function_looks_for_devices_when_it_is_called(monkeypatch):
    asked = []
    compiled = processor.jit
    monkeypatch.setattr(processor, "jit", lambda *args, **options: asked.append(1) or compiled(*args, **options))

    @processor.jit_when_called(static_argnums=0)
    def power(exponent, x):
        return x**exponent

    assert not asked
    assert power(2, 3.0) == 9 and power(3, 2.0) == 8 and asked == [1]
