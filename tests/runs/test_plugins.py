"""Runs with functions of one's own: recorded with their digest, and gone on with by whoever has the same ones."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from jinv.cli import main
from jinv.runs import submit
from jinv.runs.jobs_folder import keep_plugins
from tests.small_runs import save_tiny

pytestmark = pytest.mark.usefixtures("unoptimized")

PRIOR = '''
import jax.numpy as jnp
import optax

import jinv


def edge_prior(image, *, power: jinv.Number = 1.0) -> jinv.Scalar:
    """Mean squared vertical difference, to a power. Couples no images."""
    return jnp.mean(jnp.mean((image[:, 1:] - image[:, :-1]) ** 2, axis=(1, 2, 3)) + 1e-12) ** power


def halves(steps: int, *, start: jinv.Number = 1.0) -> optax.Schedule:
    """Half of it from the middle on."""
    return lambda step: jnp.where(step < steps // 2, start, start / 2)


def within(image, *, limit: jinv.Number = 1.0) -> jinv.Image:
    """Every value within [-limit, limit]."""
    return jnp.clip(image, -limit, limit)


def unused(image) -> jinv.Scalar:
    """Mean of squares. Couples no images."""
    return jnp.mean(image**2)
'''
PLAIN = """
model = "tiny.safetensors"
[image]
size = 8
labels = ["cat", "ship"]
[[stages]]
steps = 2
[terms.cross_entropy]
"""
OWN = """
[terms.edge_prior]
weight = { schedule = "halves", start = 0.1 }
"""
EDITED = PRIOR.replace("1e-12", "1e-6")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_block):
    path = tmp_path_factory.mktemp("plugins")
    save_tiny(path / "tiny.safetensors", 1, name=one_block)
    save_tiny(path / "other.safetensors", 2, name=one_block)
    (path / "plain.toml").write_text(PLAIN)
    (path / "mine.toml").write_text(PLAIN + OWN)
    (path / "my_prior.py").write_text(PRIOR)
    (path / "edited.py").write_text(EDITED)
    return path


@pytest.fixture(scope="module")
def finished(folder):
    assert said(["synthesize", folder / "mine.toml", "--out", folder / "run"], folder / "my_prior.py") == 0
    return folder / "run"


def said(words, *plugins):
    return main([*map(str, words), *(word for plugin in plugins for word in ("--plugin", str(plugin)))])


def manifest(run):
    return json.loads((run / "manifest.json").read_text())


def test_a_run_records_the_plugin_its_digest_and_what_it_took(folder, finished):
    (used,) = manifest(finished)["plugins"]
    assert used["plugin"] == str(folder / "my_prior.py")
    assert used["sha256"] == hashlib.sha256(PRIOR.encode()).hexdigest()
    assert used["names"] == ["schedules.halves", "terms.edge_prior"]
    assert "edge_prior" in (finished / "metrics.jsonl").read_text()
    page = (finished / "report.html").read_text()
    assert "edge_prior" in page and used["sha256"] in page
    assert ".py" not in (finished / "config.toml").read_text()


def test_a_run_that_takes_nothing_of_a_plugin_has_the_bytes_of_one_without(folder, tmp_path, monkeypatch):
    words = ["synthesize", folder / "plain.toml", "--out"]
    assert said([*words, tmp_path / "with"], folder / "my_prior.py") == 0
    monkeypatch.setenv("JINV_PLUGINS", "")
    assert said([*words, tmp_path / "without"]) == 0
    one, other = (manifest(tmp_path / name) for name in ("with", "without"))
    assert "plugins" not in one and one.keys() == other.keys() and one["outputs"].keys() == other["outputs"].keys()
    same = [name for name in one["outputs"] if name not in ("report.html", "units.jsonl")]
    assert [one["outputs"][name] for name in same] == [other["outputs"][name] for name in same]


def test_a_run_goes_on_with_the_same_functions_alone(folder, tmp_path, capsys):
    words = ["synthesize", folder / "mine.toml", "--out", tmp_path / "run"]
    assert said(words, folder / "my_prior.py") == 0
    finished = manifest(tmp_path / "run")
    (tmp_path / "run/manifest.json").write_text(json.dumps({**finished, "finished": None, "outputs": None}))
    capsys.readouterr()
    assert said([*words, "--resume"]) == 2
    assert (
        "was made with the plugin" in (error := capsys.readouterr().err)
        and "my_prior.py (schedules.halves, terms" in error
    )
    assert said([*words, "--resume"], folder / "edited.py") == 6
    error = capsys.readouterr().err
    assert (
        "with other plugins than it was started with: plugin: 'schedules.halves, terms.edge_prior of sha256 " in error
    )
    assert said(["worker", folder / "mine.toml", *words[2:]]) == 2 and "--plugin" in capsys.readouterr().err
    assert said(["worker", folder / "mine.toml", *words[2:]], folder / "edited.py") == 6
    capsys.readouterr()
    # Under another name and elsewhere it is the same plugin.
    (tmp_path / "renamed.py").write_text(PRIOR)
    assert said([*words, "--resume"], tmp_path / "renamed.py") == 0
    assert manifest(tmp_path / "run")["outputs"]["images.npy"] == finished["outputs"]["images.npy"]


def test_a_projection_follows_every_update_and_is_part_of_the_run(folder, tmp_path, capsys):
    words = [
        "synthesize",
        folder / "plain.toml",
        "--out",
        tmp_path / "run",
        "--set",
        "clip=none",
        "stages.0.learning_rate=1.0",
    ]
    table = "project.within.limit={schedule='linear',start=9.0,end=0.25}"
    assert said([*words, table], folder / "my_prior.py") == 0
    assert np.abs(np.load(tmp_path / "run/images.npy")).max() == 0.25  # that of the last step
    assert manifest(tmp_path / "run")["plugins"][0]["names"] == ["projections.within"]
    assert "[project.within.limit]" in (tmp_path / "run/config.toml").read_text()
    assert "within" in (tmp_path / "run/report.html").read_text()
    for value, error in (
        ("project.within.limt=1", "(did you mean 'limit'?)"),
        ("project.without.limit=1", "project.without: no such projection 'without' (did you mean 'within'?)"),
        ("project.within.limit=-1", "project.within.limit: -1 must be a finite number of at least 0"),
    ):
        assert said([*words[:3], tmp_path / "no", "--set", value], folder / "my_prior.py") == 2
        assert error in capsys.readouterr().err
    assert (
        said(
            [*words[:3], tmp_path / "no", "--set", "project.within={}", "parameterization=fourier"],
            folder / "my_prior.py",
        )
        == 2
    )
    assert "project: within changes plain pixels" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_what_needs_no_plugin_does_without(folder, finished, capsys, tmp_path):
    assert said(["report", finished]) == 0
    assert said(["status", finished]) == 0
    assert said(["verify", finished]) == 0
    assert said(["evaluate", finished, "--verifier", folder / "other.safetensors"]) == 0
    assert said(["export", finished, tmp_path / "set"]) == 0
    capsys.readouterr()


def test_an_attribution_takes_a_plugins_term(folder, finished, tmp_path, capsys):
    words = ["attribute", finished, "--term", "edge_prior", "--out", tmp_path / "a.png"]
    assert said(words) == 2 and "no such term 'edge_prior'" in capsys.readouterr().err
    assert said(words, folder / "edited.py") == 6
    assert "cannot be attributed with other plugins" in capsys.readouterr().err and not (tmp_path / "a.png").exists()
    assert said(words, folder / "my_prior.py") == 0 and (tmp_path / "a.png").exists()


def test_a_repair_names_the_plugin_that_it_needs(folder, finished, capsys):
    picture = sorted((finished / "images").iterdir())[0]
    kept = picture.read_bytes()
    picture.unlink()
    assert said(["verify", finished, "--repair"]) == 2
    assert "was made with the plugin" in capsys.readouterr().err
    assert said(["verify", finished, "--repair"], folder / "my_prior.py") == 0
    assert picture.read_bytes() == kept


def test_a_sweep_varies_a_plugins_numbers_in_one_program(folder, tmp_path, capsys):
    config = tmp_path / "own.toml"
    config.write_text(PLAIN + "[terms.edge_prior]\n")
    (tmp_path / "tiny.safetensors").symlink_to(folder / "tiny.safetensors")
    words = ["sweep", config, "--out", tmp_path / "swept", "--vary"]
    vary = ["terms.edge_prior.weight=[0.01,0.1]", "terms.edge_prior.power=[0.5,1.0]"]
    assert said([*words, *vary], folder / "my_prior.py") == 0
    summary = json.loads((tmp_path / "swept/sweep.json").read_text())
    assert [len(program) for program in summary["programs"]] == [4]
    assert "edge_prior" in (tmp_path / "swept/comparison.html").read_text()
    capsys.readouterr()
    assert said([*words, *vary, "--resume"]) == 2 and "was made with the plugin" in capsys.readouterr().err
    assert said([*words, *vary, "--resume"], folder / "edited.py") == 6


def test_a_config_is_checked_with_plugins_and_never_names_one(folder, tmp_path, capsys, monkeypatch):
    assert said(["config", folder / "mine.toml"], folder / "my_prior.py") == 0
    assert "[terms.edge_prior" in capsys.readouterr().out
    monkeypatch.setenv("JINV_PLUGINS", str(folder / "my_prior.py"))
    assert said(["config", folder / "mine.toml", "--set", "terms.edge_prior.pover=2"]) == 2
    assert "(did you mean 'power'?)" in capsys.readouterr().err
    monkeypatch.delenv("JINV_PLUGINS")
    (tmp_path / "named.toml").write_text(f'plugin = "{folder}/my_prior.py"\n' + PLAIN + OWN)
    assert said(["config", tmp_path / "named.toml"]) == 2 and "plugin" in capsys.readouterr().err


def test_terms_says_whose_each_name_is(folder, capsys):
    assert said(["terms"], folder / "my_prior.py") == 0
    out = capsys.readouterr().out
    assert f"({folder}/my_prior.py)" in out and "by --plugin, sha256 " in out


def test_tasks_get_the_plugin_as_it_was_when_it_was_submitted(folder, tmp_path):
    kept = keep_plugins([str(folder / "my_prior.py"), "some.module"], tmp_path)
    assert kept[1] == "some.module" and Path(kept[0]).read_text() == PRIOR and kept[0].startswith(str(tmp_path))
    assert submit.worker_command(tmp_path / "c.toml", tmp_path / "run", *kept)[-4:] == [
        "--plugin",
        kept[0],
        "--plugin",
        "some.module",
    ]


def test_check_says_what_is_violated_and_ends_with_7(folder, tmp_path, capsys):
    assert said(["check", folder / "my_prior.py", "--json", tmp_path / "kept.json"]) == 0
    assert "4 functions: the contract is kept" in capsys.readouterr().out
    found = json.loads((tmp_path / "kept.json").read_text())
    assert found["violated"] == 0 and {entry["name"] for entry in found["functions"]} == {
        "edge_prior",
        "halves",
        "unused",
        "within",
    }
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import jinv\nimport jax.numpy as jnp\n\n\ndef spread(image) -> jinv.Scalar:\n    return jnp.std(image)\n"
    )
    assert said(["check", bad, "--json", tmp_path / "bad.json"]) == 7
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{bad}:5: spread: finite: its gradient is NaN in ") for line in lines)
    assert any(line.startswith(f"{bad}:5: spread: coupling: couples the images of a batch without") for line in lines)
    assert json.loads((tmp_path / "bad.json").read_text())["violated"] == 1
    assert said(["check", "flip", "linear"]) == 0 and "2 functions" in capsys.readouterr().out
    for words, code, error in (
        (["check", "total_variatoin"], 2, "did you mean 'total_variation'?"),
        (["check", "spread"], 2, "spread is no name of jinv terms"),
        (["check", tmp_path / "none.py"], 5, "none.py: the plugin cannot be read"),
        (["check", "FLIP"], 2, "did you mean 'flip'?"),
        (["check", "flip", "--json", tmp_path / "no/where/x.json"], 5, "x.json"),
    ):
        assert said(words) == code and error in capsys.readouterr().err


FAILING = """
import jax
import jax.numpy as jnp
import optax

