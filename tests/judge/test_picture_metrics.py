"""What pictures say by themselves, beside sums written out from the definitions."""

import colorsys

import jax.numpy as jnp
import numpy as np
import pytest

from jinv.errors import NumericalError, UsageError
from jinv.images.codec import resize_image
from jinv.images.metrics import (
    WHITE_NOISE_HIGH_FREQUENCY,
    Metric,
    contrast,
    high_frequency_energy,
    mean_frequency,
    mean_variation,
    saturation,
)
from jinv.judge.picture_metrics import are_measured, mean_interval, picture_figures
from jinv.record.estimate import Estimate
from jinv.record.evaluation import Pictures


def naive_spectrum(pixels):
    """[(radius, energy)] by a double sum over pixels and frequencies."""
    luma = (0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2]) / 255
    h, w = luma.shape
    window = np.array(
        [[np.sin(np.pi * (y + 0.5) / h) ** 2 * np.sin(np.pi * (x + 0.5) / w) ** 2 for x in range(w)] for y in range(h)]
    )
    luma = luma - (luma * window).sum() / window.sum()
    result = []
    for k in range(h):
        for m in range(w):
            if (k, m) == (0, 0):
                continue
            wave = np.array([[np.exp(-2j * np.pi * (k * y / h + m * x / w)) for x in range(w)] for y in range(h)])
            fy, fx = min(k, h - k) / h, min(m, w - m) / w
            result.append(((fy**2 + fx**2) ** 0.5, abs((luma * window * wave).sum()) ** 2))
    return result


