"""Who judges a search: those whose figures are optimised, and those held out, which none of them may be, nor be like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinv.errors import UsageError, naming_option
from jinv.experiment.experiment import Experiment
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.judge.judges import Digests, Say, digests_of, find_judge
from jinv.judge.relations import Pedigree, pedigree_of, relation_of
from jinv.recipe.recipe import Recipe
from jinv.record.evaluation import Evaluation, Relation, Verdict
from jinv.runs.checks import judging_network
from jinv.runs.objectives import Objective


@dataclass(frozen=True)
class PanelJudge:
    """A judge, by the name that it was given; what it is to the inverted network, and, held out, to those optimised."""

    name: str
    held_out: bool
    digests: Digests
    to_network: Relation
    to_optimised: Relation | None = None

    @property
    def words(self) -> str:
        """What it is, as tables say it."""
        if self.to_optimised is None:
            return f"{self.to_network} to the network"
        return f"{self.to_network} to the network, {self.to_optimised} to the judge optimised"


@dataclass(frozen=True)
class Panel:
    """All judges of a search. warnings: why their opinions may say less than it seems."""

    judges: tuple[PanelJudge, ...]
    warnings: tuple[str, ...]

    def verdicts(self, evaluation: Evaluation | None) -> dict[str, Verdict]:
        """What each judge says, by its name here; an evaluation has names of its own."""
        found = {}
        for judge in self.judges:
            for verdict in evaluation.verifiers.values() if evaluation else ():
                if (verdict.sha256, verdict.table_sha256) == judge.digests:
                    found[judge.name] = verdict
        return found


Looks = Mapping[str, tuple[Pedigree, Digests]]
"""Of judges by name: where each comes from, and the digests of its files."""


def look_at_judges(
    objectives: Sequence[Objective],
    held_out: Sequence[str],
    recipe: Recipe,
    shared: Shared,
    vocabulary: Vocabulary | None,
    tell: Say,
) -> Looks:
    """The judges that are asked for, found; raises as `find_judge`, and says which option named one."""
    vocabulary = vocabulary or standard_vocabulary()
    asked = [("--objective", objective.judge) for objective in objectives if objective.judge is not None]
    found = {}
    for option, name in (*asked, *(("--held-out", name) for name in held_out)):
        if name in found:
            continue
        with naming_option(option):
            judge = find_judge(
                name,
                recipe.evaluate.onnx,
                network=lambda name: judging_network(shared, name, vocabulary, tell),
                say=tell,
            )
        found[name] = pedigree_of(judge), digests_of(judge)
    return found


def choose_panel(
    objectives: Sequence[Objective], held_out: Sequence[str], experiment: Experiment, looks: Looks
) -> Panel:
    """The judges of a search, with what they are to the network and to one another; `looks`: as `look_at_judges`.

    Raises:
      UsageError: one is the network itself or its student, or a held-out one is one that is optimised.
    """
    inverted = [pedigree_of(member) for member in experiment.networks.members]
    student = experiment.classifier.student
    student_sha256 = student.source["source"]["sha256"] if student else None

    asked = dict.fromkeys(objective.judge for objective in objectives if objective.judge is not None)
    optimised = {name: looks[name] for name in asked}
    judges, warnings = [], []
    for name, (pedigree, digests) in optimised.items():
        relation = relation_of(pedigree, inverted, student_sha256)
        _refuse_itself(f"--objective {name}", relation)
        judges.append(PanelJudge(name, False, digests, relation))
        warnings += _doubts(name, relation, "the network that is inverted")
    for name in dict.fromkeys(held_out):
        pedigree, digests = looks[name]
        relation = relation_of(pedigree, inverted, student_sha256)
        _refuse_itself(f"--held-out {name}", relation)
        to_optimised = relation_of(pedigree, [p for p, _ in optimised.values()]) if optimised else None
        if to_optimised == "inverted" or any(digests == other for _, other in optimised.values()):
            raise UsageError(
                f"--held-out {name}: is the judge that is optimised, under another name; it has to be another one"
            )
        judges.append(PanelJudge(name, True, digests, relation, to_optimised))
        warnings += _doubts(name, relation, "the network that is inverted")
        if to_optimised is not None:
            warnings += _doubts(name, to_optimised, "the judge that is optimised")
    return Panel(tuple(judges), tuple(warnings))


def _refuse_itself(what: str, relation: Relation) -> None:
    if relation in ("inverted", "student"):
        itself = "the network that is inverted" if relation == "inverted" else "the student of the run"
        raise UsageError(f"{what}: is {itself}, which images are made to please; it has to be another one")


def _doubts(name: str, relation: Relation, whose: str) -> list[str]:
    if relation == "sibling":
        return [
            f"{name} is a sibling of {whose}: of one family or one training, they share patterns nobody else recognises"
        ]
    if relation == "unknown":
        return [f"whether {name} is a relative of {whose} is not known"]
    return []
