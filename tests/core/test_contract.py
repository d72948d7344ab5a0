"""The contract: jinv's own names keep it, and each function that breaks it in one way is told so in words."""

import jax.numpy as jnp
import pytest

from jinv.core.contract.suite import SUITES, check
from jinv.core.contract.terms import couples
from jinv.core.types import Image, Number
from jinv.experiment.vocabulary import standard_vocabulary
from tests.core import broken

pytestmark = pytest.mark.usefixtures("unoptimized")

OWN = [(kind, name) for kind in SUITES for name in getattr(standard_vocabulary(), kind)]


@pytest.mark.parametrize(("kind", "name"), OWN)
def test_what_jinv_brings_keeps_the_contract(kind, name):
    found = check(kind, name, getattr(standard_vocabulary(), kind)[name])
    assert not [finding for finding in found if finding.found is not None]
    assert len(found) == {"terms": 11, "augmentations": 10, "parameterizations": 9, "schedules": 5, "metrics": 5}[kind]


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
