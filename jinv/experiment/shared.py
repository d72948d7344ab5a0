"""What several runs have in common: each network is read and prepared once, each program made once.

A sweep and a reproduction hand one `Shared` to all of their runs.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from jinv.core.loop import Synthesis
from jinv.core.objective import term_fields
from jinv.errors import naming
from jinv.experiment.bind import bind_classifier
from jinv.experiment.statistics import with_statistics
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.models.classifier import Classifier
from jinv.models.networks import Networks
from jinv.recipe.recipe import Recipe
from jinv.weights.load import load
from jinv.weights.statistics import Statistics, read_statistics

MOST_PROGRAMS = 16
"""So many are kept; compiled programs of large networks take tens of megabytes each."""


class Shared:
    """Networks by name, networks as runs compute them, and compiled syntheses by what they are made of."""

    def __init__(self, networks: Mapping[str, Classifier] | None = None) -> None:
        """`networks` are some that are there already, by the names that recipes give them."""
        self._given = dict(networks or {})
        self._networks: dict[tuple[str, Vocabulary], Classifier] = {}
        self._statistics: dict[str, Statistics] = {}
        self._bound: dict[tuple[Any, ...], Classifier] = {}
        self._syntheses: dict[Hashable, Synthesis] = {}
        self._seen: set[Hashable] = set()

    def has(self, name: str) -> bool:
        """Whether that network was given from the start."""
        return name in self._given

    def network(self, name: str, vocabulary: Vocabulary | None = None) -> Classifier:
        """The network of that name or file, of an architecture that the vocabulary knows; raises as `load`."""
        if name in self._given:
            return self._given[name]
        key = name, vocabulary or standard_vocabulary()
        if key not in self._networks:
            self._networks[key] = load(name, networks=key[1].networks)
        return self._networks[key]

    def statistics(self, path: str) -> Statistics:
        """The recorded statistics of that file, read once; raises as `read_statistics`."""
        if path not in self._statistics:
            self._statistics[path] = read_statistics(path)
        return self._statistics[path]

    def networks(self, recipe: Recipe, vocabulary: Vocabulary | None = None) -> Networks:
        """The recipe's networks, each with the recipe's student."""
        with naming("model"):
            members = [self.network(name, vocabulary) for name in recipe.models]
        if recipe.student is not None:
            with naming("student"):
                student = self.network(recipe.student, vocabulary)
            members = [member.with_student(student) for member in members]
        with naming("statistics"):
            statistics = {path: self.statistics(path) for path in recipe.statistics_files}
        members = with_statistics(members, statistics)
        terms = (vocabulary or standard_vocabulary()).terms
        if any("features" in term_fields(terms[name]) for name in recipe.terms if name in terms):
            members = [member.with_features() for member in members]
        return Networks(tuple(members), recipe.shares, recipe.committee.draw)

    def bound(self, recipe: Recipe, vocabulary: Vocabulary | None = None) -> Networks:
        """The recipe's networks as its run computes them; each prepared once, with rematerialisation or without."""
        networks = self.networks(recipe, vocabulary)
        named = zip(recipe.models, networks.members, strict=True)
        return networks.with_members(tuple(self._member(recipe, name, member, vocabulary) for name, member in named))

    def _member(self, recipe: Recipe, name: str, member: Classifier, vocabulary: Vocabulary | None) -> Classifier:
        kind = name, recipe.student, recipe.precision, member.taps, vocabulary or standard_vocabulary()
        if (*kind, False) not in self._bound:
            self._bound[(*kind, False)] = bind_classifier(recipe, member)
        if (*kind, recipe.remat) not in self._bound:
            self._bound[(*kind, True)] = self._bound[(*kind, False)].rematerialised()
        return self._bound[(*kind, recipe.remat)]

    def is_new(self, key: Hashable) -> bool:
        """Whether this is asked of that key for the first time: what is looked at once for all runs."""
        new = key not in self._seen
        self._seen.add(key)
        return new

    def synthesis(self, key: Hashable, make: Callable[[], Synthesis]) -> Synthesis:
        """What `make` makes, made once for equal keys; those longest out of use make room."""
        found = self._syntheses.pop(key, None)
        self._syntheses[key] = found or make()
        while len(self._syntheses) > MOST_PROGRAMS:
            self._syntheses.pop(next(iter(self._syntheses)))
        return self._syntheses[key]