def picture(seed, shape=(10, 7, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("above", [0.1, 0.25, 0.4])
def test_high_frequency_energy_is_the_share_of_the_double_sum(above):
    pixels = picture(0)
    spectrum = naive_spectrum(pixels.astype(float))
    share = sum(e for r, e in spectrum if r > above) / sum(e for _, e in spectrum)
    assert high_frequency_energy(pixels, above=above) == pytest.approx(share, rel=1e-9)


def test_mean_frequency_is_the_energy_weighted_mean():
    pixels = picture(1)
    spectrum = naive_spectrum(pixels.astype(float))
    expected = sum(r * e for r, e in spectrum) / sum(e for _, e in spectrum)
    assert mean_frequency(pixels) == pytest.approx(expected, rel=1e-9)


def test_white_noise_a_grating_and_one_colour():
    noise = picture(2, (256, 256, 3))
    assert high_frequency_energy(noise) == pytest.approx(WHITE_NOISE_HIGH_FREQUENCY, abs=0.01)
    assert mean_frequency(noise) == pytest.approx(0.383, abs=0.005)
    x = np.arange(128)
    for frequency, share in ((0.125, 0.0), (0.375, 1.0)):
        row = np.rint(127.5 + 100 * np.sin(2 * np.pi * frequency * x)).astype(np.uint8)
        grating = np.broadcast_to(row[None, :, None], (128, 128, 3))
        assert high_frequency_energy(grating) == pytest.approx(share, abs=1e-3)
    flat = np.full((9, 8, 3), 77, np.uint8)
    assert high_frequency_energy(flat) == mean_frequency(flat) == mean_variation(flat) == 0.0


def test_a_larger_copy_has_a_lower_mean_frequency_and_more_objects_have_the_same():
    small = resize_image(picture(3, (16, 16, 3)), (64, 64))
    grown, tiled = resize_image(small, (128, 128)), np.tile(small, (2, 2, 1))
    base = mean_frequency(small)
    assert mean_frequency(grown) == pytest.approx(base / 2, rel=0.1)
    assert mean_frequency(tiled) == pytest.approx(base, rel=0.2)  # the window sees other parts of it


def test_mean_variation_is_written_out():
    pixels = picture(4, (3, 4, 3)).astype(float)
    vertical = np.mean(
        [abs(pixels[y + 1, x, c] - pixels[y, x, c]) for y in range(2) for x in range(4) for c in range(3)]
    )
    horizontal = np.mean(
        [abs(pixels[y, x + 1, c] - pixels[y, x, c]) for y in range(3) for x in range(3) for c in range(3)]
    )
    assert mean_variation(pixels.astype(np.uint8)) == pytest.approx((vertical + horizontal) / 255)


def test_contrast_and_saturation_are_written_out():
    pixels = picture(5, (3, 4, 3))
    luma = [
        sum(w * v / 255 for w, v in zip((0.299, 0.587, 0.114), p, strict=True)) for row in pixels.tolist() for p in row
    ]
    mean = sum(luma) / 12
    assert contrast(pixels) == pytest.approx((sum((v - mean) ** 2 for v in luma) / 12) ** 0.5)
    # colorsys' saturation, weighted with colorsys' value.
    hsv = [colorsys.rgb_to_hsv(*(v / 255 for v in p)) for row in pixels.tolist() for p in row]
    assert saturation(pixels) == pytest.approx(sum(s * v for _, s, v in hsv) / sum(v for *_, v in hsv))


def test_contrast_and_saturation_of_known_pictures():
    checks = np.kron(np.eye(2, dtype=np.uint8)[..., None].repeat(3, 2), np.full((4, 4, 1), 255, np.uint8))
    assert (contrast(checks), saturation(checks)) == (pytest.approx(0.5), 0.0)
    red = np.zeros((4, 4, 3), np.uint8)
    assert saturation(red) == 0.0  # black
    red[..., 0] = 3
    assert (saturation(red), contrast(red)) == (1.0, pytest.approx(0.0, abs=1e-15))


def test_figures_are_means_over_pictures_of_any_sizes():
    pictures = [picture(6), picture(7, (6, 9, 3))]
    figures = picture_figures(iter(pictures))
    assert figures.count == 2 and figures.contrast.per_image == (contrast(pictures[0]), contrast(pictures[1]))
    assert figures.saturation.value == pytest.approx((saturation(pictures[0]) + saturation(pictures[1])) / 2)
    assert figures.saturation.high <= 1.0 and figures.mean_variation.low >= 0.0
    assert picture_figures(pictures, each=False).contrast.per_image == ()


@pytest.mark.parametrize("n, t", [(2, 12.7062), (3, 4.3027), (4, 3.1824), (8, 2.3646), (14, 2.1604), (1000, 1.9623)])
def test_mean_intervals_have_students_quantiles(n, t):
    values = list(np.random.default_rng(n).normal(size=n))
    mean = mean_interval(values)
    assert mean.value == pytest.approx(np.mean(values))
    half = t * np.std(values, ddof=1) / n**0.5
    assert (mean.value - mean.low, mean.high - mean.value) == pytest.approx((half, half), rel=5e-5)


def test_one_value_has_no_interval_and_none_no_mean():
    assert mean_interval([2.0]) == Estimate(2.0, -np.inf, np.inf)
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def brightest(pixels, *, share: float = 1.0) -> float:
    return share * float(pixels.max())


def test_a_metric_of_ones_own_is_beside_jinvs_with_what_it_was_asked_for():
    pictures = [picture(8), picture(9, (4, 4, 3)), np.full((3, 3, 3), 7, np.uint8)]
    metric = Metric("brightest", brightest, {"share": 0.5}, "mine.py", "ab")
    figures = picture_figures(iter(pictures), {"brightest": metric})
    found = figures.metrics["brightest"]
    each = [0.5 * p.max() for p in pictures]
    half = 4.302653 * np.std(each, ddof=1) / 3**0.5  # Student's t of two degrees of freedom
    assert found.per_image == tuple(each) and found.value == pytest.approx(np.mean(each))
    assert (found.low, found.high) == pytest.approx((np.mean(each) - half, np.mean(each) + half))  # cut nowhere
    assert (found.sha256, found.hyperparameters) == ("ab", {"share": 0.5})
    assert picture_figures(pictures, {"brightest": metric}, each=False).metrics["brightest"].per_image == ()
    # As it is in the file; and one from before there were any.
    table = figures.to_json()
    assert Pictures.model_validate(table) == figures
    del table["metrics"]
    assert Pictures.model_validate(table).metrics == {} and "metrics" not in Pictures.model_validate(table).to_json()


def test_a_figure_is_taken_again_where_plugin_or_hyperparameters_are_others():
    metric = Metric("brightest", brightest, {"share": 0.5}, "mine.py", "ab")
    figures = picture_figures([picture(8)], {"brightest": metric})
    assert are_measured(figures, {"brightest": metric}) and are_measured(None, {})
    for other in (metric._replace(sha256="cd"), metric._replace(hyperparameters={"share": 1.0})):
        assert not are_measured(figures, {"brightest": other})
    assert not are_measured(None, {"brightest": metric})


def test_what_a_metric_returns_is_a_number_or_is_said(recwarn):
    def metric(value):
        return Metric("m", lambda pixels: value(pixels), {}, "mine.py")

    pixels = picture(10)
    for value in (3, 2.5, np.float32(2.5), np.array(2.5), np.int64(7), jnp.float32(2.5)):
        assert metric(lambda pixels, value=value: value).of(pixels, "p") == float(value)
    for value, said in (
        ("2", "a str"),
        (True, "a bool"),
        (1j, "a complex"),
        ([1.0], "a list"),
        (np.array([2.5]), r"shape \(1,\)"),
    ):
        with pytest.raises(UsageError, match=rf"metric m: returns .*{said}.*\(of p\)"):
            metric(lambda pixels, value=value: value).of(pixels, "p")
    with pytest.raises(NumericalError, match=r"metric m: is nan, not a finite number \(of p\)"):
        metric(lambda pixels: pixels[:0].mean()).of(pixels, "p")
    with pytest.raises(MemoryError):
        metric(lambda pixels: (_ for _ in ()).throw(MemoryError())).of(pixels, "p")
    assert pixels.flags.writeable and not recwarn
