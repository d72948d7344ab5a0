"""Optuna's side of a search, and the only module that imports it: its samplers, and its journal in the search's directory.

The journal (`study.jsonl`) grows by a line per change, each synced before the next; of the last one a kill may leave a part,
which is dropped when the study is opened again. SQLite would survive as well, but takes an ORM to read and a second journal
beside it. Optuna's lock on the file is left out: who has the directory is alone there (`jinv.record.lock`), and a lock that a
killed process left would be waited for.

Trials are pure functions of what is finished: each draws from samplers with a seed of its own, made of the search's and its
number, so that one asked again after a kill gets the values it would have had.
"""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinv.errors import StorageError, UnsafeInputError, UsageError
from jinv.files import write_bytes
from jinv.recipe.ranges import Interval
from jinv.recipe.tuning import Space
from jinv.record.kinds import JOURNAL

NAME = "jinv"
SAMPLERS = ("tpe", "random", "nsga2", "cmaes")


class Study:
    """The trials of a search: asked once each, told once each, whatever happens in between."""

    def __init__(self, directory: Path, space: Space, maximize: Sequence[bool], sampler: str, seed: int) -> None:
        """Open the study in a directory, or begin it.

        Raises:
          UsageError: Optuna is not installed. UnsafeInputError: the journal is damaged. StorageError: it cannot be written.
        """
        self._optuna = optuna = load_optuna()
        self._space, self._sampler, self._seed = space, sampler, seed
        path = directory / JOURNAL
        try:
            _drop_part_of_a_line(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                journal = optuna.storages.journal.JournalFileBackend(str(path), lock_obj=_Alone())
                self._study = optuna.create_study(
                    storage=optuna.storages.JournalStorage(journal),
                    study_name=NAME,
                    directions=["maximize" if upwards else "minimize" for upwards in maximize],
                    sampler=self._make_sampler(-1, 0),
                    load_if_exists=True,
                )
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError) as error:
            raise UnsafeInputError(f"{path}: not readable as a study: {error or type(error).__name__}") from error

    def ask(self, number: int) -> dict[str, Any]:
        """The values of trial `number`, drawn now or before. Trials are asked in order."""
        self._study.sampler = self._make_sampler(number, 0)
        trials = self._study.get_trials(deepcopy=False)
        if number < len(trials):
            if trials[number].state.is_finished():
                return dict(trials[number].params)
            trial = self._optuna.trial.Trial(self._study, trials[number]._trial_id)
        else:
            trial = self._study.ask()
        trial.relative_params  # noqa: B018  (drawn here, for it is drawn lazily, by the sampler that is there then)
        for place, (key, among) in enumerate(self._space.items(), 1):
            self._study.sampler = self._make_sampler(number, place)
            if isinstance(among, Interval):
                whole = isinstance(among.low, int) and isinstance(among.high, int)
                (trial.suggest_int if whole else trial.suggest_float)(key, among.low, among.high, log=among.logarithmic)
            else:
                trial.suggest_categorical(key, among)
        return {key: trial.params[key] for key in self._space}

    @property
    def told(self) -> int:
        """Up to which number trials have ended."""
        trials = self._study.get_trials(deepcopy=False)
        return max((trial.number + 1 for trial in trials if trial.state.is_finished()), default=0)

    def is_told(self, number: int) -> bool:
        """Whether a trial has ended."""
        trials = self._study.get_trials(deepcopy=False)
        return number < len(trials) and trials[number].state.is_finished()

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """What came of a trial; None where it failed. What was told before stays."""
        if self.is_told(number):
            return
        trial = self._study.get_trials(deepcopy=False)[number]
        handle = self._optuna.trial.Trial(self._study, trial._trial_id)
        if values is None:
            self._study.tell(handle, state=self._optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(handle, list(values))

    def best(self) -> list[int]:
        """The numbers of the trials that no other is better than in every objective: of a single objective the best."""
        found = [trial.number for trial in self._study.best_trials] if self._any_complete() else []
        return found[:1] if len(self._study.directions) == 1 else found

    def _any_complete(self) -> bool:
        complete = self._optuna.trial.TrialState.COMPLETE
        return any(trial.state == complete for trial in self._study.get_trials(deepcopy=False))

    def _make_sampler(self, number: int, place: int) -> Any:
        samplers, seed = self._optuna.samplers, _seed_of(self._seed, number, place)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            match self._sampler:
                case "tpe":  # whose trials asked at once keep off one another
                    return samplers.TPESampler(seed=seed, constant_liar=True)
                case "random":
                    return samplers.RandomSampler(seed=seed)
                case "nsga2":
                    return samplers.NSGAIISampler(seed=seed)
                case _:
                    return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)


def check_sampler(sampler: str, space: Space, objectives: int) -> None:
    """Refuse what a sampler cannot do.

    Raises:
      UsageError: it cannot, or its package is not here.
    """
    load_optuna()
    if sampler != "cmaes":
        return
    if objectives > 1:
        raise UsageError("--sampler cmaes: has one objective; with several take nsga2 or tpe")
    if not all(isinstance(among, Interval) for among in space.values()):
        raise UsageError("--sampler cmaes: tunes numbers alone, low:high; among choices take tpe")
    try:
        import cmaes  # noqa: F401
    except ImportError:
        raise UsageError(
            "--sampler cmaes: the package cmaes is not installed; run `pip install 'jinv[tune]'`"
        ) from None


def load_optuna() -> Any:
    """The package, which says nothing by itself.

    Raises:
      UsageError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UsageError("search: Optuna is not installed; run `pip install 'jinv[tune]'`") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class _Alone:
    """A lock for who is alone."""

    def acquire(self) -> bool:
        """Nobody else is here."""
        return True

    def release(self) -> None:
        """Nobody waits."""


def _drop_part_of_a_line(path: Path) -> None:
    """What a process that was killed while it wrote left of its last line."""
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):
        write_bytes(path, data[: data.rfind(b"\n") + 1])


def _seed_of(seed: int, number: int, place: int) -> int:
    digest = hashlib.sha256(f"{seed} {number} {place}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
