"""Layers over steps: what is drawn where, in how many cells, and what of it is not there."""

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from jinv.record.metrics import StatisticsDistance
from jinv.report.attribution import FALLS, NOTHING, RISES, Panel, attribution_png, diverging
from jinv.report.heatmap import MOST_COLUMNS, MOST_ROWS, RAMP, LayerSums


def pixels(heat_map):
    with Image.open(io.BytesIO(base64.b64decode(heat_map.source.partition(",")[2]))) as image:
        return np.asarray(image).astype(int)


def filled(values, batches=1):
    """Sums of (layers, steps) means, the variances ten times as far off."""
    sums = LayerSums()
    for batch in range(batches):
        for step, column in enumerate(values.T, 1):
            scaled = column * (1 + batch)
            sums.add(step, [StatisticsDistance(tuple(scaled.tolist()), tuple((10 * scaled).tolist()))])
    return sums


def test_near_is_pale_far_is_dark_on_a_logarithmic_scale_and_batches_are_averaged():
    values = np.array([[0.01, 0.1], [1.0, math.nan]])
    means, variances = filled(values, batches=3).maps([("conv.bn", "bn2")], ["net"])
    assert [text for _, text in means.names] == ["conv.bn", "bn2"] and means.title == "Layer means"
    assert means.legend == ["0.02", "2"] and variances.legend == ["0.2", "20"]
    drawn = pixels(means)
    assert drawn.shape == (2, 2, 3)
    assert tuple(drawn[0, 0]) == RAMP[0] and tuple(drawn[1, 0]) == tuple(drawn[1, 1]) == RAMP[-1]
    assert tuple(drawn[0, 1]) == tuple(RAMP[2])  # halfway between a hundredth and one
    np.testing.assert_array_equal(drawn, pixels(variances))


def test_however_many_layers_and_steps_the_cells_are_bounded_and_averaged():
    random = np.random.default_rng(0)
    (means, _) = filled(random.uniform(0.5, 2, (400, 3000))).maps()
    assert pixels(means).shape == (MOST_ROWS, MOST_COLUMNS, 3) and len(means.source) < 150_000
    assert len(means.names) <= 32 and means.names[1][1].startswith("layer ")
    assert all(0 <= at <= 100 for at, _ in (*means.names, *means.ticks))


def test_where_nothing_is_finite_or_layers_changed_there_is_no_map():
    assert LayerSums().maps() == [] and filled(np.full((2, 3), math.nan)).maps() == []
    sums = filled(np.ones((2, 3)))
    sums.add(9, [StatisticsDistance((1.0,), (1.0,))])
    assert sums.maps() == []


def test_a_gradient_is_blue_where_the_term_falls_and_red_where_it_rises():
    gradient = np.zeros((2, 2, 3))
    gradient[0, 0], gradient[0, 1] = (1.0, -0.5, -1.5), (0.5, 0.5, 0.0)
    colored, scale = diverging(gradient)
    assert scale == pytest.approx(1.0) and tuple(colored[0, 0]) == FALLS and tuple(colored[0, 1]) == RISES
    assert tuple(colored[1, 0]) == NOTHING
    nothing, scale = diverging(np.zeros((3, 3, 3)))
    assert scale == 0 and (nothing == NOTHING).all()
    panels = [Panel(f"term_{i}", "1; ", gradient) for i in range(6)]
    with Image.open(io.BytesIO(attribution_png("title", "line", np.zeros((20, 40, 3), np.uint8), panels))) as sheet:
        assert sheet.width == 2 * 24 + 4 * 256 + 3 * 18 and sheet.height < 500  # two rows of wide pictures
