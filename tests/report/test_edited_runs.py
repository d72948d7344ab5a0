"""Runs whose files somebody edited: pages, tables and findings come about, or one line names the file. Never a traceback."""

import copy
import io
import json
import random
import shutil
import tomllib

import numpy as np
import pytest
import tomli_w
from rich.console import Console

from jinv.errors import JinvError, UnsafeInputError
from jinv.images.codec import png_bytes
from jinv.record.directory import RunDirectory
from jinv.record.run import open_run
from jinv.report.page import write_comparison, write_report
from jinv.report.text import print_evaluation, print_result
from jinv.report.view import read_run
from jinv.reproduce.findings import numbers_of
from jinv.reproduce.pages import result_line
from jinv.runs.sweep_summary import SettingResult, print_summary, summarize
from tests.record.test_metrics_lines import logged
from tests.record.test_record import MANIFEST, evaluation
from tests.report.test_report import judged_by
from tests.small_runs import write_metrics

MUTATIONS = 400
VALUES = [
    None, True, False, 0, 1, -1, 7, 0.5, -0.0, 2**31, 10**18, 10**400, -(10**400), 1e308, -1e308, 5e-324, float("nan"),
    float("inf"), float("-inf"), "", "x", "\x00", "\ud800", "x" * 100_000, "../../etc/passwd", "<b>", "2026-13-99", [], [None],
    [1, 2, 3], [[]], {}, {"": None}, {"value": 1}, {"withheld": 3},
]  # fmt: skip
FILES = ("manifest.json", "evaluation.json", "metrics.jsonl", "config.toml")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that has all that pages and tables show."""
    directory = RunDirectory(tmp_path_factory.mktemp("edited") / "whole")
    directory.path.mkdir()
    finished = {"finished": "2026-01-01T00:01:00+00:00", "wall_seconds": 61.5, "outputs": {"grid.png": "ef"}}
    directory.write_manifest(MANIFEST.model_copy(update=finished))
    for number, name in enumerate(MANIFEST.class_names):
        directory.write_image(f"images/{number:06d}_{name}.png", png_bytes(np.full((8, 6, 3), 9 * number, np.uint8)))
    table = evaluation().to_json()
    table["verifiers"] |= judged_by(lite1="sibling", squeezenet="stranger")
    table["verifiers"]["net"]["diversity"] = {"value": 0.5, "classes": {"7": 0.5}}
    table["verifiers"]["net"]["reference"]["nearest"] = [
        {"image": "images/000000_cat.png", "neighbors": [{"name": "a", "distance": 1.0, "file": "nearest/a.png"}]}
    ]
    table["verifiers"]["net"]["photographs"] = {
        "count": 9, "top1": 0.5, "interval": [0.25, 0.75], "top5": 1.0, "top5_interval": [0.5, 1.0],
        "mean_confidence": {"value": 0.5, "low": 0.25, "high": 0.75},
    }  # fmt: skip
    table["photographs"] = {"source": "photos", "pictures": table["pictures"]}
    directory.write_json("evaluation.json", table)
    write_metrics(directory.path, [logged(step, 2.0 / step, gradient_norms={"total": 0.5}) for step in range(1, 5)])
    directory.write_config(
        {"model": "net", "seed": 3, "image": {"size": [8, 6], "batch": 2, "labels": [7, 9]},
         "stages": [{"size": [8, 6], "steps": 20, "learning_rate": {"schedule": "cosine", "init": 0.1}}],
         "augment": {"roll": {"max_shift": 2}}, "terms": {"cross_entropy": {"weight": 1.0}}, "evaluate": {"verifiers": ["net"]}}
    )  # fmt: skip
    return directory.path


def read(path):
    text = path.read_text()
    if path.suffix == ".toml":
        return tomllib.loads(text)
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def write(path, value):
    if path.suffix == ".toml":
        path.write_text(tomli_w.dumps(value))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(line) + "\n" for line in value))
    else:
        path.write_text(json.dumps(value))


def places(value, path=()):
    """Every place in a tree."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutated(value, place, draw):
    """The tree with something else at one place of it: another value, nothing, or it twice."""
    value = copy.deepcopy(value)
    at = value
    for key in place[:-1]:
        at = at[key]
    kind = draw.random()
    if kind < 0.15:
        del at[place[-1]]
    elif kind < 0.2 and isinstance(at, list):
        at.append(at[place[-1]])
    else:
        at[place[-1]] = draw.choice(VALUES)
    return value


def everything(run, whole, out):
    """All that is made of a run's records without a network."""
    console = Console(file=io.StringIO(), width=120)
    record = open_run(run)
    write_report(run)
    write_comparison([run, whole], out / "comparison.html")
    if record.evaluation is not None:
        print_evaluation(record.evaluation, console)
    print_result(run)
    result_line(read_run(run))
    numbers_of(run, "a run")
    results = [
        SettingResult(name, {"seed": i}, r.metrics, r.evaluation)
        for i, (name, r) in enumerate([("0", record), ("1", open_run(whole))])
    ]
    summary = summarize(results, [["0", "1"]], record.manifest)
    print_summary(summary, console)
    RunDirectory(out).write_json("sweep.json", summary)


def test_what_is_whole_has_everything(whole, tmp_path):
    everything(whole, whole, tmp_path)


def test_no_edit_of_a_record_is_a_traceback(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    draw, refused = random.Random(16), []
    trees = {name: read(whole / name) for name in FILES}
    sites = [(name, place) for name, tree in trees.items() for place in places(tree)]
    assert len(sites) > 80
    for number in range(MUTATIONS):
        name, place = sites[draw.randrange(len(sites))]
        try:
            write(run / name, mutated(trees[name], place, draw))
        except (TypeError, UnicodeEncodeError):  # TOML has no null and no half characters
            continue
        try:
            everything(run, whole, tmp_path)
        except JinvError as error:
            words = str(error)
            assert name in words and "\n" not in words and len(words) < 1000, (number, place, words)
            assert isinstance(error, UnsafeInputError) or (name, place) == ("manifest.json", ("schema",)), (
                place,
                words,
            )
            refused.append(number)
        except Exception as error:
            raise AssertionError(
                f"mutation {number} of {name} at {place}: {(run / name).read_text()[:2000]}"
            ) from error
        finally:
            shutil.copy(whole / name, run / name)
    assert MUTATIONS // 4 < len(refused) < MUTATIONS


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "data", [b"", b"[" * 100_000, b"\xff\xfe", b"{}\n", b"null\n", b"1\n", b'"x"\n', b"9" * 5000 + b"\n"]
)
def test_what_is_no_record_at_all_is_refused_in_a_line(whole, tmp_path, name, data):
    run = shutil.copytree(whole, tmp_path / "run")
    (run / name).write_bytes(data)
    try:
        everything(run, whole, tmp_path)
    except JinvError as error:
        assert name in str(error) and "\n" not in str(error)
