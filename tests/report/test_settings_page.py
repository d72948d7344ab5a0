"""The page of many settings: what was found, sorted by a click, in bounded bytes, readable without its script."""

import re

import numpy as np
import pytest

from jinv.report.settings import Column, SettingRow, SettingsTable, parallel_axes
from jinv.report.settings_page import MOST_CELLS, MOST_ROWS, write_settings_page
from tests.report.browser import opened
from tests.small_runs import write_run

NAMES = ["cat", "dog", "<ship>"]
COLUMNS = (
    Column("weight", "varied"),
    Column("optimizer", "varied"),
    Column("judge.confidence", "objective", "higher", True, "stranger to the network"),
    Column("total", "outcome", "lower"),
)


def table_of(folder, count, *, size=(8, 6), columns=COLUMNS):
    """Settings of which the last has diverged; their values go up and down against one another."""
    rows = []
    for place in range(count):
        run = folder / f"{place:03d}_weight={place}"
        values = (10.0 ** (place % 7 - 5), ("adam", "sgd")[place % 2], place * 7 % count / count, float(count - place))
        if place == count - 1:
            rows.append(SettingRow(run.name, None, (*values[:2], None, None), "diverged at step 3"))
            continue
        write_run(run, [0, 1, 2], NAMES, size=size)
        rows.append(SettingRow(run.name, run, values, best=place == 0))
    return SettingsTable("mine: a sweep", "What was varied.", columns, tuple(rows), ("a <notice>",))


def test_the_page_has_every_setting_its_figures_and_its_images(tmp_path):
    text = write_settings_page(table_of(tmp_path, 6), tmp_path / "page.html").read_text()
    body = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", text, flags=re.S)
    assert len(re.findall(r'<tr data-row="\d+" class="', body)) == 6 and "diverged at step 3" in body
    assert body.count("<figure") - body.count('class="chart') == 5 * 3 and body.count("data:image/png") == 15
    assert [body.count(f'<th scope="col">{name}</th>') for name in ("cat", "dog", "&lt;ship&gt;")] == [1, 1, 1]
    assert body.count('class="across"') == 6 and body.count('class="axis"') == 4
    assert "a &lt;notice&gt;" in body and "<notice>" not in body and "stranger to the network" in body
    assert "http:" not in body and "https:" not in body and "default-src 'none'" in text


def test_200_settings_fit_a_bounded_page(tmp_path):
    table = table_of(tmp_path, 12, size=(64, 64))
    page = write_settings_page(table, tmp_path / "page.html")
    small = page.stat().st_size
    assert page.read_text().count("data:image/") == 33
    many = tuple(table.rows[place % 11] for place in range(MOST_ROWS + 30))
    large = write_settings_page(SettingsTable("", "", COLUMNS, many), page)
    text = large.read_text()
    assert text.count("data:image/") <= MOST_CELLS and f"best {MOST_ROWS} of {MOST_ROWS + 30} settings" in text
    assert len(re.findall(r'<tr data-row="\d+" class="', text)) == MOST_ROWS + 30
    assert large.stat().st_size < 9_000_000 and small < 1_500_000


def test_lines_cross_the_axes_at_their_values():
    """By hand: 1e-4 and 1e-2 are the ends of a logarithmic axis, 1e-3 is its middle; 0.25 of a linear one is a quarter."""
    columns = (Column("w", "varied"), Column("name", "varied"), Column("same", "varied"), Column("share", "outcome"))
    values = [(1e-4, "b", 1, 0.0), (1e-3, "a", 1, 0.25), (1e-2, "a", 1, 1.0), (1e-2, "b", 1, None)]
    table = SettingsTable("", "", columns, tuple(SettingRow(str(i), None, v) for i, v in enumerate(values)))
    axes, lines = parallel_axes(table)
    assert [(axis.column, axis.at) for axis in axes] == [(0, 0), (1, 50), (3, 100)]
    found = np.array([[np.nan if height is None else height for height in line.heights] for line in lines])
    np.testing.assert_allclose(found, [[100, 25, 100], [50, 75, 75], [0, 75, 0], [0, 25, np.nan]], atol=1e-9)
    assert lines[0].path == "M0.0 1000.0L500.0 250.0L1000.0 1000.0"
    assert lines[3].path == "M0.0 0.0L500.0 250.0" and [line.rank for line in lines] == pytest.approx(
        [1, 2 / 3, 1 / 3, 0]
    )
    assert axes[0].ticks == ((100.0, "1e-4"), (50.0, "0.001"), (0.0, "0.01"))
    assert parallel_axes(SettingsTable("", "", columns, table.rows[:1])) == ([], [])


def test_a_click_sorts_table_and_images_and_a_stretch_of_an_axis_chooses(tmp_path):
    page = write_settings_page(table_of(tmp_path, 8), tmp_path / "page.html")
    rows = "(found) => found.map((row) => row.dataset.row).join('')"
    with opened(page) as (window, said):
        head, axis = window.locator(".sortable th").nth(3), window.locator(".axis").nth(2)
        table, images = ".sortable tbody tr", ".matrix tbody tr"
        assert window.eval_on_selector_all(table, rows) == "01234567"
        # Shares are 0 7 6 5 4 3 2 of 8, and the last has none: it stays last either way. At the upper half are 5, 6 and 7.
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert [window.eval_on_selector_all(each, rows) for each in (table, images)] == ["12345607", "1234560"]
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert window.eval_on_selector_all(table, rows) == "06543217"
        axis.scroll_into_view_if_needed()
        box = axis.bounding_box()
        window.mouse.move(box["x"] + 3, box["y"])
        window.mouse.down()
        window.mouse.move(box["x"] + 3, box["y"] + 0.5 * box["height"])
        window.mouse.up()
        assert window.eval_on_selector_all(".sortable tr:not(.out)[data-row]", rows) == "4321"
        assert said == []
