"""Files and modules of one's own: what is found in them, what is refused and in which words, and in which order they count."""

import sys
from importlib import metadata

import pytest

from jinv.errors import StorageError, UsageError
from jinv.experiment.plugins import load_plugins, read_plugin
from jinv.experiment.vocabulary import standard_vocabulary

TERM = '''
import jax.numpy as jnp
import jinv


def {name}(image, *, power: jinv.Number = 1.0) -> jinv.Scalar:
    """Mean of squares, to a power."""
    return jnp.mean(image**2) ** power
'''


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JINV_PLUGINS", raising=False)
    monkeypatch.setattr(metadata.EntryPoint, "dist", None, raising=False)
    return tmp_path


def write(name, text):
    with open(name, "w") as file:
        file.write(text)
    return name


def test_every_kind_is_found_by_its_signature_and_what_is_imported_is_not():
    write(
        "mine.py",
        "from __future__ import annotations\n"
        "import optax\nfrom jaxtyping import Array, Float\nfrom jinv import Number, Scalar\n"
        "from jinv.core.parameterization import Parameterization\nfrom jinv.core.regularizers import image_norm\n"
        'def written_out(image, /, *, k: Number = 1.0) -> Float[Array, ""]: ...\n'
        "def two(pixels, labels) -> Scalar: ...\n"
        "def shear(key, image, *, angle: Number = 0.1): ...\n"
        "def canvas(size) -> Parameterization: ...\n"
        "def steps_down(steps, *, end: Number = 0.0) -> optax.Schedule: ...\n"
        "def _private(image): ...\n"
        "def helper(x, y): ...\n"
        "class Other: ...\n",
    )
    vocabulary, standard = load_plugins("mine.py"), standard_vocabulary()
    new = {
        kind: set(getattr(vocabulary, kind)) - set(getattr(standard, kind))
        for kind in ("terms", "augmentations", "parameterizations", "schedules")
    }
    assert new == {
        "terms": {"written_out", "two"}, "augmentations": {"shear"}, "parameterizations": {"canvas"},
        "schedules": {"steps_down"},
    }  # fmt: skip
    (plugin,) = vocabulary.plugins
    assert vocabulary.origin("terms", "two") is plugin and vocabulary.origin("terms", "image_norm") is None
    assert set(plugin.passed_over) == {"helper"} and plugin.passed_over["helper"].startswith("mine.py:13: helper: ")
    assert not standard.plugins and "two" not in standard.terms


def test_the_same_text_is_the_same_functions_and_another_text_others():
    write("a.py", TERM.format(name="squares"))
    write("b.py", TERM.format(name="squares"))
    first, again = load_plugins("a.py", "b.py", "a.py"), load_plugins("b.py")
    assert first.terms["squares"] is again.terms["squares"] and len(first.plugins) == 1
    write("a.py", TERM.format(name="squares") + "# edited\n")
    assert load_plugins("a.py").terms["squares"] is not first.terms["squares"]
    assert not list(sys.modules["pathlib"].Path().glob("**/*.pyc"))


def test_plugins_come_from_packages_the_environment_and_the_command_in_this_order(place, monkeypatch):
    for name in ("installed_one", "from_variable", "named_last"):
        write(f"{name}.py", TERM.format(name=f"term_{name}"))
    monkeypatch.syspath_prepend(str(place))
    facts = place / "theirs-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[jinv.plugins]\none = installed_one\n")
    monkeypatch.setenv("JINV_PLUGINS", "from_variable.py")
    found = [(plugin.name, plugin.origin) for plugin in load_plugins("named_last.py").plugins]
    assert [name for name, _ in found] == ["installed_one", "from_variable.py", "named_last.py"]
    assert found[0][1].startswith("entry point one") and [o for _, o in found[1:]] == ["JINV_PLUGINS", "--plugin"]
    (place / "from_variable.py").write_text("import none_such\n")
    with pytest.raises(UsageError, match=r"'none_such' \(from JINV_PLUGINS\)$"):
        load_plugins("named_last.py")
    (place / "installed_one.py").write_text("import none_such\n")
    del sys.modules["installed_one"]
    with pytest.raises(UsageError, match=r"'none_such' \(from entry point one of theirs"):
        load_plugins()


