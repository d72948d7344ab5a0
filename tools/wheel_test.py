"""Builds jinv, installs the wheel into an empty environment outside the repository, and uses it there as a stranger would.

`python tools/wheel_test.py [--python INTERPRETER] [--with REQUIREMENT ...]`: `make wheel-test` runs it as it is, .ci/run with
another Python and with the oldest jax too. Needs the package `build` and a package registry or pip's cache.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = {"jinv": "jinv", "convert": "jinv_convert", "configs": "jinv/configs"}
"""Folders of the repository and what they are in the wheel; every file of theirs has to be there."""
OTHERS = ("convert", "configs", "tests", "benchmarks", "tools")
"""Names that are left to those who install jinv."""
DEMO = [
    "synthesize", "demo", "--out", "run", "--set", "image.count=2", "image.size=32", "evaluate.verifiers=[]",
    "stages.0.size=32", "stages.0.steps=2", "stages.1.size=32", "stages.1.steps=2",
]  # fmt: skip


PRIOR = '''"""A prior of one's own: neighbours in the vertical differ little."""

import jax
import jax.numpy as jnp

import jinv


def edge_prior(image: jax.Array, *, power: jinv.Number = 1.0) -> jinv.Scalar:
    """Mean of the squared vertical differences, to a power.

    `mean((x_down - x)^2)^power`. Couples no images. Zero where columns are of one colour.
    """
    squares = jnp.mean((image[:, 1:] - image[:, :-1]) ** 2, axis=(1, 2, 3))
    return jnp.mean((squares + 1e-12) ** power)
'''
"""A stranger's whole plugin."""

METRIC = '''def brightness(pixels) -> float:
    """The mean of all values, in units where white is 1."""
    return pixels.mean() / 255
