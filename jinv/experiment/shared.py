"""What several runs have in common: each network is read and prepared once, each program made once.

A sweep and a reproduction hand one `Shared` to all of their runs.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from jinv.core.loop import Synthesis
from jinv.experiment.bind import bind_classifier
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.models.classifier import Classifier
from jinv.recipe.recipe import Recipe
from jinv.weights.load import load

MOST_PROGRAMS = 16
"""So many are kept; compiled programs of large networks take tens of megabytes each."""


class Shared:
    """Networks by name, networks as runs compute them, and compiled syntheses by what they are made of."""

    def __init__(self, networks: Mapping[str, Classifier] | None = None, vocabulary: Vocabulary | None = None) -> None:
        """`networks` are some that are there already, by the names that recipes give them."""
        self._networks: dict[str, Classifier] = dict(networks or {})
        self.vocabulary = vocabulary or standard_vocabulary()
        self._bound: dict[tuple[Any, ...], Classifier] = {}
        self._syntheses: dict[Hashable, Synthesis] = {}

    def network(self, name: str) -> Classifier:
        """The network of that name or file; raises as `load`."""
        if name not in self._networks:
            self._networks[name] = load(name, networks=self.vocabulary.networks)
        return self._networks[name]

    def classifier(self, recipe: Recipe) -> Classifier:
        """The recipe's network, with its student."""
        classifier = self.network(recipe.model)
        return classifier if recipe.student is None else classifier.with_student(self.network(recipe.student))

    def bound(self, recipe: Recipe) -> Classifier:
        """The recipe's network as its run computes it."""
        kind = recipe.model, recipe.student, recipe.precision, recipe.remat
        if kind not in self._bound:
            self._bound[kind] = bind_classifier(recipe, self.classifier(recipe))
        return self._bound[kind]

    def synthesis(self, key: Hashable, make: Callable[[], Synthesis]) -> Synthesis:
        """What `make` makes, made once for equal keys."""
        if key not in self._syntheses:
            while len(self._syntheses) >= MOST_PROGRAMS:
                self._syntheses.pop(next(iter(self._syntheses)))
            self._syntheses[key] = make()
        return self._syntheses[key]
