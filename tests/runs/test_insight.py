"""What a run says of itself besides its images: animation, statistics, times, origin; and who else is told."""

import io
import json
import shutil
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image

import jinv
from jinv.cli import main
from jinv.errors import UsageError
from jinv.experiment.shared import Shared
from jinv.models.architecture import IMAGENET_MEAN, IMAGENET_STD, Architecture
from jinv.models.registry import ARCHITECTURES
from jinv.models.resnet_cifar import ResNetCifar
from jinv.recipe.read import read_config
from jinv.record.sealed import digest_of
from jinv.record.timing import StepTime
from jinv.record.unfinished import Work
from jinv.runs import sinks
from jinv.runs.synthesize import run
from tests.small_runs import save_tiny

pytestmark = pytest.mark.usefixtures("unoptimized")

CONFIG = """
model = "tiny.safetensors"
log_every = 2
log_gradients = true
log_statistics = true
[image]
size = 8
labels = ["cat", "ship", 1, 2]
batch = 2
[[stages]]
steps = 4
[[stages]]
steps = 4
learning_rate = 0.1
[augment.flip]
[terms.cross_entropy]
[terms.total_variation]
weight = {schedule = "balanced", to = "cross_entropy", ratio = 0.5}
[terms.feature_statistics]
weight = 1e-2
[checkpoint]
every_steps = 1
[output]
frames = 4
"""


@pytest.fixture(scope="module")
def no_block():
    """The name of a CIFAR ResNet without blocks, known to this process: what compiles in no time."""
    make = partial(ResNetCifar, blocks_per_stage=0, width=4)
    entry = Architecture("no_block", make, 32, 8, IMAGENET_MEAN, IMAGENET_STD, num_classes=10, class_names="cifar10")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, entry.name, entry)
        yield entry.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory, no_block):
    """A config, and a run of it with everything that can be asked for."""
    folder = tmp_path_factory.mktemp("insight")
    save_tiny(folder / "tiny.safetensors", 0, name=no_block)
    (folder / "small.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def synthesize(folder):
    """Carries the config out, with changes; programs are compiled once for all."""
    shared = Shared()

    def synthesize(out, *changes, resume=False):
        return run(read_config(folder / "small.toml", changes), out, resume=resume, shared=shared)

    synthesize(folder / "whole")
    return synthesize


@pytest.fixture(scope="module")
def whole(folder, synthesize):
    """The run."""
    return folder / "whole"


def dying(method, count):
    """`Work`'s method, after whose `count`-th call the process is as good as killed."""
    original, calls = getattr(Work, method), []

    def dies(self, given):
        original(self, given)
        calls.append(given)
        if len(calls) == count:
            raise KeyboardInterrupt

    return dies


def left(run):
    return {name: digest_of(run / name) for name in ("metrics.jsonl", "images.npy", "units.jsonl", "frames.webp")}


@pytest.mark.parametrize("dies_at", [3, 4, 11])
def test_a_run_that_was_killed_ends_with_the_same_animation_lines_and_weights(whole, synthesize, tmp_path, dies_at):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Work, "save", dying("save", dies_at))
        synthesize(tmp_path / "run")
    synthesize(tmp_path / "run", resume=True)
    assert left(tmp_path / "run") == left(whole)
    record = jinv.open_run(tmp_path / "run")
    times = [time for time in record.timing if time is not None]
    assert len(times) == len(record.metrics) and all(a.at <= b.at for a, b in zip(times, times[1:], strict=False))