'''


Completed = subprocess.CompletedProcess[str]


class Failure(Exception):
    """What is wrong with the wheel, in a line or with a command's output."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with jinv in it, and an empty folder in which to use it."""

    folder: Path
    work: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def run(self, *command: str, code: int = 0, **variables: str) -> str:
        """What a command in the folder says on both streams; `jinv` is the environment's.

        Raises:
          Failure: another exit code than `code`.
        """
        program = str(self.folder / "bin" / command[0])
        done = _run([program, *command[1:]], self.work, _outside(self.folder) | variables)
        if done.returncode != code:
            raise Failure(f"{' '.join(command)}: exit code {done.returncode}, not {code}\n{done.stdout}")
        return done.stdout


def _run(command: Sequence[str], folder: Path = REPOSITORY, variables: Mapping[str, str] | None = None) -> Completed:
    return subprocess.run(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _outside(folder: Path) -> dict[str, str]:
    """The process's environment without what leads Python to the repository, and with a cache that is empty."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"JINV_CACHE": str(folder / "cache"), "PYTHONNOUSERSITE": "1"}


def build(folder: Path) -> Path:
    """The wheel, built from the source distribution as a registry's users get it."""
    _call([sys.executable, "-m", "build", "--outdir", str(folder), str(REPOSITORY)])
    (wheel,) = folder.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """Every file of the packages, and no others' names."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    tops = {name.split("/")[0] for name in names}
    if foreign := {top for top in tops if top not in ("jinv", "jinv_convert") and not top.endswith(".dist-info")}:
        raise Failure(f"{wheel.name} installs {', '.join(sorted(foreign))}")
    wanted = {
        f"{inside}/{path.relative_to(REPOSITORY / folder).as_posix()}"
        for folder, inside in PACKAGES.items()
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if missing := sorted((wanted | {"jinv/py.typed", "jinv_convert/py.typed"}) - names):
        raise Failure(f"{wheel.name} lacks {len(missing)} files, such as {missing[0]}")


def install(wheel: Path, folder: Path, python: str, requirements: Sequence[str]) -> Environment:
    """A fresh environment with the wheel, its extra `embedded`, and what else is required."""
    _call([python, "-m", "venv", "--without-pip", str(folder)])
    environment = Environment(folder, folder.parent / "work")
    environment.work.mkdir()
    pip = [sys.executable, "-m", "pip", "--python", environment.python, "install", "--quiet"]
    _call([*pip, f"{wheel}[embedded]", *requirements])
    return environment


def check_names(environment: Environment) -> None:
    """Nothing installed answers to a name that users have; and a module of theirs lives beside jinv."""
    found = f"import importlib.util as u; print([name for name in {OTHERS} if u.find_spec(name)])"
    if (answer := environment.run("python", "-c", found).strip()) != "[]":
        raise Failure(f"importable beside jinv: {answer}")
    own = environment.work / "convert.py"
    own.write_text("NAME = 'my own'\n")
    code = "import convert, jinv.cli, jinv_convert.pipeline; print(convert.NAME)"
    if environment.run("python", "-c", code).strip() != "my own":
        raise Failure("a user's own convert.py is shadowed")
    environment.run("python", "-m", "jinv.cli", "models")
    own.unlink()


def check_commands(environment: Environment) -> None:
    """What tells and what refuses, in one line each."""
    for words, expected in (
        ("--help", "exit codes"), ("models", "efficientnet_lite0"), ("terms", "total_variation"), ("--version", "jinv "),
    ):  # fmt: skip
        if expected not in environment.run("jinv", words):
            raise Failure(f"jinv {words} says nothing of {expected!r}")
    for command, code, expected in (
        (["synthesize", "dmo"], 2, "did you mean 'demo'?"),
        (["synthesize", "thesis/figure_3_1"], 5, "model=FILE"),
        (["validate", "x.safetensors", "x.pth"], 2, "jinv[torch]"),
    ):
        said = environment.run("jinv", *command, code=code)
        if expected not in said or len(said.splitlines()) != 1:
            raise Failure(f"jinv {' '.join(command)}: expected one line with {expected!r}\n{said}")


def check_demo(environment: Environment) -> None:
    """The packaged demo, small and short: two images of the embedded network."""
    environment.run("jinv", *DEMO)
    run = environment.work / "run"
    if not json.loads((run / "manifest.json").read_text())["finished"]:
        raise Failure("the demo's run is not finished")
    images = [path for path in (run / "images").iterdir() if path.read_bytes().startswith(b"\x89PNG")]
    if len(images) != 2 or not (run / "report.html").exists():
        raise Failure(f"the demo left {sorted(path.name for path in run.rglob('*'))}")


def check_plugin(environment: Environment) -> None:
    """A regularizer of one's own, one short file: found everywhere without another edit, and refused where it is needed."""
    environment.work.joinpath("my_prior.py").write_text(PRIOR)
    config = "".join(f"{line}\n" for line in (
        'model = "efficientnet_lite0"', "[image]", "size = 32", 'labels = ["daisy", "volcano"]', "[[stages]]", "size = 32",
        "steps = 2", "[terms.cross_entropy]", "[terms.edge_prior]", "weight = 0.1",
    ))  # fmt: skip
    environment.work.joinpath("mine.toml").write_text(config)
    own = ["--plugin", "my_prior.py"]
    for said, expected in (
        (environment.run("jinv", "terms", *own), "edge_prior"),
        (environment.run("jinv", "terms", JINV_PLUGINS="my_prior.py"), "JINV_PLUGINS"),
        (environment.run("jinv", "check", "my_prior.py"), "the contract is kept"),
        (environment.run("jinv", "config", "mine.toml", *own), "[terms.edge_prior]"),
        (environment.run("jinv", "config", "mine.toml", code=2), "no such term 'edge_prior'"),
        (environment.run("jinv", "synthesize", "mine.toml", "--out", "mine", *own), "report.html"),
        (environment.run("jinv", "synthesize", "mine.toml", "--out", "mine", "--resume", code=2), "my_prior.py"),
    ):
        if expected not in said:
            raise Failure(f"a plugin: nothing is said of {expected!r}\n{said}")
    vary = ["--vary", "terms.edge_prior.weight=[0.01,0.1]", "terms.edge_prior.power=[0.5,1.0]"]
    environment.run("jinv", "sweep", "mine.toml", "--out", "swept", *own, *vary)
    (used,) = json.loads((environment.work / "mine" / "manifest.json").read_text())["plugins"]
    if used["names"] != ["terms.edge_prior"]:
        raise Failure(f"the manifest names {used}")
    for page in ("mine/report.html", "swept/comparison.html"):
        if "edge_prior" not in (environment.work / page).read_text():
            raise Failure(f"{page} says nothing of edge_prior")
    environment.work.joinpath("my_metric.py").write_text(METRIC)
    environment.run("jinv", "evaluate", "mine", "--plugin", "my_metric.py")
    evaluation = json.loads((environment.work / "mine" / "evaluation.json").read_text())
    if not 0 < evaluation["pictures"].get("metrics", {}).get("brightness", {}).get("value", 0) < 1:
        raise Failure(f"evaluation.json says nothing of a plugin's metric: {evaluation}")
    if len(programs := json.loads((environment.work / "swept/sweep.json").read_text())["programs"]) != 1:
        raise Failure(f"four settings of a plugin's numbers took {len(programs)} programs")


def check_installed_plugin(environment: Environment) -> None:
    """A package with an entry point: its names are there without a word."""
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(environment.run("python", "-c", where).strip())
    (site / "their_priors.py").write_text(PRIOR.replace("edge_prior", "their_prior"))
    facts = site / "their_priors-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: their-priors\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[jinv.plugins]\npriors = their_priors\n")
    said = environment.run("jinv", "terms")
    if "their_prior" not in said or "their-priors" not in said:
        raise Failure(f"jinv terms says nothing of an installed plugin\n{said}")
    environment.run("jinv", "check", "their_prior")


def _call(command: Sequence[str]) -> None:
    done = _run(command)
    if done.returncode:
        raise Failure(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")


@contextmanager
def _told(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    print(f"wheel test: {what} ({time.monotonic() - start:.0f} s)", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the fresh environment")
    parser.add_argument("--with", dest="requirements", nargs="+", default=[], metavar="REQUIREMENT")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="jinv-wheel-") as folder:
            with _told("built, every file in it"):
                wheel = build(Path(folder) / "dist")
                check_contents(wheel)
            with _told("installed"):
                environment = install(wheel, Path(folder) / "environment", options.python, options.requirements)
            with _told("no name of a user's taken, commands answer"):
                check_names(environment)
                check_commands(environment)
            with _told("the demo gives images"):
                check_demo(environment)
            with _told("a plugin, its sweep and an installed one"):
                check_plugin(environment)
                check_installed_plugin(environment)
            versions = "import jax, platform; print('Python', platform.python_version() + ', jax', jax.__version__)"
            print(f"wheel test: passed with {environment.run('python', '-c', versions).strip()}")
    except Failure as failure:
        print(f"wheel test: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
