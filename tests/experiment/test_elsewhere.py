"""`jinv check` in other processes: what no list of names finds is found by what it does."""

import json

import pytest

from jinv.cli import main

OWN = """
import datetime, os, random, secrets, threading, time, uuid
import jax.numpy as jnp
import numpy as np
from jinv import Image, Scalar

NOW = {"now": datetime.datetime.now}
HERE = os.getcwd()
SCALE = float(os.environ.get("MY_SCALE", "2"))
DRAWN, TOKEN, NUMBER = random.random(), secrets.randbelow(10**6), uuid.uuid4().int % 10**6
PROCESS = [os.getpid]
NAMES = {"a", "bb", "ccc", "dddd", "eeeee"}
print("said while it is imported")


def fine(image: Image) -> Scalar:
    return jnp.mean(image**2)


def variable_that_decides_nothing(image: Image) -> Scalar:
    return jnp.mean(image**2) if os.getenv("MY_DEBUG") else jnp.mean(image**2)


def fine_of_a_picture(pixels: np.ndarray) -> float:
    return float(pixels.mean())


def clock_in_a_table(image: Image) -> Scalar:
    return jnp.mean(image**2) * NOW["now"]().year


def _era(now=time.time):
    return now() // 10**7


def clock_by_default(image: Image) -> Scalar:
    return jnp.mean(image**2) * _era()


def clock_of_a_thread(image: Image) -> Scalar:
    found = []
    thread = threading.Thread(target=lambda: found.append(int(time.strftime("%Y"))))
    thread.start()
    thread.join()
    return jnp.mean(image**2) * found[0]


def variable(image: Image) -> Scalar:
    return jnp.mean(image**2) * SCALE


def folder(image: Image) -> Scalar:
    return jnp.mean(image**2) * sum(HERE.encode())


def order_of_a_set(image: Image) -> Scalar:
    return jnp.mean(image**2) * len("".join(list(NAMES)[:2]))


def process(image: Image) -> Scalar:
    return jnp.mean(image**2) * PROCESS[0]()


def drawn(image: Image) -> Scalar:
    return jnp.mean(image**2) * DRAWN


def token(image: Image) -> Scalar:
    return jnp.mean(image**2) * TOKEN


def number(pixels: np.ndarray) -> float:
    return float(pixels.mean() * NUMBER)
"""

CLOCK, EVERY = (
    "reads a clock or the date",
    "is another program in every process: it draws (random, secrets, uuid) or reads",
)
SAID = {
    "clock_in_a_table": CLOCK,
    "clock_by_default": CLOCK,
    "clock_of_a_thread": CLOCK,
    "variable": "reads a variable of the environment",
    "folder": "depends on the folder where one stands",
    "order_of_a_set": "depends on the order of a set, or on hash()",
    "process": EVERY,
    "drawn": EVERY,
    "token": EVERY,
    "number": EVERY,
}


def test_what_depends_on_more_than_its_arguments_is_found_by_what_it_does(tmp_path, monkeypatch, capfd):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert main(["check", "own.py", "--json", "found.json"]) == 7
    assert capfd.readouterr().out.count("said while it is imported") == 1
    found = json.loads((tmp_path / "found.json").read_text())
    violated = {
        function["name"]: check["found"]
        for function in found["functions"]
        for check in function["checks"]
        if check["violated"]
    }
    assert violated.keys() == SAID.keys()
    assert all(violated[name].startswith(said) for name, said in SAID.items()), violated


def test_a_plugin_that_cannot_be_executed_elsewhere_depends_on_where_it_is(tmp_path, monkeypatch, capsys):
    text = "from pathlib import Path\n\nfrom jinv import Image, Scalar\n\nTEXT = float(Path('scale.txt').read_text())\n\n\n"
    (tmp_path / "own.py").write_text(text + "def own(image: Image) -> Scalar:\n    return (image**2).mean() * TEXT\n")
    (tmp_path / "scale.txt").write_text("2")
    monkeypatch.chdir(tmp_path)
    assert main(["check", "own.py"]) == 7
    assert "own.py:8: own: pure: depends on the folder where one stands; " in capsys.readouterr().out


@pytest.mark.parametrize("word", ["PACKAGE.sub", "PACKAGE"])
def test_ctrl_c_while_a_module_is_imported_is_a_stop(word, tmp_path, monkeypatch, capsys):
    name = f"stopped_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise KeyboardInterrupt")
    (tmp_path / name / "sub.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for words in (["check", word.replace("PACKAGE", name)], ["terms", "--plugin", word.replace("PACKAGE", name)]):
        assert main(words) == 130
        assert capsys.readouterr().err == "jinv: stopped\n"
