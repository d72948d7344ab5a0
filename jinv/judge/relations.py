"""What a judge is to the inverted network: a stranger's opinion says that images show their class, a sibling's hardly.

Networks of one architecture family, or out of one training pipeline, share patterns that nobody else recognises.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jinv.judge.judges import Judge
from jinv.models.origins import training_of
from jinv.models.registry import family_of
from jinv.record.evaluation import Relation
from jinv.record.manifest import InvertedModel, Manifest


class Pedigree(NamedTuple):
    """Where a network comes from: architecture family, training pipeline, digest of its checkpoint; None is unknown."""

    family: str | None
    training: str | None
    sha256: str | None


def relation_of(judge: Pedigree, inverted: Sequence[Pedigree], student_sha256: str | None = None) -> Relation:
    """What `judge` is to the networks that were inverted together.

    "inverted" or "student": it is one of those. "sibling": its family or its training is that of any of them, whatever
    else is unknown. "stranger": both are known, of all of them, and differ. "unknown": neither can be said.
    """
    if judge.sha256 is not None:
        if any(judge.sha256 == network.sha256 for network in inverted):
            return "inverted"
        if judge.sha256 == student_sha256:
            return "student"
    alike = [(_same(judge.family, n.family), _same(judge.training, n.training)) for n in inverted]
    if any(True in pair for pair in alike):
        return "sibling"
    return "stranger" if alike and all(pair == (False, False) for pair in alike) else "unknown"


def pedigree_of(classifier: Judge) -> Pedigree:
    """A judge's; of one in ONNX as its table says."""
    return Pedigree(classifier.family, classifier.training, classifier.source.get("source_sha256"))


def pedigrees_of(manifest: Manifest) -> tuple[Pedigree, ...]:
    """Those of the networks that a run inverted; of a run that did not record them, what is known of such networks."""
    return tuple(map(_inverted, manifest.inverted))


def _inverted(model: InvertedModel) -> Pedigree:
    family = model.family or family_of(model.architecture)
    return Pedigree(family, training_of(model.training, model.sha256), model.sha256)


def _same(a: str | None, b: str | None) -> bool | None:
    """Whether two names are the same, however they are written, "MobileNetV2" and "mobilenet" too; None where one is unknown."""
    if a is None or b is None:
        return None
    short, long = sorted((_plain(a), _plain(b)), key=len)
    return short == long or (bool(short) and long.startswith(short))


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())