REFUSED = {
    "no annotation": ("import jinv\ndef f(image): ...\n", r"mine.py:2: f\(image\): what it returns is not annotated; write -> jinv.Scalar"),
    "no schedule": ("def f(steps, *, k=1): ...\n", r"mine.py:1: f\(steps\): .* write -> optax.Schedule"),
    "no parameterization": ("def f(size): ...\n", r"mine.py:1: f\(size\): .* write -> jinv.parameterization.Parameterization"),
    "another field": (
        "import jinv\ndef f(images) -> jinv.Scalar: ...\n",
        r"mine.py:2: f: .* looks at 'images', which is no field of Forward \(did you mean 'image'\?\)",
    ),
    "no star": ("import jinv\ndef f(image, power=2) -> jinv.Scalar: ...\n", r"looks at 'power', .* hyperparameters stand after a \*"),
    "another parameterization": (
        "from jinv.core.parameterization import Parameterization\ndef f(height) -> Parameterization: ...\n",
        r"mine.py:2: f: a parameterization is \(size, \*, hyperparameters\), not \(height, ...\)",
    ),
    "an array": ("import jax\ndef f(image) -> jax.Array: ...\n", r"mine.py:2: f: is no term, for it returns .*Array"),
    "jit": ("import jax, jinv\n@jax.jit\ndef f(image) -> jinv.Scalar: ...\n", r"mine.py:2: f: is a \w+, no function; take its decorator off"),
    "nothing": ("x = 1\n", r"mine.py: has no public function; mine.py has nothing that a config could name"),
    "raises": ("import math\n\nmath.sqrt(-1)\n", r"mine.py:3: the plugin cannot be executed: ValueError"),
    "deep": ("def _f():\n    return {}['x']\n\n_f()\n", r"mine.py:2: the plugin cannot be executed: KeyError: 'x'"),
    "syntax": ("x = 1\ndef f(:\n", r"mine.py:2: the plugin cannot be executed: SyntaxError"),
    "nul": ("\0", r"mine.py.*: the plugin cannot be executed: SyntaxError"),
    "exits": ("import sys\nsys.exit(0)\n", r"mine.py:2: the plugin cannot be executed: SystemExit"),
    "imports": ("import none_such\n", r"mine.py:1: the plugin cannot be executed: ModuleNotFoundError: No module named 'none_such'"),
    "annotation": ("from __future__ import annotations\ndef f(image) -> Nothing: ...\n", r"mine.py:2: f: an annotation cannot be read: NameError"),
    "no key of its own": ("import jinv\ndef f(key, image, *, draw: int = 1): ...\n", r"mine.py:2: f: a config has the key 'draw' of augmentations for itself, .*; call it otherwise"),
    "taken": (TERM.format(name="total_variation"), r"mine.py: 'total_variation' is already the name of one of the terms, of jinv; call it otherwise"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_named_or_executed_is_refused_in_a_line_that_says_where(what):
    text, said = REFUSED[what]
    write("mine.py", text)
    with pytest.raises(UsageError, match=said) as caught:
        load_plugins("mine.py")
    assert "\n" not in str(caught.value)
    # A second time it is no other thing: nothing is left of the first.
    with pytest.raises(UsageError, match=said):
        load_plugins("mine.py")


def test_a_name_that_two_plugins_bring_is_refused_naming_both():
    write("a.py", TERM.format(name="squares"))
    write("b.py", "# another\n" + TERM.format(name="squares"))
    with pytest.raises(UsageError, match=r"b.py: 'squares' is already .*, of the plugin a.py; call it otherwise"):
        load_plugins("a.py", "b.py")


def test_what_is_not_there_is_said_with_what_might_be_meant(place):
    write("my_prior.py", TERM.format(name="squares"))
    with pytest.raises(StorageError, match=r"my_prio.py: .*No such file or directory \(did you mean 'my_prior.py'\?\)"):
        load_plugins("my_prio.py")
    with pytest.raises(UsageError, match=r"my_prior: no module of that name .* did you mean the file my_prior.py\?"):
        load_plugins("my_prior")
    with pytest.raises(UsageError, match="none.such: no module of that name"):
        load_plugins("none.such")
    with pytest.raises(UsageError, match=r"my-prior.txt: a plugin is a .py file or an importable module"):
        load_plugins("my-prior.txt")
    (place / "folder.py").mkdir()
    with pytest.raises(StorageError, match=r"folder.py: the plugin cannot be read: Is a directory"):
        load_plugins("folder.py")
    with pytest.raises(UsageError, match="collections: has nothing that a config could name|is nothing that a config"):
        load_plugins("collections")


def test_a_term_that_was_passed_over_is_explained_where_it_is_missed():
    write("mine.py", TERM.format(name="squares") + "import jax\ndef cubes(image) -> jax.Array: ...\n")
    with pytest.raises(
        UsageError, match=r"terms.cubes: no such term 'cubes' .*mine.py:10: cubes: is no term, for it returns"
    ):
        load_plugins("mine.py").meaning("terms", "cubes", "terms.cubes")


def test_a_dataclass_of_a_plugin_finds_its_module():
    write(
        "mine.py",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int' = 1\n" + TERM.format(name="squares"),
    )
    assert read_plugin("mine.py").functions["terms"]
