"""What runs share and leave: programs, lines that can be watched, nothing at all where they cannot be carried out."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import jinv.experiment.shared
from jinv.cli import main
from jinv.core.types import Image, Number, Scalar
from jinv.errors import ModelMismatchError, UsageError
from jinv.experiment.experiment import load_experiment
from jinv.experiment.numbers import groups, varied_numbers
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.recipe.read import check_config
from jinv.recipe.recipe import replaced
from jinv.recipe.variations import Variation
from jinv.record.directory import RunDirectory
from jinv.record.unfinished import Checkpoint, Work, load_checkpoint, save_checkpoint
from jinv.runs import recorder
from jinv.runs.in_memory import run
from tests.networks import tiny_classifier
from tests.small_runs import CONFIG, save_tiny, under_way

pytestmark = pytest.mark.usefixtures("unoptimized")
TABLE = {
    "model": "tiny",
    "image": {"size": 16, "labels": [1, 2, 3], "count": 8, "batch": 2},
    "stages": [{"size": 8, "steps": 2}, {"size": 16, "steps": 2}],
    "terms": {"cross_entropy": {}, "feature_statistics": {"weight": 0.1}},
    "log_every": 1,
}


@pytest.fixture
def shared():
    return Shared({"tiny": tiny_classifier(blocks=0)})


@pytest.fixture
def folder(tmp_path, one_block):
    save_tiny(tmp_path / "tiny.safetensors", 1, name=one_block)
    (tmp_path / "small.toml").write_text(CONFIG.replace('[evaluate]\nverifiers = ["other.safetensors"]\n', ""))
    return tmp_path


def compiled(shared):
    """How many programs of steps there are, whatever they were compiled for."""
    return sum(p.step._cache_size() for synthesis in shared._syntheses.values() for p in synthesis.programs)


def test_a_run_compiles_once_per_stage_and_runs_like_it_not_at_all(shared):
    recipe = check_config(TABLE)
    first = run(recipe, shared=shared)
    assert compiled(shared) == 2 and first.images.shape == (8, 16, 16, 3)
    other = run(replaced(recipe, seed=7, image=replaced(recipe.image, labels=(5,), count=4)), shared=shared)
    assert compiled(shared) == 2 and not (other.images == first.images[:4]).all()
    run(replaced(recipe, keep="best"), shared=shared)
    assert compiled(shared) == 4
    again = run(recipe, shared=Shared({"tiny": tiny_classifier(blocks=0)}))
    assert (again.images == first.images).all()


def test_a_smaller_last_batch_has_a_program_of_its_own(shared):
    recipe = check_config(TABLE)
    run(replaced(recipe, image=replaced(recipe.image, count=5)), shared=shared)
    assert compiled(shared) == 4


def test_a_run_in_memory_says_what_a_directory_would(shared, folder, monkeypatch):
    monkeypatch.setattr(jinv.experiment.shared, "load", lambda name, **_: tiny_classifier(blocks=0))
    assert main(["synthesize", str(folder / "small.toml"), "--out", str(folder / "run")]) == 0
    table = {**TABLE, "image": {"size": 16, "labels": ["cat", "ship", 1], "batch": 2}, "log_every": 10}
    table |= {"stages": [{"size": 8, "steps": 4}, {"size": 16, "steps": 4}], "augment": {"roll": {}, "flip": {}}}
    table["terms"] = {"cross_entropy": {}, "feature_statistics": {"weight": 1e-2}}
    result = run(check_config(table), shared=shared)
    assert (result.images == np.load(folder / "run" / "images.npy")).all()
    assert result.metrics == RunDirectory(folder / "run").metrics()
    assert result.class_names == ["cat", "ship", "automobile"] and result.labels == (3, 8, 1)
    assert result.pictures.dtype == np.uint8 and result._repr_png_()[:4] == b"\x89PNG"


def test_lines_can_be_read_while_a_run_goes_on(folder, monkeypatch):
    seen = []
    update = recorder.SynthesisProgress.update

    def watches(self, *arguments):
        seen.append([line.step for line in RunDirectory(folder / "run").metrics()])
        update(self, *arguments)

    monkeypatch.setattr(recorder.SynthesisProgress, "update", watches)
    arguments = ["--set", "image.labels=[1]", "log_every=2"]
    assert main(["synthesize", str(folder / "small.toml"), "--out", str(folder / "run"), *arguments]) == 0
    assert seen == [[2], [2, 4], [2, 4, 6], [2, 4, 6, 8]]


def test_a_resumption_reads_each_batch_once_however_many_lines_there_are(folder, monkeypatch):
    config = ["synthesize", str(folder / "small.toml"), "--out", str(folder / "run"), "--set", "log_every=1"]
    write = RunDirectory.write_image
    monkeypatch.setattr(RunDirectory, "write_image", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(config) == 130
    monkeypatch.setattr(RunDirectory, "write_image", write)
    loads, load = [], np.load
    monkeypatch.setattr(np, "load", lambda path, **options: loads.append(str(path)) or load(path, **options))
    assert main([*config, "--resume"]) == 0
    assert len([path for path in loads if "units" in path]) <= 6
    assert len(RunDirectory(folder / "run").metrics()) == 16


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["stages.0.optimizer=lbfgs"], "stages[0].optimizer"),
        (["stages.0.optimizer=scale_by_learning_rate"], "stages[0].optimizer"),
        (["stages.0.optimizer=_deprecated_dpsgd"], "stages[0].optimizer"),
        (["stages.0.optimizer=polyak_sgd"], "stages[0].optimizer"),
        (['stages.0.optimizer={name="adam", eps="x"}'], "stages[0].optimizer.eps"),
        (['stages.0.optimizer={name="adam", b1=true}'], "stages[0].optimizer.b1"),
        (['terms.total_variation={form="formula_4_1", neighbors=8}'], "neighbors must be 4"),
        (["terms.total_variation.neighbors=true"], "neighbors"),
        (["terms.total_variation.neighbors=4.0"], "neighbors"),
        (["terms.feature_statistics.weight=1" + "0" * 400], "terms.feature_statistics.weight"),
    ],
)
def test_what_cannot_be_carried_out_is_said_in_a_line_and_leaves_nothing(folder, changes, words, capsys):
    before = sorted(folder.rglob("*"))
    assert main(["synthesize", str(folder / "small.toml"), "--out", str(folder / "run"), "--set", *changes]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1, error
    assert sorted(folder.rglob("*")) == before


def test_a_sweep_goes_on_where_it_was_interrupted(folder, monkeypatch):
    arguments = ["sweep", str(folder / "small.toml"), "--vary", "seed=[0,1]", "stages.0.steps=[2,3]"]
    arguments += ["--set", "checkpoint.every_steps=3", "image.labels=[3,8,1,2]"]
    assert main([*arguments, "--out", str(folder / "whole")]) == 0
    save, calls = Work.save, []

    def dies(self, *place):
        save(self, *place)
        calls.append(place)
        if len(calls) == 3:  # in the second batch of the first part
            raise KeyboardInterrupt

    monkeypatch.setattr(Work, "save", dies)
    assert main([*arguments, "--out", str(folder / "parts")]) == 130
    monkeypatch.undo()
    assert main([*arguments, "--out", str(folder / "parts")]) == 6
    assert main([*arguments, "--out", str(folder / "parts"), "--resume"]) == 0
    names = sorted(path.name for path in (folder / "whole").iterdir() if path.is_dir())
    assert len(names) == 4
    for name in names:
        whole, parts = folder / "whole" / name, folder / "parts" / name
        assert (whole / "images.npy").read_bytes() == (parts / "images.npy").read_bytes()
        assert (whole / "metrics.jsonl").read_bytes() == (parts / "metrics.jsonl").read_bytes()
        assert sorted(p.name for p in whole.iterdir()) == sorted(p.name for p in parts.iterdir())


def test_an_experiment_is_bound_once_for_all_who_need_it(shared):
    experiment = load_experiment(check_config(TABLE), shared=shared)
    assert [s.stop - s.start for s in experiment.batches] == [2, 2, 2, 2]
    assert experiment.synthesis(2) is load_experiment(check_config(TABLE), shared=shared).synthesis(2)
    assert experiment.class_names == ["automobile", "bird", "cat"] * 2 + ["automobile", "bird"]


def test_a_term_of_ones_own_is_run_and_swept_without_touching_anything(shared, tmp_path):
    def brightness(image: Image, *, target: Number = 0.0) -> Scalar:
        """How far the mean is from a target."""
        return jnp.square(jnp.mean(image) - target)

    mine = standard_vocabulary().with_terms(brightness)
    terms = {**TABLE["terms"], "brightness": {"weight": 50.0, "target": 1.0}}
    with_it = run(check_config({**TABLE, "terms": terms}), shared=shared, vocabulary=mine)
    assert with_it.images.mean() > run(check_config(TABLE), shared=shared).images.mean() + 0.05
    assert "brightness" in with_it.metrics[0].terms and "brightness" not in standard_vocabulary().terms
    recipes = [check_config({**TABLE, "terms": terms | {"brightness": {"target": t}}}) for t in (0.0, 1.0)]
    both = [Variation(i, str(i), {"target": i}, recipe) for i, recipe in enumerate(recipes)]
    assert varied_numbers(groups(both, mine)[0], mine) == {("terms", "brightness", "target"): [0.0, 1.0]}
    with pytest.raises(UsageError, match="fields of Forward, not 'picture' .*known: image"):
        mine.with_terms(lambda picture: jnp.sum(picture))
    with pytest.raises(UsageError, match="already the name"):
        mine.extended(terms={"total_variation": brightness})
    with pytest.raises(UsageError, match="no such term 'brightness'"):
        run(check_config({**TABLE, "terms": terms}), shared=shared)


def test_a_network_of_ones_own_is_loaded_by_what_a_vocabulary_says(tmp_path, one_block):
    save_tiny(tmp_path / "tiny.safetensors", 1, name=one_block)
    standard = standard_vocabulary()
    known = Vocabulary(**{**vars(standard), "networks": {one_block: standard.networks[one_block]}})
    assert Shared().network(str(tmp_path / "tiny.safetensors"), known).architecture == one_block
    with pytest.raises(ModelMismatchError, match="unknown to this version"):
        unknown = Vocabulary(**{**vars(standard), "networks": {}})
        Shared().network(str(tmp_path / "tiny.safetensors"), unknown)


def test_a_sweep_takes_up_no_other_sweeps_states(folder, monkeypatch, capsys):
    """Whose a checkpoint is stands in it: with other settings side by side it is of no use, with others at all refused."""
    config = ["sweep", str(folder / "small.toml"), "--set", "image.labels=[1]", "checkpoint.every_steps=3"]
    seeds = [*config, "--vary", "seed=[0,1,2,3]"]
    assert main([*seeds, "--out", str(folder / "whole"), "--at-once", "2"]) == 0
    save = Work.save

    def dies(self, checkpoint):
        save(self, checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr(Work, "save", dies)
    assert main([*seeds, "--out", str(folder / "parts")]) == 130
    monkeypatch.undo()
    capsys.readouterr()
    assert main([*config, "--vary", "seed=[0,5]", "--out", str(folder / "parts"), "--resume"]) == 6
    assert "is no setting of this sweep" in capsys.readouterr().err
    assert main([*seeds, "--out", str(folder / "parts"), "--resume", "--at-once", "2"]) == 0
    for k in range(4):
        whole, parts = (folder / name / f"{k}_seed={k}" for name in ("whole", "parts"))
        assert (whole / "images.npy").read_bytes() == (parts / "images.npy").read_bytes()
        assert (whole / "metrics.jsonl").read_bytes() == (parts / "metrics.jsonl").read_bytes()


def test_a_sweep_that_was_interrupted_while_it_was_recorded_synthesizes_nothing_again(folder, monkeypatch):
    arguments = ["sweep", str(folder / "small.toml"), "--vary", "stages.0.learning_rate=[0.05,1e30]", "--out"]
    arguments += [str(folder / "sweep"), "--set", "image.labels=[1]", "stages.0.optimizer=sgd", "clip=none"]
    assert main(arguments) == 0
    before = {path: path.read_bytes() for path in (folder / "sweep").rglob("images.npy")}
    rows = json.loads((folder / "sweep" / "sweep.json").read_text())["settings"]
    monkeypatch.setattr("jinv.runs.sweep_part.Part.snapshots", lambda *_, **__: pytest.fail("synthesized again"))
    assert main([*arguments, "--resume"]) == 0
    assert {path: path.read_bytes() for path in (folder / "sweep").rglob("images.npy")} == before
    again = json.loads((folder / "sweep" / "sweep.json").read_text())["settings"]
    assert [row["diverged_at_step"] for row in again] == [row["diverged_at_step"] for row in rows] != [None, None]


def test_what_a_crash_left_of_a_line_is_not_in_the_way_of_the_next(folder, monkeypatch):
    config = [
        "synthesize",
        str(folder / "small.toml"),
        "--out",
        str(folder / "run"),
        "--set",
        "checkpoint.every_steps=2",
    ]
    save = Work.save

    def dies(self, checkpoint):
        save(self, checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr(Work, "save", dies)
    assert main(config) == 130
    monkeypatch.undo()
    with (under_way(folder / "run") / "metrics.jsonl").open("a") as file:
        file.write('{"batch": 0, "st')
    assert main([*config, "--resume"]) == 0
    assert [line.step for line in RunDirectory(folder / "run").metrics()] == [2, 4, 6, 8] * 2


def test_every_program_of_a_sweep_is_traced_before_anything_is_written(folder, capsys):
    arguments = ["--vary", "terms.total_variation.neighbors=[8,4]", "--set", 'terms.total_variation.form="formula_4_1"']
    assert main(["sweep", str(folder / "small.toml"), *arguments, "--out", str(folder / "sweep")]) == 2
    assert "neighbors must be 4" in capsys.readouterr().err and not (folder / "sweep").exists()


def test_replacing_a_run_removes_nothing_until_the_new_one_is_known_to_be_right(folder, capsys):
    config = ["synthesize", str(folder / "small.toml"), "--out", str(folder / "run"), "--set", "image.labels=[1]"]
    assert main(config) == 0
    before = (folder / "run" / "images.npy").read_bytes()
    assert main([*config, "--replace", "model=nothing.safetensors"]) == 2
    assert main([*config, "model=nothing.safetensors", "--replace"]) == 5
    assert (folder / "run" / "images.npy").read_bytes() == before
    assert main([*config, "seed=1", "--replace"]) == 0
    assert (folder / "run" / "images.npy").read_bytes() != before
    (folder / "other").mkdir()
    (folder / "other" / "file").write_text("mine")
    assert main([*config[:3], str(folder / "other"), "--replace"]) == 6 and (folder / "other" / "file").exists()


def test_a_checkpoint_that_was_cut_short_is_none(tmp_path):
    save_checkpoint(tmp_path, Checkpoint(0, 1, 2, [np.zeros(3)], None, ("a", "b")))
    assert load_checkpoint(tmp_path, print).owners == ("a", "b")
    data = (tmp_path / "checkpoint.npz").read_bytes()
    (tmp_path / "checkpoint.npz").write_bytes(data[: len(data) // 2])
    assert load_checkpoint(tmp_path, print) is None
