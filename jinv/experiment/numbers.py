"""Which numbers of a recipe a program takes as arguments: in those, runs of one program may differ."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from jinv.core.objective import hyperparameters_of
from jinv.core.schedules import BALANCED, balanced
from jinv.core.types import Number
from jinv.experiment.vocabulary import Vocabulary
from jinv.recipe.recipe import Recipe, replaced
from jinv.recipe.variations import Variation

OPTIMIZER_NUMBERS = {"adam": ("b1", "b2", "eps"), "sgd": ("momentum",)}
"""Hyperparameters that an optimizer takes as traced numbers; others are settled when the program is made."""


Place = tuple[str | int, ...]
"""Where in a recipe: ("terms", "total_variation", "weight")."""

Replacement = Callable[[Place, float | int], Any]


def groups(variations: Sequence[Variation], vocabulary: Vocabulary) -> list[list[Variation]]:
    """The variations that run in one program, group by group, in order of first appearance."""
    found: dict[str, list[Variation]] = {}
    for variation in variations:
        masked = replace_numbers(variation.recipe, lambda path, value: "a number", vocabulary)
        # Seeds and labels are arguments of every program; metrics are of what it leaves.
        program = replaced(masked, seed=0, image=replaced(masked.image, labels=()), metric={})
        found.setdefault(repr(program), []).append(variation)
    return list(found.values())


def program_of(recipe: Recipe) -> str:
    """What of a recipe its programs are made of: equal for runs whose compiled steps are the same."""
    image = replaced(recipe.image, labels=(), count=1, batch=1, init="noise", init_reference=None, size=None)
    plain = replaced(
        recipe,
        image=image,
        seed=0,
        evaluate=None,
        metric=None,
        output=None,
        checkpoint=None,
        log_every=1,
        log_gradients=False,
        log_statistics=False,
        log=(),
        devices=None,
    )
    return repr(plain)


def varied_numbers(
    group: Sequence[Variation], vocabulary: Vocabulary, varied: Collection[Place] | None = None
) -> dict[Place, list[float | int]]:
    """The numbers in which a group's recipes differ, or those at `varied`, one value per recipe; the others stay constants
    of the program."""
    numbers: dict[Place, list[float | int]] = {}
    for variation in group:
        replace_numbers(variation.recipe, lambda path, value: numbers.setdefault(path, []).append(value), vocabulary)
    differ = (lambda path: len(set(numbers[path])) > 1) if varied is None else varied.__contains__
    return {path: values for path, values in numbers.items() if differ(path)}


def replace_numbers(recipe: Recipe, replacement: Replacement, vocabulary: Vocabulary) -> Recipe:
    """The recipe with `replacement(path, value)` in place of every number that a program can take as an argument.

    Those are weights, learning rates, cutoffs, the hyperparameters of terms, augmentations and schedules that are declared as a
    `Number`, and the optimizers' decays. A whole number may be a size, or how often something is done.
    """

    def change(table: dict[str, Any], path: Place) -> dict[str, Any]:
        return {key: _changed(value, (*path, key), replacement, vocabulary) for key, value in table.items()}

    stages = []
    for index, stage in enumerate(recipe.stages):
        path = ("stages", index)
        rate = _changed(stage.learning_rate, (*path, "learning_rate"), replacement, vocabulary)
        optimizer = stage.optimizer
        if isinstance(optimizer, dict):
            optimizer = change(optimizer, (*path, "optimizer", str(optimizer.get("name"))))
        low_pass = _changed(stage.low_pass, (*path, "low_pass"), replacement, vocabulary)
        stages.append(replaced(stage, learning_rate=rate, optimizer=optimizer, low_pass=low_pass))
    terms = {name: change(entry, ("terms", name)) for name, entry in recipe.terms.items()}
    augment = {name: change(entry, ("augment", name)) for name, entry in recipe.augment.items()}
    project = {name: change(entry, ("project", name)) for name, entry in recipe.project.items()}
    return replaced(recipe, stages=tuple(stages), terms=terms, augment=augment, project=project)


def _changed(value: Any, path: Place, replacement: Replacement, vocabulary: Vocabulary) -> Any:
    if isinstance(value, dict) and "schedule" in value:
        path = (*path, "schedule", str(value["schedule"]))
        return {key: _changed(inner, (*path, key), replacement, vocabulary) for key, inner in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return replacement(path, value) if _is_argument(path, vocabulary) else value


def _is_argument(path: Place, vocabulary: Vocabulary) -> bool:
    """Does a program take the number at `path` as an argument? Where a signature decides, what it calls a `Number`."""
    tables: dict[str, Any] = {
        "terms": vocabulary.terms, "augment": vocabulary.augmentations, "project": vocabulary.projections,
        "schedule": {**vocabulary.schedules, BALANCED: balanced},
    }  # fmt: skip
    match path:
        case ("stages", _, "learning_rate" | "low_pass") | ("terms", _, "weight"):
            return True
        case ("stages", _, "optimizer", str(name), str(key)):
            return key in OPTIMIZER_NUMBERS.get(name, ())
        case (*_, "schedule" as kind, str(name), str(key)) | (
            "terms" | "augment" | "project" as kind,
            str(name),
            str(key),
        ):
            known = hyperparameters_of(tables[kind].get(name, _nothing))
            return key in known and known[key].annotation == Number
    return False


def _nothing() -> None:
    """Stands for a name that is not known; `bind.check_recipe` says so."""
