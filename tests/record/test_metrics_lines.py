"""metrics.jsonl: standard JSON, added to line by line, readable while it grows and after a crash."""

import hashlib
import json
import math
import os
import tracemalloc

import pytest

from jinv.errors import StorageError, UnsafeInputError
from jinv.record.directory import RunDirectory
from jinv.record.metrics import MetricsLine, TermValue, iter_metrics, lines_text
from jinv.record.unfinished import Checkpoint, Work
from tests.small_runs import write_metrics


def logged(step, total=1.5, **more):
    known = {"batch": 0, "step": step, "stage": 0, "stage_step": step, "size": (4, 6), "learning_rate": 0.1}
    terms = {"cross_entropy": TermValue(0.75, 1.5)}
    return MetricsLine(**(known | {"total": total, "accuracy": 0.5, "terms": terms} | more))


def strict(text):
    """A line as a reader sees it that knows only the standard."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_metrics_line_has_the_keys_that_others_read(tmp_path):
    run = RunDirectory(tmp_path)
    write_metrics(run.path, [logged(10), logged(20, gradient_norms={"total": 2.0})])
    first, second = map(strict, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert first == {
        "batch": 0, "step": 10, "stage": 0, "stage_step": 10, "size": [4, 6], "learning_rate": 0.1, "total": 1.5,
        "accuracy": 0.5, "terms": {"cross_entropy": {"value": 0.75, "weighted": 1.5}},
    }  # fmt: skip
    assert second["gradient_norms"] == {"total": 2.0} and "finite" not in second
    assert run.metrics() == [logged(10), logged(20, gradient_norms={"total": 2.0})]
    assert run.metrics()[0].gradient_norms is None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["total", "accuracy", "learning_rate", "value", "weighted", "gradient norm"])
def test_what_is_not_finite_is_null_on_disk_and_nan_when_read(tmp_path, number, place):
    line = logged(1)
    if place in ("value", "weighted"):
        terms = {"a": TermValue(*(number if key == place else 1.0 for key in ("value", "weighted")))}
        line = logged(1, terms=terms)
    elif place == "gradient norm":
        line = logged(1, gradient_norms={"a": number})
    else:
        line = logged(1, **{place: number})
    run = RunDirectory(tmp_path)
    write_metrics(run.path, [line, logged(2), line])
    written = [strict(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [entry.get("finite") for entry in written] == [False, None, False]
    read = run.metrics()
    assert [entry.finite for entry in read] == [False, True, False]
    found = {
        "total": read[0].total, "accuracy": read[0].accuracy, "learning_rate": read[0].learning_rate,
        "value": next(iter(read[0].terms.values())).value, "weighted": next(iter(read[0].terms.values())).weighted,
        "gradient norm": (read[0].gradient_norms or {}).get("a", 0.0),
    }  # fmt: skip
    assert {key for key, value in found.items() if math.isnan(value)} == {place}


def test_lines_of_before_are_still_read(tmp_path):
    """Earlier versions wrote NaN and Infinity as Python does."""
    old = logged(3).to_json() | {"total": math.nan, "accuracy": math.inf}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(old) + "\n")
    (line,) = RunDirectory(tmp_path).metrics()
    assert math.isnan(line.total) and line.accuracy == math.inf and not line.finite


def test_lines_are_added_to_the_file_that_a_watcher_has_open(tmp_path):
    work = Work(tmp_path)
    work.begin(None)
    work.append(logged(1))
    with work.lines.open(encoding="utf-8") as watcher:
        for step in range(2, 5):
            assert strict(watcher.readline())["step"] == step - 1 and watcher.readline() == ""
            work.append(logged(step))
    assert [line.step for line in work.logged()] == [1, 2, 3, 4]
    assert os.listdir(tmp_path) == ["metrics.jsonl"]
    work.close()


def test_a_crash_in_the_middle_of_a_line_costs_that_line_and_a_resume_starts_anew(tmp_path):
    run, path = RunDirectory(tmp_path), tmp_path / "metrics.jsonl"
    write_metrics(run.path, [logged(1), logged(2)])
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for end in range(second, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert [line.step for line in run.metrics()] == [1]
    path.write_bytes(whole[:-1])  # only the end of the line is missing
    assert [line.step for line in run.metrics()] == [1, 2]
    path.write_bytes(whole[:-20])
    work = Work(tmp_path)
    work.begin(Checkpoint(0, 0, 1))
    work.append(logged(2))
    assert path.read_bytes() == whole and work.digest.hexdigest() == hashlib.sha256(whole).hexdigest()
    work.close()
    # Before the torn line nothing may be damaged: that was no crash of ours.
    path.write_bytes(b"{\n" + whole)
    with pytest.raises(UnsafeInputError, match=r"metrics.jsonl, line 1: cannot be read") as error:
        run.metrics()
    assert "\n" not in str(error.value)
    path.write_bytes(whole.replace(b'"step": 2', b'"step": "x"'))
    with pytest.raises(UnsafeInputError, match=r"line 2: step: 'x'"):
        run.metrics()


def test_rewriting_leaves_the_old_lines_or_the_new_ones(tmp_path, monkeypatch):
    run = RunDirectory(tmp_path)
    write_metrics(run.path, [logged(1), logged(2)])

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jinv.files.os.replace", fails)
    with pytest.raises(StorageError, match="No space left"):
        write_metrics(run.path, [logged(1)])
    monkeypatch.undo()
    assert [line.step for line in run.metrics()] == [1, 2] and os.listdir(tmp_path) == ["metrics.jsonl"]
    write_metrics(run.path, [logged(1)])
    assert [line.step for line in run.metrics()] == [1]


def test_a_full_disk_is_a_storage_error(tmp_path, monkeypatch):
    work = Work(tmp_path)
    work.begin(None)
    work.append(logged(1))

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("jinv.record.unfinished.os.fsync", full)
        with pytest.raises(StorageError, match=r"metrics.jsonl: cannot be written: No space left"):
            work.save(Checkpoint(0, 0, 1))
    assert os.listdir(tmp_path) == ["metrics.jsonl"]
    work.close()


def test_lines_are_read_one_by_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert list(iter_metrics(path)) == []
    whole = lines_text([logged(1), logged(2)])
    path.write_text(whole + "{damaged\n" + lines_text([logged(4)]) + '{"torn')
    lines = iter_metrics(path)
    assert [next(lines), next(lines)] == [logged(1), logged(2)]
    with pytest.raises(UnsafeInputError, match="line 3"):
        next(lines)
    path.write_text(whole + lines_text([logged(3)])[:-1])
    assert [entry.step for entry in iter_metrics(path)] == [1, 2, 3]


def test_many_lines_weigh_as_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines_text([logged(1)]) * 500)
    tracemalloc.start()
    try:
        assert sum(1 for _ in iter_metrics(path)) == 500
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100_000