def test_the_animation_has_the_first_batch_at_even_moments_and_is_made_again(whole, tmp_path, capsys):
    run = shutil.copytree(whole, tmp_path / "run")
    record = jinv.open_run(run, verify=True)
    with Image.open(run / "frames.webp") as animation:
        assert animation.n_frames == 4
        animation.seek(3)
        last = np.asarray(animation.convert("RGB"), np.float64)
    # Two images of 8 px side by side with a gap of 2, every pixel 23 times: WebP of quality 90 is close to them.
    side = last.shape[1] // (2 * 10 + 2)
    assert last.shape == (12 * side, 22 * side, 3) and side == 23
    shown = last[side // 2 :: side, side // 2 :: side][2:10, 2:10]
    assert np.abs(shown - record.pictures[0]).mean() < 12
    (run / "frames.webp").unlink()
    assert main(["verify", str(run)]) == 5 and "missing frames.webp" in "".join(capsys.readouterr())
    assert main(["verify", str(run), "--repair"]) == 0
    assert left(run) == left(whole)


def test_lines_have_cosines_and_every_layers_distance_and_the_manifest_says_whose(whole):
    record = jinv.open_run(whole)
    (layers,) = record.manifest.layers
    assert layers == ("bn1",)
    for line in record.metrics:
        (distances,) = line.statistics
        assert len(distances.mean) == len(distances.variance) == len(layers) and min(distances.mean) > 0
        assert {a: set(row) for a, row in line.gradient_cosines.items()} == {
            "cross_entropy": {"total_variation", "feature_statistics"},
            "total_variation": {"feature_statistics"},
        }
    written = json.loads((whole / "metrics.jsonl").read_text().splitlines()[0])
    assert -1 <= written["gradient_cosines"]["cross_entropy"]["total_variation"] <= 1


def test_a_run_says_when_it_logged_as_what_it_was_begun_and_none_of_it_is_sealed(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    record = jinv.open_run(run)
    assert [(t.batch, t.step) for t in record.timing] == [(x.batch, x.step) for x in record.metrics]
    first, second = record.timing[:2]
    assert first.steps_per_second is None and second.steps_per_second > 0 and second.memory > 1e6
    assert record.manifest.host and record.manifest.command and record.manifest.commit
    assert "timing.jsonl" not in record.manifest.outputs and "frames.webp" in record.manifest.outputs
    (run / "timing.jsonl").unlink()
    (run / "logs").mkdir()
    (run / "logs" / "events").write_text("")
    assert main(["verify", str(run)]) == 0
    assert jinv.open_run(run).timing == [None] * len(record.metrics)
    with (run / "timing.jsonl").open("w") as file:
        file.write('{"batch": 0, "step": 1, "at": 1.0}\nnothing\n{"batch": 0, "st')
    assert jinv.open_run(run).timing[0] == StepTime(batch=0, step=1, at=1.0)


def test_the_page_shows_the_animation_the_cosines_the_layers_and_the_origin(whole):
    page = (whole / "report.html").read_text()
    for words in ("prefers-reduced-motion", "image/webp", "Gradient cosines", "bn1", "steps per second"):
        assert words in page, words
    assert jinv.open_run(whole).manifest.commit in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("output.frames=1", "output.frames: 1 "),
        ("output.frames=121", "output.frames: 121 "),
        ('terms.total_variation.weight={schedule="balanced"}', "weight.to: not set must be another term"),
        ('terms.total_variation.weight={schedule="balanced",to="cross_entopy"}', "did you mean 'cross_entropy'"),
        ('terms.total_variation.weight={schedule="balanced",to="total_variation"}', "must be another term"),
        ('terms.total_variation.weight={schedule="balanced",to=3}', "weight.to: 3 must be another term"),
        ('terms.total_variation.weight={schedule="balanced",to="cross_entropy",every=0}', "every: 0"),
        (
            'terms.total_variation.weight={schedule="balanced",to="cross_entropy",decay=1.0}',
            "decay: 1.0 must be below 1",
        ),
        ('terms.total_variation.weight={schedule="balanced",to="cross_entropy",ration=1}', "did you mean 'ratio'"),
        ('terms.cross_entropy.weight={schedule="balanced",to="total_variation"}', "balanced weight itself"),
        ('stages.0.learning_rate={schedule="balanced",to="cross_entropy"}', "no such schedule 'balanced'"),
        ('log=["tensorbord"]', "log: "),
        ("log=3", "log: "),
    ],
)
def test_what_cannot_be_is_said_in_one_line(folder, tmp_path, capsys, change, words):
    assert main(["synthesize", str(folder / "small.toml"), "--out", str(tmp_path / "run"), "--set", change]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not (tmp_path / "run").exists()


class Tracked:
    """`wandb` and `trackio` as far as they are used."""

    def __init__(self, fails_at=None):
        self.begun, self.logged, self.finished, self.fails_at = [], [], 0, fails_at

    def login(self, prompt):
        return False

    def init(self, **keywords):
        self.begun.append(keywords)
        return self

    def log(self, values, step):
        if self.fails_at is not None and len(self.logged) >= self.fails_at:
            raise ConnectionError("nobody answers\nand more")
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1

    class Image:
        """A picture."""

        def __init__(self, pixels):
            self.pixels = pixels


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_trackers_are_told_the_config_every_line_and_the_images(whole, synthesize, tmp_path, monkeypatch, capsys, name):
    tracked = Tracked()
    monkeypatch.setitem(sys.modules, name, tracked)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    synthesize(tmp_path / "run", f'log=["{name}"]')
    assert left(tmp_path / "run") == left(whole) and main(["verify", str(tmp_path / "run")]) == 0
    (begun,) = tracked.begun
    assert begun["project"] == "jinv" and begun["resume"] == "allow" and begun["config"]["image"]["count"] == 4
    if name == "wandb":
        assert begun["mode"] == "offline" and "wandb: no account here" in capsys.readouterr().err
    record = jinv.open_run(tmp_path / "run")
    steps = [step for step, _ in tracked.logged]
    lines = [(step, values) for step, values in tracked.logged if "total" in values]
    assert steps == sorted(steps) and [step for step, _ in lines] == [8 * x.batch + x.step for x in record.metrics]
    for (_, values), line in zip(lines, record.metrics, strict=True):
        assert values["total"] == line.total and values["terms/cross_entropy"] == line.terms["cross_entropy"].value
        pair = "gradient_cosines/cross_entropy, total_variation"
        assert values[pair] == line.gradient_cosines["cross_entropy"]["total_variation"]
        assert values["statistics/mean"] == pytest.approx(np.mean(line.statistics[0].mean))
    grids = [values["images"].pixels for _, values in tracked.logged if "images" in values]
    assert [grid.shape for grid in grids] == [(12, 22, 3)] * 2 and tracked.finished == 1
    np.testing.assert_array_equal(grids[1][2:10, 2:10], record.pictures[2])


def test_a_tracker_that_fails_is_said_once_and_a_run_that_goes_on_is_the_same_one(
    synthesize, tmp_path, monkeypatch, capsys
):
    tracked = Tracked(fails_at=2)
    monkeypatch.setitem(sys.modules, "trackio", tracked)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Work, "append", dying("append", 5))
        synthesize(tmp_path / "run", 'log=["trackio"]')
    said = capsys.readouterr().err
    assert said.count("--log trackio") == 1 and "nobody answers; the run goes on without it" in said
    synthesize(tmp_path / "run", 'log=["trackio"]', resume=True)
    assert len(tracked.begun) == 2 and tracked.begun[0]["name"] == tracked.begun[1]["name"]


