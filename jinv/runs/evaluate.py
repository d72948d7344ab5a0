"""`jinv evaluate` and `jinv.evaluate`: other networks judge a finished run, whose report and seal follow."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from jinv.console import Waiting
from jinv.errors import StorageError, UsageError
from jinv.judge.evaluate import evaluate_run
from jinv.judge.judges import silent
from jinv.recipe.paths import on_disk
from jinv.record.directory import RunDirectory
from jinv.record.evaluation import Evaluation
from jinv.record.lock import held
from jinv.record.run import RunRecord, open_run
from jinv.runs.completion import finish
from jinv.runs.progress import teller


def evaluate(
    run: str | Path,
    verifiers: Sequence[str] = (),
    *,
    reference: str | Path | None = None,
    photographs: str | Path | None = None,
    console: Console | None = None,
) -> Evaluation:
    """Let networks judge a run's images; writes `evaluation.json`, the report and the manifest's digests anew.

    Args:
      verifiers: names or files of networks, ONNX included; none are those of the run's config. Published networks
        are fetched by name.
      reference: real images to compare with, a folder or zip; None is that of the run's config.
      photographs: real images of the run's classes, which the networks judge too, likewise.
      console: where it is said what was fetched and how far it is; None says nothing.

    Raises:
      StorageError: no finished run. RunConflictError: another process is at work on it. UnsafeInputError: one of its files
        is not as it was when it was finished. UsageError: no verifier anywhere. Others as `judge.evaluate.evaluate_run`.
    """
    open_run(run)  # of what is no run no more is made than a word
    with held(Path(run), teller(console) if console else silent):
        record = open_run(run)
        if not record.manifest.finished:
            raise StorageError(f"{run}: the run is not finished; continue it with jinv synthesize --resume")
        directory = RunDirectory(record.path)
        directory.check_sealed(record.manifest)
        evaluation = _evaluated(record, verifiers, reference, photographs, console)
        finish(directory, record.manifest)
    return evaluation


def _evaluated(
    record: RunRecord,
    verifiers: Sequence[str],
    reference: str | Path | None,
    photographs: str | Path | None,
    console: Console | None,
) -> Evaluation:
    asked = record.config.get("evaluate", {})
    chosen = list(verifiers) or list(map(on_disk, asked.get("verifiers", [])))
    if not chosen:
        raise UsageError(
            "evaluate: the run's config names no verifiers; give some, such as --verifier efficientnet_lite1"
        )
    say = teller(console) if console else silent
    kept = {key: on_disk(asked[key]) for key in ("reference", "photographs") if key in asked}
    reference, photographs = reference or kept.get("reference"), photographs or kept.get("photographs")
    with Waiting(console or Console(quiet=True)) as waiting:
        return evaluate_run(
            record.path, chosen, reference, photographs, onnx=asked.get("onnx"), say=say, watch=waiting.watch
        )
