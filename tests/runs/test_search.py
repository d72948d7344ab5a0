"""`jinv search`: Optuna chooses, trials are runs side by side, an interrupted search ends as if nobody had stopped it."""

import json
import shutil
import sys

import numpy as np
import pytest

from jinv.cli import main
from jinv.errors import Interrupted
from jinv.record.unfinished import Work
from jinv.runs import study
from jinv.runs.search import _State
from tests.runs.kill_runs import left_by
from tests.runs.test_insight import Tracked
from tests.small_runs import CONFIG, save_tiny

pytestmark = pytest.mark.usefixtures("unoptimized")
TUNE = ["--tune", "terms.feature_statistics.weight=1e-3:1:log", "stages.0.learning_rate=0.01:0.2"]
JUDGED = ["--objective", "judge.safetensors.confidence", "--held-out", "other.safetensors"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_block):
    pytest.importorskip("optuna", reason="Optuna is not installed (extra `tune`)")
    path = tmp_path_factory.mktemp("search")
    for seed, name in enumerate(("tiny", "judge", "other"), 1):
        save_tiny(path / f"{name}.safetensors", seed, name=one_block)
    one_stage = CONFIG.replace("[[stages]]\nsize = 8\nsteps = 4\n", "").replace('"ship", 1', '"ship"')
    (path / "short.toml").write_text(one_stage.replace('verifiers = ["other.safetensors"]', "verifiers = []"))
    return path


def search(folder, out, *arguments, trials=4, at_once=2):
    return main(
        ["search", str(folder / "short.toml"), "--optuna", str(trials), "--at-once", str(at_once), "--out", str(out)]
        + list(arguments)
    )


