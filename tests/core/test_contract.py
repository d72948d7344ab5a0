"""The contract: jinv's own names keep it, and each function that breaks it in one way is told so in words."""

import datetime
import os
import threading
import time

import jax.numpy as jnp
import pytest

from jinv.core.contract.findings import says_that_it_couples
from jinv.core.contract.suite import SUITES, check
from jinv.core.contract.surroundings import surroundings
from jinv.core.contract.terms import couples
from jinv.core.objective import TAKEN
from jinv.core.types import Image, Number
from jinv.errors import UsageError
from jinv.experiment.vocabulary import standard_vocabulary
from tests.core import broken

pytestmark = pytest.mark.usefixtures("unoptimized")

OWN = [(kind, name) for kind in SUITES for name in getattr(standard_vocabulary(), kind)]


@pytest.mark.parametrize(("kind", "name"), OWN)
def test_what_jinv_brings_keeps_the_contract(kind, name):
    found = check(kind, name, getattr(standard_vocabulary(), kind)[name])
    assert not [finding for finding in found if finding.found is not None]
    assert len(found) == {"terms": 11, "augmentations": 10, "parameterizations": 9, "schedules": 5, "metrics": 5}[kind]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", broken.SAID)
def test_what_is_violated_is_said_and_nothing_else_is(name):
    kind, which, said = broken.SAID[name]
    violated = [finding for finding in check(kind, name, getattr(broken, name)) if finding.violated]
    assert [finding.check for finding in violated] == [which]
    place = getattr(broken, name).__code__.co_firstlineno + 1
    assert said.replace("LINE", str(place)) in violated[0].found and "\n" not in violated[0].found


@pytest.mark.parametrize("name", broken.REMARKS)
def test_what_may_be_meant_so_is_a_remark(name):
    kind, which, said = broken.REMARKS[name]
    found = [finding for finding in check(kind, name, getattr(broken, name)) if finding.found]
    assert [(finding.check, finding.violated) for finding in found] == [(which, False)]
    assert said in found[0].found


def test_clocks_are_moved_for_the_function_alone_and_stand_as_before():
    def clocks():
        return time.time, broken.perf_counter_ns, datetime.datetime, datetime.date, os.getpid, time.ctime

    before, there = clocks(), []
    with pytest.raises(ValueError, match="of its own"), surroundings(broken.timed, drawn=1, moved=1):
        other = threading.Thread(target=lambda: there.append((time.time(), datetime.datetime.now(), os.getpid())))
        other.start()
        other.join()
        assert isinstance(before[2].now(), datetime.datetime) and isinstance(datetime.datetime.now(), datetime.date)
        moved = time.time() - before[0]()
        raise ValueError("of its own")
    assert clocks() == before and moved > 3e7
    assert abs(there[0][0] - time.time()) < 1e7 and there[0][2] == os.getpid()
    assert abs(there[0][1] - datetime.datetime.now()) < datetime.timedelta(days=100)


def test_a_projection_that_is_one_keeps_the_contract():
    def within(image: Image, *, limit: Number = 1.0) -> Image:
        return jnp.clip(image, -limit, limit)

    found = check("projections", "within", within)
    assert len(found) == 11 and not [finding for finding in found if finding.found]


def test_the_docstring_decides_what_is_said_of_coupling():
    def stated(image):
        return broken.coupling(image)

    stated.__doc__ = "The spread of the batch's means; couples the images."
    assert couples(stated, {}) and not [f for f in check("terms", "stated", stated) if f.found]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in TAKEN.items() for name in names])
def test_a_hyperparameter_that_no_config_could_set_is_refused(kind, name):
    names = {}
    exec(f"def own(image, *, {name}: float = 1.0): ...", names)
    found = check(kind, "own", names["own"])[0]
    assert found.check == "hyperparameters" and f"cannot set the hyperparameter {name}" in found.found
    with pytest.raises(UsageError, match=f"^vocabulary: 'own': a config has the key '{name}' of {kind} for itself"):
        standard_vocabulary().extended(**{kind: {"own": names["own"]}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Couples the images of a batch.", True),
        ("Couples the images\nof a batch.", True),
        ("Not smooth; couples the images.", True),
        ("It does not converge alone, and it couples the images.", True),
        ("Not only does it move: with squared = False it couples the images.", True),
        ("It not only couples the images, it mixes them.", True),
        ("Couples no images, beyond the factor 1/N.", False),
        ("Never couples the images.", False),
        ("Does not couple images.", False),
        ("It doesn't couple the images.", False),
        ("It doesn\u2019t ever couple the images.", False),
        ("Cannot\ncouple the images of a batch.", False),
        ("Neither couples images nor draws.", False),
        ("No setting couples the images.", False),
        ("Draws nothing, nor couples images.", False),
        ("Does not couple images with squared = True; else couples them.", True),
        ("A mean over images.", False),
    ],
)
def test_what_a_docstring_denies_it_does_not_say(text, said):
    assert says_that_it_couples(text) == said
