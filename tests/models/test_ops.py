"""Every op equals the plain lax formulation, in value and gradient, at strides, odd sizes and lopsided pads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jinv.models import ops, pooling, winograd
from jinv.models.layers import prepare
from jinv.models.resnet import ResNet

GEOMETRIES = [
    # height, width, kernel size, stride, padding
    (8, 8, 3, 1, ((1, 1), (1, 1))),
    (9, 7, 3, 2, ((0, 1), (0, 1))),
    (9, 12, 5, 2, ((1, 2), (1, 2))),
    (5, 6, 5, 1, ((2, 2), (2, 2))),
    (11, 10, 5, 3, ((2, 1), (0, 3))),
    (7, 7, 3, 2, ((0, 0), (0, 0))),
    (6, 5, 1, 2, ((0, 0), (0, 0))),
]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def library_depthwise(x, kernel, stride, padding):
    return lax.conv_general_dilated(
        x, kernel, (stride,) * 2, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1]
    )


@pytest.mark.parametrize(("height", "width", "size", "stride", "padding"), GEOMETRIES)
def test_depthwise_conv_equals_the_library_in_value_and_both_gradients(height, width, size, stride, padding):
    x, kernel = jnp.asarray(normal(2, height, width, 4)), jnp.asarray(normal(size, size, 1, 4, seed=1))
    expected, library = jax.vjp(lambda x, k: library_depthwise(x, k, stride, padding), x, kernel)
    value, ours = jax.jit(
        lambda x, k: jax.vjp(lambda x, k: ops.depthwise_conv(x, k, stride=stride, padding=padding), x, k)
    )(x, kernel)
    cotangent = jnp.asarray(normal(*expected.shape, seed=2))
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)
    for gradient, expected_gradient in zip(ours(cotangent), library(cotangent), strict=True):
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("groups", "features"), [(2, 4), (4, 12), (3, 6), (12, 24), (1, 5)])
def test_grouped_conv_equals_the_library_in_value_and_both_gradients(groups, features):
    x, kernel = jnp.asarray(normal(2, 7, 6, 12)), jnp.asarray(normal(3, 3, 12 // groups, features, seed=1))
    assert_same_conv(x, kernel, groups)


def test_wide_groups_are_not_merged_and_narrow_ones_are():
    assert_same_conv(jnp.asarray(normal(1, 4, 4, 80)), jnp.asarray(normal(3, 3, 40, 6, seed=1)), 2)
    assert_same_conv(jnp.asarray(normal(1, 4, 4, 64)), jnp.asarray(normal(3, 3, 4, 64, seed=1)), 16)


def assert_same_conv(x, kernel, groups):
    settings = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": groups}

    def library(x, kernel):
        return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 0), (2, 1)), **settings)

    @jax.jit
    def ours(x, kernel, cotangent):
        value, gradients = jax.vjp(
            lambda x, k: ops.conv(x, k, stride=2, padding=((1, 0), (2, 1)), groups=groups), x, kernel
        )
        return value, gradients(cotangent)

    expected, library_gradients = jax.vjp(library, x, kernel)
    cotangent = jnp.asarray(normal(*expected.shape, seed=2))
    value, gradients = ours(x, kernel, cotangent)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)
    for gradient, expected_gradient in zip(gradients, library_gradients(cotangent), strict=True):
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


def convolutions(function, arrays, platform, monkeypatch, default):
    """How many a program of the function's value and gradients has, traced where JAX's default is that."""
    monkeypatch.setattr(jax, "default_backend", lambda: default)
    traced = jax.jit(jax.value_and_grad(lambda *arrays: jnp.square(function(*arrays)).sum())).trace(*arrays)
    return traced.lower(lowering_platforms=(platform,)).as_text().count("stablehlo.convolution")


@pytest.mark.parametrize(("groups", "on_cpu", "on_cuda"), [(64, 0, 0), (16, 4, 2)])
def test_which_grouped_convs_are_the_librarys_own(groups, on_cpu, on_cuda, monkeypatch):
    """64 groups of 64 channels are depthwise: no convolution at all, on a GPU neither; 16 groups become 2 dense ones each way."""
    x, kernel = jnp.zeros((1, 8, 8, 64), jnp.float32), jnp.zeros((3, 3, 64 // groups, 64), jnp.float32)

    def forward(x, kernel):
        return ops.depthwise_conv(x, kernel) if groups == 64 else ops.conv(x, kernel, groups=groups)

    for platform, default, count in (("cpu", "cpu", on_cpu), ("cpu", "gpu", on_cpu), ("cuda", "gpu", on_cuda), ("tpu", "gpu", 2)):  # fmt: skip
        assert convolutions(forward, (x, kernel), platform, monkeypatch, default) == count


@pytest.mark.parametrize(("stride", "features", "on_cpu"), [(1, 4, 1), (1, 16, 0), (1, 64, 1), (2, 32, 0), (2, 64, 1)])
def test_stems_are_the_librarys_own_off_the_cpu(stride, features, on_cpu, monkeypatch):
    """Of the convolution and the image's gradient those that are convolutions; a strided one's gradient is products."""
    x, kernel = jnp.zeros((1, 8, 8, 3), jnp.float32), jnp.zeros((3, 3, 3, features), jnp.float32)

    def forward(x, kernel):
        return ops.conv(x, kernel, stride=stride, padding=ops.symmetric(1))

    for platform, default, count in (("cpu", "cpu", on_cpu), ("cpu", "gpu", on_cpu), ("cuda", "gpu", 2), ("tpu", "gpu", 2)):  # fmt: skip
        assert convolutions(forward, (x, kernel), platform, monkeypatch, default) == count


def test_depthwise_conv_vmaps_over_kernels_and_images():
    x, kernel = jnp.asarray(normal(3, 2, 6, 6, 4)), jnp.asarray(normal(3, 3, 3, 1, 4))
    gradient = jax.vmap(jax.grad(lambda x, k: jnp.sum(ops.depthwise_conv(x, k, stride=2) ** 2)))(x, kernel)
    for index in range(3):
        single = jax.grad(lambda x, k: jnp.sum(ops.depthwise_conv(x, k, stride=2) ** 2))(x[index], kernel[index])
        np.testing.assert_allclose(gradient[index], single, rtol=1e-12)


@pytest.mark.parametrize(
    ("height", "width", "window", "stride", "pad"), [(8, 8, 3, 2, 1), (9, 7, 3, 2, 1), (7, 6, 2, 2, 0)]
)
def test_max_pool_equals_the_library_in_value_and_gradient(height, width, window, stride, pad):
    x = jnp.asarray(normal(2, height, width, 3)) - 10  # all negative: a pad of 0 would win

    def library(x):
        pads = ((0, 0), (pad, pad), (pad, pad), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), pads)

    def ours(x):
        return pooling.max_pool(x, window=window, stride=stride, padding=ops.symmetric(pad))

    expected, library_gradient = jax.vjp(library, x)
    value, gradient = jax.vjp(ours, x)
    cotangent = jnp.asarray(normal(*expected.shape, seed=1))
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_allclose(gradient(cotangent)[0], library_gradient(cotangent)[0], rtol=1e-14)


def test_max_pool_gives_the_gradient_to_the_first_of_equals_and_keeps_nan():
    gradient = jax.grad(lambda x: pooling.max_pool(x, window=2, stride=2).sum())(jnp.ones((1, 4, 4, 1)))
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[1, 0, 1, 0], [0] * 4, [1, 0, 1, 0], [0] * 4])
    for position in range(4):
        x = jnp.ones(4).at[position].set(jnp.nan).reshape(1, 2, 2, 1)
        assert jnp.isnan(pooling.max_pool(x, window=2, stride=2)).all()


def test_average_pool_leaves_out_what_fills_no_window():
    x = normal(2, 7, 4, 3)
    expected = [[x[:, i : i + 2, j : j + 2].mean((1, 2)) for j in (0, 2)] for i in (0, 2, 4)]
    np.testing.assert_allclose(pooling.average_pool(jnp.asarray(x), window=2), np.moveaxis(expected, (0, 1), (1, 2)))


@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 21), (9, 3), (1, 1), (8, 13)])
def test_adaptive_average_pool_averages_torchs_windows(height, width):
    x = normal(2, height, width, 3)
    expected = np.zeros((2, 7, 7, 3))
    for i in range(7):
        for j in range(7):
            rows = slice(i * height // 7, int(np.ceil((i + 1) * height / 7)))
            columns = slice(j * width // 7, int(np.ceil((j + 1) * width / 7)))
            expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    np.testing.assert_allclose(pooling.adaptive_average_pool(jnp.asarray(x), size=7), expected, rtol=1e-12, atol=1e-14)


def test_moments_equal_the_definitions_in_value_and_gradient():
    x = jnp.asarray(normal(3, 5, 4, 6)) * 2 + 7

    def plain(x):
        return x.mean((0, 1, 2)), x.var((0, 1, 2))

    cotangents = (jnp.asarray(normal(6)), jnp.asarray(normal(6, seed=1)))
    value, gradient = jax.vjp(ops.moments, x)
    expected, expected_gradient = jax.vjp(plain, x)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient(cotangents)[0], expected_gradient(cotangents)[0], rtol=1e-10)


@pytest.mark.parametrize(("dtype", "accumulated"), [("bfloat16", "float32"), ("float32", "float32"), ("float64",) * 2])
def test_moments_are_at_least_float32(dtype, accumulated):
    x = jnp.asarray(1000 + normal(4, 32, 32, 2), dtype)
    mean, variance = ops.moments(x)
    assert mean.dtype == variance.dtype == accumulated
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6)
    # E[x^2] - E[x]^2 would lose every digit here in float32.
    np.testing.assert_allclose(variance, exact.var((0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize(
    ("height", "width", "padding"),
    [(6, 8, ((1, 1), (1, 1))), (7, 5, ((1, 1), (1, 1))), (4, 7, ((0, 2), (1, 0))), (3, 3, ((0, 0), (2, 2)))],
)
def test_winograd_equals_the_library_in_value_and_both_gradients(height, width, padding):
    x, kernel = jnp.asarray(normal(2, height, width, 5)), jnp.asarray(normal(3, 3, 5, 7, seed=1))
    derived = winograd.transform_kernel(kernel)

    @jax.jit
    def ours(x, kernel, cotangent):
        value, gradients = jax.vjp(lambda x, k: ops.conv(x, k, padding=padding, derived=derived), x, kernel)
        return value, gradients(cotangent)

    def library(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert_same(ours, library, x, kernel)


@pytest.mark.parametrize(
    ("height", "width", "stride", "padding"),
    [(8, 9, 2, ((1, 1), (1, 1))), (7, 12, 2, ((0, 1), (1, 0))), (10, 11, 3, ((2, 0), (1, 1)))],
)
def test_strided_convs_equal_the_library_and_their_gradient_convolves_no_zeros(height, width, stride, padding):
    x, kernel = jnp.asarray(normal(2, height, width, 12)), jnp.asarray(normal(3, 3, 12, 10, seed=1))

    def library(x, kernel):
        return lax.conv_general_dilated(x, kernel, (stride,) * 2, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def ours(x, kernel):
        return ops.conv(x, kernel, stride=stride, padding=padding)

    @jax.jit
    def both(x, kernel, cotangent):
        value, gradients = jax.vjp(ours, x, kernel)
        return value, gradients(cotangent)

    assert_same(both, library, x, kernel)
    cotangent = jnp.asarray(normal(*library(x, kernel).shape, seed=2))
    of = {
        conv: jax.jit(lambda g, conv=conv: jax.vjp(lambda x: conv(x, kernel), x)[1](g)).lower(cotangent).compile()
        for conv in (ours, library)
    }
    assert "convolution(" in of[library].as_text() and "convolution(" not in of[ours].as_text()
    assert ops.derive(kernel.astype(jnp.float32), stride=stride, padding=padding, groups=1) is None


@pytest.mark.parametrize(
    ("shape", "features", "size", "stride", "padding"),
    [
        ((12, 15, 3), 20, 7, 2, ((3, 3), (3, 3))),
        ((11, 8, 3), 32, 3, 2, ((0, 1), (0, 1))),
        ((9, 9, 1), 5, 5, 3, ((2, 1), (0, 2))),
        ((8, 7, 3), 16, 3, 1, ((1, 1), (1, 1))),
        ((8, 7, 3), 5, 3, 1, ((1, 1), (1, 0))),
        ((6, 7, 3), 33, 3, 1, ((0, 2), (3, 0))),
        ((6, 9, 6), 5, 1, 1, ((0, 0), (0, 0))),
        ((7, 6, 6), 5, 1, 2, ((0, 0), (0, 0))),
    ],
)
def test_stems_and_pointwise_convs_equal_the_library(shape, features, size, stride, padding):
    x, kernel = jnp.asarray(normal(2, *shape)), jnp.asarray(normal(size, size, shape[-1], features, seed=1))

    @jax.jit
    def ours(x, kernel, cotangent):
        value, gradients = jax.vjp(lambda x, k: ops.conv(x, k, stride=stride, padding=padding), x, kernel)
        return value, gradients(cotangent)

    def library(x, kernel):
        return lax.conv_general_dilated(x, kernel, (stride,) * 2, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert_same(ours, library, x, kernel)


def assert_same(ours, library, x, kernel):
    expected, gradients = jax.vjp(library, x, kernel)
    cotangent = jnp.asarray(normal(*expected.shape, seed=2))
    value, our_gradients = ours(x, kernel, cotangent)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)
    for gradient, expected_gradient in zip(our_gradients, gradients(cotangent), strict=True):
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


def test_moments_are_exact_whether_or_not_one_pass_would_do():
    for offset in (0, 3, 1e4):
        x = jnp.asarray(normal(4, 16, 16, 3) + offset, jnp.float32)
        mean, variance = jax.jit(ops.moments)(x)
        exact = np.asarray(x, np.float64)
        np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(variance, exact.var((0, 1, 2)), rtol=3e-5)
    assert (ops.moments(jnp.full((1, 2, 2, 3), 0.1))[1] >= 0).all()
    assert jnp.isnan(ops.moments(jnp.full((1, 2, 2, 3), jnp.nan))[1]).all()


def test_a_prepared_network_computes_the_same_without_convolving_again():
    """A bottleneck network has 3x3 kernels with stride 1 and 2, narrow and wide: only those that gain are derived."""
    module = ResNet(num_classes=7, stage_sizes=(1, 1), bottleneck=True, width=32)
    image = jnp.asarray(normal(2, 32, 40, 3), jnp.float32)
    plain = jax.tree.map(
        lambda leaf: jnp.asarray(0.2 * normal(*leaf.shape) + (leaf.ndim == 1), jnp.float32),
        module.init(jax.random.key(0), image),
    )
    assert set(plain) == {"params", "batch_stats"}
    prepared = prepare(module, plain, 32)
    assert {block: set(kept) for block, kept in prepared["derived"].items()} == {"layer1_0": {"conv2"}}

    def gradient(variables, image):
        return jax.grad(lambda image: jnp.square(module.apply(variables, image)[0]).sum())(image)

    expected = jax.jit(gradient)(plain, image)
    text = jax.jit(gradient).lower(prepared, image).as_text()
    fewer = jax.jit(gradient).lower(plain, image).as_text().count("stablehlo.convolution") - text.count(
        "stablehlo.convolution"
    )
    assert fewer == 2
    difference = np.abs(jax.jit(gradient)(prepared, image) - expected).max() / np.abs(expected).max()
    assert 0 < difference < 1e-4


@pytest.mark.parametrize("size", [3, 7])
def test_a_strided_stems_gradient_is_summed_in_float32_under_bfloat16(size):
    x, kernel = (jnp.asarray(normal(*shape), jnp.bfloat16) for shape in ((2, 24, 24, 3), (size, size, 3, 16)))

    def gradient(dtype):
        image, weights = x.astype(dtype), kernel.astype(dtype)
        conv = lambda image: ops.conv(image, weights, stride=2, padding=ops.symmetric(size // 2))  # noqa: E731
        y, transpose = jax.vjp(conv, image)
        return np.asarray(transpose(jnp.ones_like(y))[0], np.float64)

    exact, found = gradient(jnp.float64), gradient(jnp.bfloat16)
    assert np.abs(found - exact).max() < 2**-8 * np.abs(exact).max()  # the result's own rounding


@pytest.mark.parametrize(("backend", "sign"), [("gpu", "stablehlo.case"), ("cpu", "stablehlo.multiply")])
def test_a_trace_for_shapes_leaves_nothing_behind(backend, sign, monkeypatch):
    """JAX keeps traces of inner functions by shapes: one of the library's alone must not end up in a program, whose sign is
    a choice beside a GPU, and a sum of products where there is a CPU alone.
    """
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    x, kernel = jnp.asarray(normal(1, 8, 8, 4), jnp.float32), jnp.asarray(normal(3, 3, 1, 4, seed=1), jnp.float32)

    def formulations():
        def gradient(x, kernel):  # a new function each time, as every network's is
            return jax.grad(lambda x: ops.depthwise_conv(x, kernel, padding=ops.symmetric(1)).sum())(x)

        return jax.jit(gradient).lower(x, kernel).as_text().count(sign)

    with ops.for_shapes():
        assert formulations() == 0
    assert formulations() > 0


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        # The library's also for the two gradients that come from it; in float32 for CUDA, which has the sums.
        ("gpu", {"shifted_sum": 2, "shifted_sum_transposed": 2, "pointwise_conv": 1, "library_conv": 4}),
        ("cpu", {"shifted_sum": 1, "shifted_sum_transposed": 1, "pointwise_conv": 1}),
    ],
)
def test_layers_of_equal_shapes_are_traced_once(backend, expected, monkeypatch):
    """Each way by which a platform may compute them: JAX keeps traces by the function object. Of a CPU alone its own."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    traced = []

    def spied(name):
        way = getattr(ops.ways, name)

        def spy(*args, **settings):
            traced.append(name)
            return way(*args, **settings)

        return spy

    for name in ("shifted_sum", "shifted_sum_transposed", "pointwise_conv", "library_conv"):
        monkeypatch.setattr(ops.ways, name, spied(name))
    depthwise, pointwise = jnp.asarray(normal(3, 3, 1, 7)), jnp.asarray(normal(1, 1, 7, 7))

    def network(x):
        for _ in range(3):
            x = ops.conv(ops.depthwise_conv(x, depthwise, padding=ops.symmetric(1)), pointwise)
        return x.sum()

    jax.make_jaxpr(jax.grad(network))(jnp.asarray(normal(2, 5, 5, 7)))
    assert {name: traced.count(name) for name in traced} == expected


@pytest.mark.parametrize(("size", "stride", "channels", "features"), [(7, 2, 3, 5), (3, 2, 6, 5), (3, 1, 32, 32)])
def test_gradients_are_the_same_under_shard_map(size, stride, channels, features):
    """There values vary along an axis of the mesh, which the gradients' examples must too."""
    kernel = jnp.asarray(normal(size, size, channels, features), jnp.float32)
    padding = ops.symmetric(size // 2)
    derived = ops.derive(kernel, stride=stride, padding=padding, groups=1)

    def gradient(x):
        return jax.grad(lambda x: (ops.conv(x, kernel, stride=stride, padding=padding, derived=derived) ** 2).sum())(x)

    x = jnp.asarray(normal(2, 10, 11, channels, seed=1), jnp.float32)
    mesh = jax.make_mesh((1,), ("images",), axis_types=(jax.sharding.AxisType.Auto,))
    along = jax.sharding.PartitionSpec("images")
    sharded = jax.jit(jax.shard_map(gradient, mesh=mesh, in_specs=along, out_specs=along))(x)
    np.testing.assert_allclose(sharded, gradient(x), rtol=1e-4, atol=1e-3)