def test_a_package_that_is_not_there_is_said_before_anything_is_written(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    words = ["synthesize", str(folder / "small.toml"), "--out", str(tmp_path / "run"), "--log", "tensorboard"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "pip install 'jinv[tensorboard]'" in said and said.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_sweep_tells_a_tracker_of_every_setting_and_varies_a_ratio_in_one_program(
    folder, tmp_path, monkeypatch, capsys
):
    tracked = Tracked()
    monkeypatch.setitem(sys.modules, "trackio", tracked)
    config, out = str(folder / "small.toml"), str(tmp_path / "sweep")
    ratio = "terms.total_variation.weight.ratio=[0.5,2.0]"
    command = ["sweep", config, "--vary", ratio, "--out", out, "--log", "trackio", "--set", "image.labels=[3,8]"]
    assert main(command) == 2 and "output.frames: settings side by side" in capsys.readouterr().err
    (folder / "sweep.toml").write_text(CONFIG.replace("[output]\nframes = 4\n", ""))
    command[1] = str(folder / "sweep.toml")
    assert main([*command, "log_statistics=false", "stages.1.steps=0"]) == 0
    assert len(tracked.begun) == tracked.finished == 2
    summary = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert len(summary["programs"]) == 1
    for setting, wanted in zip(
        sorted(p for p in (tmp_path / "sweep").iterdir() if p.is_dir()), (0.5, 2.0), strict=True
    ):
        record = jinv.open_run(setting)
        norms = record.metrics[0].gradient_norms
        assert norms["total_variation"] / norms["cross_entropy"] == pytest.approx(wanted, rel=1e-3)
        assert all(time is not None for time in record.timing)


def test_tensorboard_can_read_what_it_is_told(synthesize, tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    synthesize(tmp_path / "run", 'log=["tensorboard"]')
    (path,) = (tmp_path / "run" / "logs" / "tensorboard").iterdir()
    data, events = path.read_bytes(), []
    while data:  # a record: its length, a checksum of that, the event, and a checksum of it
        length = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    values = [(event.step, value) for event in events for value in event.summary.value]
    record = jinv.open_run(tmp_path / "run")
    totals = [(step, value.simple_value) for step, value in values if value.tag == "total"]
    assert totals == [(8 * x.batch + x.step, pytest.approx(x.total, rel=1e-6)) for x in record.metrics]
    pictures = [value.image for _, value in values if value.tag == "images"]
    with Image.open(io.BytesIO(pictures[1].encoded_image_string)) as picture:
        np.testing.assert_array_equal(np.asarray(picture)[2:10, 2:10, :3], record.pictures[2])
    assert any("cross_entropy" in str(value.tensor) for _, value in values if value.tag.startswith("config"))


def test_an_attribution_is_of_the_runs_batch_and_is_drawn(folder, whole, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = whole
    found = jinv.attribute(run, ["cross_entropy"], image=1)
    assert found.class_name == "ship" and found.batch == 2 and [t.name for t in found.terms] == ["cross_entropy"]
    np.testing.assert_array_equal(found.picture, jinv.open_run(run).pictures[1])
    # Of a term that couples no image the gradient is the picture's own, but for the mean over the batch.
    recipe = read_config(run / "config.toml")
    alone = jinv.attribute(recipe, ["cross_entropy"], image=run / jinv.open_run(run).picture_files[1], label="ship")
    assert alone.batch == 1 and alone.terms[0].gradient.shape == (8, 8, 3)
    angle = np.sum(alone.terms[0].gradient * found.terms[0].gradient) / (
        np.linalg.norm(alone.terms[0].gradient) * np.linalg.norm(found.terms[0].gradient)
    )
    assert angle > 0.95  # the picture is the image in 8 bits
    assert main(["attribute", str(run), "--image", "2", "--arrays", "a.npz"]) == 0
    with Image.open("attribution_whole_2.png") as sheet:
        assert sheet.width > 4 * 256 and len(sheet.convert("RGB").getcolors(1 << 20)) > 100
    with np.load("a.npz") as arrays:
        assert set(arrays.files) == {"picture", *(f"gradient_{name}" for name in recipe.terms)}
    for words, code, said in (
        ([str(run), "--image", "4"], 2, "the run's images are 0 to 3"),
        ([str(run), "--term", "cross_entopy"], 2, "did you mean 'cross_entropy'"),
        ([str(run), "--image", "none.png", "--label", "1"], 5, "none.png"),
        ([str(run), "--image", str(run / "grid.png")], 2, "--label: which class"),
        ([str(run), "--image", "1", "--label", "1"], 2, "is for a picture's file"),
        ([str(run / "config.toml")], 2, "a config has no images"),
        ([str(folder)], 5, "not a run directory"),
        ([str(run), "--image", str(run / "grid.png"), "--label", "shop"], 2, "ship"),
        ([str(run), "--out", "a.jpg"], 2, "--out a.jpg"),
        ([str(run), "--out", "nowhere/a.png"], 5, "nowhere"),
        ([str(run), "--arrays", str(run / "config.toml")], 2, "config.toml: is written as NPZ"),
        ([str(run), "--arrays", "nowhere/a.npz"], 5, "nowhere"),
        ([str(run), "--image", "-1"], 2, "the run's images are 0 to 3"),
        ([str(run), "--image", str(run / "grid.png"), "--label", "1" * 5000], 2, "is not a class name"),
    ):
        capsys.readouterr()
        assert main(["attribute", *words]) == code, words
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, (words, error)


def test_an_attribution_of_a_run_is_by_the_network_that_made_it(folder, whole, no_block, tmp_path, capsys):
    """Another one by the same name explains nothing of the image."""
    network = folder / "tiny.safetensors"
    kept, errors = network.read_bytes(), []
    try:
        save_tiny(network, 1, name=no_block)
        for words in ((), ("--image", str(whole / "grid.png"), "--label", "ship")):
            assert main(["attribute", str(whole), *words, "--out", str(tmp_path / "a.png")]) == 6
            errors.append(capsys.readouterr().err)
    finally:
        network.write_bytes(kept)
    for error in errors:
        assert "cannot be attributed with other weights" in error and error.count("\n") == 1
    assert not (tmp_path / "a.png").exists()


def test_a_name_that_no_sink_has_is_refused():
    with pytest.raises(UsageError, match="wandb"):
        sys.modules.pop("wandb", None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "wandb", None)
            sinks.check_sinks(["wandb"])
