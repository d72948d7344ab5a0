"""`low:high:log8`: which points, how they are written, and what is no range."""

import numpy as np
import pytest

from jinv.errors import UsageError
from jinv.recipe.ranges import Interval, interval_of, is_range, points_of
from jinv.recipe.tuning import read_tuned
from jinv.recipe.variations import read_variations
from tests.small_runs import CONFIG


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("1e-5:1e-1:log8", np.logspace(-5, -1, 8)),
        ("0.02:3:log5", np.geomspace(0.02, 3, 5)),
        ("0:1:lin5", np.linspace(0, 1, 5)),
        ("-1:2.5:7", np.linspace(-1, 2.5, 7)),
        ("1:1.0001:9", np.linspace(1, 1.0001, 9)),
        ("10:20:30", np.linspace(10, 20, 30)),  # to TOML a time of day
    ],
)
def test_points_are_spaced_as_asked_and_rounded_by_less_than_a_hundredth_of_a_step(text, exact):
    points = np.array(points_of(text, "--vary key"), np.float64)
    low, high = map(float, text.split(":")[:2])
    assert points[0] == low and points[-1] == high and len(points) == len(exact)
    assert (np.abs(points - exact)[1:-1] <= 0.0101 * np.minimum(np.diff(exact)[:-1], np.diff(exact)[1:])).all()
    assert (np.diff(points) > 0).all()
    digits = [len(f"{p!r}".replace(".", "").lstrip("0").split("e")[0]) for p in points[1:-1].tolist()]
    assert max(digits) <= 8, points


def test_points_are_whole_where_the_ends_are_written_so_and_all_are():
    for text, expected in (("0:7:8", range(8)), ("10:1000:log3", (10, 100, 1000)), ("0:100:lin5", range(0, 101, 25))):
        assert [(type(p), p) for p in points_of(text, "")] == [(int, p) for p in expected]
    assert all(isinstance(p, float) for p in points_of("0.0:4:5", "")[:-1])
    assert points_of("0:7:5", "") == [0, 1.75, 3.5, 5.25, 7]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1:2", "how many points"),
        ("1:2:", "how many points"),
        ("1:2:lgo8", "'lgo8' must be a number of points"),
        ("1:2:log", "'log' must be a number of points"),
        ("1:2:1", "1 points; a range has from 2 to 1000"),
        ("1:2:9999", "from 2 to 1000"),
        ("2:1:3", "2:1 must begin below its end"),
        ("1:1:3", "must begin below its end"),
        ("0:1:log3", "0 must be above 0"),
        ("a:1:3", "'a' must be a finite number"),
        ("1:inf:3", "'inf' must be a finite number"),
        (":1:3", "'' must be a finite number"),
        ("1:2:3:4", "'1:2:3:4' must be low:high:log8"),
    ],
)
def test_what_is_no_range_is_named_with_what_one_is(text, words):
    with pytest.raises(UsageError) as caught:
        points_of(text, "--vary terms.x.weight")
    assert str(caught.value).startswith("--vary terms.x.weight: ") and words in str(caught.value)


def test_a_search_looks_between_two_ends():
    assert interval_of("1e-5:1:log", "") == Interval(1e-5, 1.0, True)
    assert interval_of("20:200", "") == Interval(20, 200, False)
    assert [type(end) for end in (interval_of("1:2.0", "").low, interval_of("1:2", "").low)] == [float, int]
    for text, words in (("1:2:8", "'8' must be log"), ("0:1:log", "above 0"), ("3:2", "must begin below")):
        with pytest.raises(UsageError, match=words):
            interval_of(text, "--tune key")
    assert not is_range("[1,2]") and not is_range('"package:a/b"') and not is_range("3")


def test_of_a_search_both_ends_and_every_choice_are_looked_at_and_none_twice(tmp_path):
    (tmp_path / "c.toml").write_text(CONFIG)
    tuned = read_tuned(tmp_path / "c.toml", ["seed=0:5", "image.batch=[1,2,3]"])
    found = [tuple(corner.changes.values()) for corner in tuned.corners]
    assert found == [(0, 1), (5, 1), (0, 2), (0, 3)]
    with pytest.raises(UsageError, match=r"image.batch: -2 must be"):
        read_tuned(tmp_path / "c.toml", ["image.batch=[1,-2,3]"]).corners  # noqa: B018
    with pytest.raises(UsageError, match=r"^--tune seed: the value 2 appears twice$"):
        read_tuned(tmp_path / "c.toml", ["seed=[2,1,2]"])


def test_a_range_beside_a_list_names_settings_readably(tmp_path):
    (tmp_path / "small.toml").write_text(CONFIG)
    found = read_variations(
        tmp_path / "small.toml",
        ["terms.feature_statistics.weight=1e-4:1e-1:log4", "seed=0:2:3", "keep=['best','last']"],
    )
    assert len(found) == len({variation.name for variation in found}) == 24
    assert found[8].name == "08_weight=0.001_seed=1_keep=best"
    assert found[8].recipe.terms["feature_statistics"]["weight"] == 1e-3 and found[8].recipe.seed == 1
    with pytest.raises(UsageError, match=r"seed: 1.75 must be a whole number of at least 0"):
        read_variations(tmp_path / "small.toml", ["seed=0:7:5"])
    with pytest.raises(UsageError, match="must be a list of values or a range"):
        read_variations(tmp_path / "small.toml", ["seed=3"])
