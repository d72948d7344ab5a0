"""`jinv evaluate` and `jinv.evaluate`: other networks judge a finished run, and metrics are taken; its report and seal follow."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from jinv.console import Waiting
from jinv.errors import StorageError, UsageError
from jinv.experiment.metrics import bind_metrics, with_named
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.images.metrics import Metric
from jinv.judge.evaluate import evaluate_run
from jinv.judge.judges import find_judge, silent
from jinv.recipe.paths import on_disk
from jinv.record.directory import RunDirectory
from jinv.record.evaluation import Evaluation
from jinv.record.lock import held
from jinv.record.run import RunRecord, open_run
from jinv.runs.checks import check_metrics
from jinv.runs.completion import finish
from jinv.runs.progress import teller


def evaluate(
    run: str | Path,
    verifiers: Sequence[str] = (),
    *,
    reference: str | Path | None = None,
    photographs: str | Path | None = None,
    console: Console | None = None,
    vocabulary: Vocabulary | None = None,
) -> Evaluation:
    """Let networks judge a run's images; writes `evaluation.json`, the report and the manifest's digests anew.

    Without any network the verdicts that are there stay, and metrics alone are new.

    Args:
      verifiers: names or files of networks, ONNX included; none are those of the run's config. Published networks
        are fetched by name.
      reference: real images to compare with, a folder or zip; None is that of the run's config.
      photographs: real images of the run's classes, which the networks judge too, likewise.
      console: where it is said what was fetched and how far it is; None says nothing.
      vocabulary: whose plugins have the metrics of the run's config; those of plugins that were named, by `load_plugins`,
        are taken besides, at their defaults.

    Raises:
      StorageError: no finished run. RunConflictError: another process is at work on it. UnsafeInputError: one of its files
        is not as it was when it was finished. UsageError: no verifier and no metric anywhere, or a metric's plugin is not
        here. Others as `judge.evaluate.evaluate_run`.
    """
    open_run(run)  # of what is no run no more is made than a word
    with held(Path(run), teller(console) if console else silent):
        record = open_run(run)
        if not record.manifest.finished:
            raise StorageError(f"{run}: the run is not finished; continue it with jinv synthesize --resume")
        directory = RunDirectory(record.path)
        directory.check_sealed(record.manifest)
        evaluation = _evaluated(record, verifiers, reference, photographs, console, vocabulary)
        finish(directory, record.manifest)
    return evaluation


def _evaluated(
    record: RunRecord,
    verifiers: Sequence[str],
    reference: str | Path | None,
    photographs: str | Path | None,
    console: Console | None,
    vocabulary: Vocabulary | None,
) -> Evaluation:
    asked = record.config.get("evaluate", {})
    chosen = list(verifiers) or list(map(on_disk, asked.get("verifiers", [])))
    metrics = _metrics(record, vocabulary or standard_vocabulary())
    if not chosen and not metrics:
        raise UsageError(
            "evaluate: the run's config names no verifiers; give some, such as --verifier efficientnet_lite1, or a "
            "--plugin with metrics"
        )
    say = teller(console) if console else silent
    kept = {key: on_disk(asked[key]) for key in ("reference", "photographs") if key in asked}
    reference, photographs = reference or kept.get("reference"), photographs or kept.get("photographs")
    find = partial(find_judge, tables=asked.get("onnx"), say=say)
    with Waiting(console or Console(quiet=True)) as waiting:
        return evaluate_run(
            record.path, chosen, reference, photographs, find=find, metrics=metrics, watch=waiting.watch
        )


def _metrics(record: RunRecord, vocabulary: Vocabulary) -> dict[str, Metric]:
    """Those of the run's config, and those that the plugins have besides which were named for this."""
    tables = record.config.get("metric", {})
    check_metrics(record.manifest, tables, vocabulary, record.path)
    return bind_metrics(with_named(tables, vocabulary), vocabulary)