@pytest.fixture(scope="module")
def whole(folder):
    """A search that nobody stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert search(folder, folder / "whole", *TUNE, *JUDGED, "--objective", "high_frequency_energy") == 0
    return folder / "whole"


def results(out):
    """What must not depend on interruptions."""
    record = json.loads((out / "search.json").read_text())
    runs = {run.name: left_by(run) for run in out.iterdir() if run.is_dir()}
    return record, runs


def test_every_trial_is_a_run_and_the_held_out_judge_is_beside_the_one_optimised(whole, folder, capsys):
    record, runs = results(whole)
    assert record["asked"] == {
        "tune": {
            "terms.feature_statistics.weight": [1e-3, 1.0, "log"],
            "stages.0.learning_rate": [0.01, 0.2, "lin"],
        },
        "objectives": {"judge.safetensors.confidence": "max", "high_frequency_energy": "min"},
        "held_out": ["other.safetensors"],
        "sampler": "tpe",
        "seed": 0,
    }
    trials = record["trials"]
    assert sorted(trial["trial"] for trial in trials) == [0, 1, 2, 3] and len(runs) == 4
    judges = {judge["name"]: judge for judge in record["judges"]}
    assert judges["other.safetensors"]["held_out"] and judges["other.safetensors"]["to_optimised"] == "sibling"
    assert any("other.safetensors is a sibling of the judge that is optimised" in text for text in record["warnings"])
    for trial in trials:
        evaluation = json.loads((whole / trial["run"] / "evaluation.json").read_text())
        verdicts = evaluation["verifiers"]
        assert trial["objectives"]["judge.safetensors.confidence"] == verdicts["judge"]["mean_confidence"]["value"]
        assert trial["judges"]["other.safetensors"]["confidence"] == verdicts["other"]["mean_confidence"]["value"]
        assert trial["objectives"]["high_frequency_energy"] == evaluation["pictures"]["high_frequency_energy"]["value"]
        manifest = json.loads((whole / trial["run"] / "manifest.json").read_text())
        assert manifest["sweep"]["changes"] == trial["changes"] and len(set(trial["changes"].values())) == 2
    values = {t["trial"]: tuple(t["objectives"].values()) for t in trials}
    dominated = {a for a, x in values.items() for y in values.values() if y != x and y[0] >= x[0] and y[1] <= x[1]}
    assert set(record["best"]) == values.keys() - dominated
    page = (whole / "comparison.html").read_text()
    assert "held out, higher is better; sibling to the network, sibling to the judge optimised" in page


def test_a_search_says_how_many_trials_are_done_and_its_page_is_written_again(
    whole, folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(folder)
    copy = shutil.copytree(whole, tmp_path / "whole")
    assert main(["status", str(copy)]) == 0
    assert f"{copy}: a search, 4 of 4 trials are done\n" in capsys.readouterr().out
    page = (copy / "comparison.html").read_bytes()
    (copy / "comparison.html").unlink()
    assert main(["report", str(copy)]) == 0 and (copy / "comparison.html").read_bytes() == page
    monkeypatch.setattr(_State, "_batch", stopped)
    asked = [*TUNE, *JUDGED, "--objective", "high_frequency_energy", "--resume"]
    assert search(folder, copy, *asked, trials=6) == 75
    capsys.readouterr()
    assert main(["status", str(copy), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["done"], found["trials"], len(found["settings"])) == ("search", 4, 6, 4)


def stopped(self, numbers, stop):
    raise Interrupted(f"{self.directory}: stopped")


def test_every_trial_of_a_search_is_told_to_the_sinks(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "trackio", tracked := Tracked())
    assert search(folder, tmp_path / "s", *TUNE, "--objective", "steps", "--log", "trackio", trials=2) == 0
    assert len(tracked.begun) == 2 and tracked.finished == 2
    assert {values["total"] > 0 for _, values in tracked.logged if "total" in values} == {True}


def test_a_trial_equals_its_setting_run_alone(whole, folder, tmp_path):
    trial = json.loads((whole / "search.json").read_text())["trials"][0]
    changes = [f"{key}={value!r}" for key, value in trial["changes"].items()]
    assert main(["synthesize", str(folder / "short.toml"), "--out", str(tmp_path / "one"), "--set", *changes]) == 0
    images, alone = (np.load(path / "images.npy") for path in (whole / trial["run"], tmp_path / "one"))
    np.testing.assert_allclose(images, alone, atol=1e-3)


@pytest.mark.parametrize("when", ["in a trial", "between asking and telling", "in the journal"])
def test_an_interrupted_search_ends_as_if_nobody_had_stopped_it(when, whole, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    arguments = [*TUNE, *JUDGED, "--objective", "high_frequency_energy", "--set", "checkpoint.every_steps=1"]
    where = {"in a trial": (Work, "save", 3), "between asking and telling": (study.Study, "tell", 4)}
    with monkeypatch.context() as patch:
        if when == "in the journal":
            ask = study.Study.ask
            patch.setattr(study.Study, "ask", lambda self, number: _dies_after(ask(self, number), number == 3))
        else:
            owner, name, count = where[when]
            original, calls = getattr(owner, name), []

            def dies(self, *given):
                calls.append(given)
                return _dies_after(None, True) if len(calls) == count else original(self, *given)

            patch.setattr(owner, name, dies)
        assert search(folder, tmp_path / "s", *arguments) == 130
    if when == "in the journal":  # the last trial lost its second value, and half of the line with its first
        lines = (tmp_path / "s" / study.JOURNAL).read_bytes().splitlines(keepends=True)
        (tmp_path / "s" / study.JOURNAL).write_bytes(b"".join(lines[:-2]) + lines[-2][:20])
    assert search(folder, tmp_path / "s", *arguments, "--resume") == 0
    record, runs = results(tmp_path / "s")
    expected, expected_runs = results(whole)
    assert record == expected
    assert {name: files["images.npy"] for name, files in runs.items()} == {
        name: files["images.npy"] for name, files in expected_runs.items()
    }


def _dies_after(value, now):
    if now:
        raise KeyboardInterrupt
    return value


def test_a_search_goes_on_with_more_trials_and_with_nothing_else(whole, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    steps = ["--tune", "stages.0.steps=1:3", "--objective", "steps", "--sampler", "random"]
    out = tmp_path / "s"
    assert search(folder, out, *steps, trials=2, at_once=1) == 0
    first = json.loads((out / "search.json").read_text())["trials"]
    assert search(folder, out, *steps, "--resume", trials=3, at_once=1) == 0
    record = json.loads((out / "search.json").read_text())
    assert len(record["trials"]) == 3 and [t for t in record["trials"] if t["trial"] < 2] == first
    assert record["trials"][0]["trial"] in record["best"]
    assert all(t["objectives"]["steps"] == t["changes"]["stages.0.steps"] in (1, 2, 3) for t in record["trials"])
    capsys.readouterr()
    for changed, words in ((["--seed", "1"], "another seed: 0 then, 1 now"), (["--sampler", "tpe"], "another sampler")):
        assert search(folder, out, *steps, *changed, "--resume", trials=3) == 6
        assert words in capsys.readouterr().err
    assert search(folder, out, *steps, trials=3) == 6 and "continue it with --resume" in capsys.readouterr().err
    # What is done stays in the record, also where fewer trials are asked for, or who goes through them is stopped.
    record = (out / "search.json").read_bytes()
    assert search(folder, out, *steps, "--resume", trials=2, at_once=1) == 6
    error = capsys.readouterr().err
    assert "3 trials are done, --optuna 2 asks for fewer" in error and error.count("\n") == 1
    batch = _State._batch
    monkeypatch.setattr(_State, "_batch", lambda *given: _dies_after(batch(*given), given[1] == range(1, 2)))
    assert search(folder, out, *steps, "--resume", trials=5, at_once=1) == 130
    assert json.loads((out / "search.json").read_text()) == json.loads(record) | {"wanted": 5}
    with (out / "study.jsonl").open("a") as journal:
        journal.write('{"op_code": 99, "worker_id": "another"}\n')
    (tmp := out / "search.json").write_text('{"asked": 5}')
    for words in ("asked: 5 must be a table", "study.jsonl: not readable as a study"):
        capsys.readouterr()
        assert search(folder, out, *steps, "--resume", trials=3) == 3
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
        tmp.write_bytes(record)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([*TUNE, "--objective", "judge.safetensors.confidence"], 2, "--held-out: which judge looks on?"),
        ([*TUNE, *JUDGED[:2], "--held-out", "judge.safetensors"], 2, "is the judge that is optimised"),
        ([*TUNE, *JUDGED[:2], "--held-out", "./judge.safetensors"], 2, "under another name"),
        ([*TUNE, *JUDGED[:2], "--held-out", "tiny.safetensors"], 2, "is the network that is inverted"),
        ([*TUNE, "--objective", "tiny.safetensors.accuracy", *JUDGED[2:]], 2, "is the network that is inverted"),
        ([*TUNE, "--objective", "nobody.safetensors.accuracy", *JUDGED[2:]], 5, "nobody.safetensors"),
        ([*TUNE], 2, "what is improved?"),
        (["--objective", "steps"], 2, "what is tuned?"),
        ([*TUNE, "--objective", "stepps"], 2, "did you mean 'steps'"),
        ([*TUNE, "--objective", "judge.safetensors.confidense", *JUDGED[2:]], 2, "did you mean 'confidence'"),
        ([*TUNE, "--objective", "contrast"], 2, "contrast:max or contrast:min"),
        ([*TUNE, "--objective", "steps", "--objective", "steps:max"], 2, "given twice"),
        ([*TUNE, "--objective", "steps", "--sampler", "tpee"], 2, "did you mean 'tpe'"),
        ([*TUNE, "--objective", "steps", "--objective", "contrast:max", "--sampler", "cmaes"], 2, "has one objective"),
        (["--tune", "seed=[0,1]", "--objective", "steps", "--sampler", "cmaes"], 2, "tunes numbers alone"),
        (["--tune", "seed=3", "--objective", "steps"], 2, "must be low:high"),
        (["--tune", "seed=0:5:8", "--objective", "steps"], 2, "'8' must be log or nothing"),
        (["--tune", "sede=0:5", "--objective", "steps"], 2, "did you mean 'seed'"),
        (["--tune", "seed=-1:5", "--objective", "steps"], 2, "seed: -1 must be"),
        (["--tune", "seed=0.5:5", "--objective", "steps"], 2, "seed: 0.5 must be a whole number"),
        (["--tune", "seed=0:5", "seed=0:6", "--objective", "steps"], 2, "given twice"),
        (["--tune", 'stages.0.optimizer=["adam","sgdd","sgd"]', "--objective", "steps"], 2, "did you mean 'sgd'"),
        ([*TUNE, "--objective", "steps", "--seed", "-1"], 2, "--seed: -1"),
        ([*TUNE, "--objective", "steps", "--at-once", "0"], 2, "--at-once: 0"),
        ([*TUNE, "--objective", "steps", "--optuna", "0"], 2, "--optuna: 0"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(folder, arguments, code, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert search(folder, tmp_path / "s", *arguments) == code
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1, error
    assert not (tmp_path / "s").exists()


def test_without_optuna_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    (tmp_path / "short.toml").write_text(CONFIG)
    assert search(tmp_path, tmp_path / "s", *TUNE, "--objective", "steps") == 2
    error = capsys.readouterr().err
    assert "pip install 'jinv[tune]'" in error and error.count("\n") == 1