import jinv


def asks(image) -> jinv.Scalar:
    return jnp.mean(image**2) if image.mean() > 0 else jnp.mean(image)


def misspelt(image) -> jinv.Scalar:
    return _helper(image)


def _helper(image):
    return jnp.mean(imag**2)


def whole(image) -> jinv.Scalar:
    return image


def nothing(image) -> jinv.Scalar:
    image + 1


def flat(key, image: jax.Array) -> jax.Array:
    return image.reshape(-1, image.no_such)


def inside(image) -> jinv.Image:
    return jnp.clip(image, *image[0, 0, 0])


def made(size, *, by: float = 1.0) -> jinv.parameterization.Parameterization:
    raise OSError("nowhere")


def late(steps: int, *, start: jinv.Number = 1.0) -> optax.Schedule:
    return lambda step: start if step < 1 else start / 2


"""


@pytest.mark.parametrize(
    ("change", "said_of_it"),
    [
        ("terms.asks={}", "terms.asks: cannot be carried out: TracerBoolConversionError at FILE:asks: "),
        (
            "terms.misspelt={}",
            "terms.misspelt: cannot be carried out: NameError at FILE:_helper: name 'imag' is not defined; `",
        ),
        ("augment.flat={}", "augment.flat: cannot be carried out: AttributeError at FILE:flat: "),
        ("project.inside={}", "project.inside: cannot be carried out: TypeError at FILE:inside: "),
        (
            "stages.0.parameterization=made",
            "parameterization made: cannot be carried out: OSError at FILE:made: nowhere; `",
        ),
        (
            "terms.cross_entropy.weight={schedule='late'}",
            "schedule late: cannot be carried out: TracerBoolConversionError at FILE:late: ",
        ),
    ],
)
@pytest.mark.parametrize("command", ["synthesize", "sweep"])
def test_a_function_of_ones_own_that_fails_in_a_run_is_named(folder, tmp_path, capsys, command, change, said_of_it):
    (tmp_path / "own.py").write_text(FAILING)
    words = [command, folder / "plain.toml", "--set", change, "--out", tmp_path / "out"]
    words += ["--vary", "terms.cross_entropy.weight=[0.5,1]"] if command == "sweep" and "late" not in change else []
    words += ["--vary", "seed=[0,1]"] if command == "sweep" and "late" in change else []
    assert said(words, tmp_path / "own.py") == 2 and not (tmp_path / "out").exists()
    error = capsys.readouterr().err.splitlines()[-1]
    function = re.search("FILE:([a-z_]+)", said_of_it)[1]  # a line below its first one
    line = next(n for n, text in enumerate(FAILING.splitlines(), 2) if text.startswith(f"def {function}("))
    assert said_of_it.replace(f"FILE:{function}", f"{tmp_path / 'own.py'}:{line}") in error
    assert error.endswith(f"`jinv check {tmp_path / 'own.py'}` says more")


def test_a_term_that_gives_no_number_is_named(folder, tmp_path, capsys):
    (tmp_path / "own.py").write_text(FAILING)
    for name, returned in (("whole", "of shape (2, 8, 8, 3)"), ("nothing", "a NoneType")):
        words = ["synthesize", folder / "plain.toml", "--set", f"terms.{name}={{}}", "--out", tmp_path / "out"]
        assert said(words, tmp_path / "own.py") == 2 and not (tmp_path / "out").exists()
        error = capsys.readouterr().err
        assert f"the term {name} returns " in error and f"{returned}, where one number is needed" in error


def test_an_attribution_needs_of_a_runs_plugins_the_terms_alone(folder, tmp_path, capsys):
    """What makes the pixels, and how they are optimised, decides no gradient in them."""
    (tmp_path / "maker.py").write_text(
        "import optax\n\n\n"
        "def slower(steps: int, *, by: float = 0.5) -> optax.Schedule:\n    return optax.linear_schedule(0.1, 0.1 * by, steps)\n"
    )
    config = tmp_path / "own.toml"
    config.write_text(PLAIN + "\n[augment.flip]\n")
    (tmp_path / "tiny.safetensors").symlink_to(folder / "tiny.safetensors")
    words = ["synthesize", config, "--out", tmp_path / "run", "--set", 'stages.0.learning_rate={schedule="slower"}']
    assert said(words, tmp_path / "maker.py") == 0, capsys.readouterr().err
    assert said(["attribute", tmp_path / "run", "--out", tmp_path / "a.png"]) == 0, capsys.readouterr().err
