"""What `jinv status` says of a training and of a distillation."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinv.record.standing import DistillationStatus, SourceStatus, TrainingStatus


def training_lines(status: "TrainingStatus") -> Iterator[str]:
    """A training, line by line."""
    from jinv.console import clock_text
    from jinv.report.training import tested_text

    yield f"{status.path}: a training of {status.architecture}, {_state(status)}"
    yield f"epochs   {status.epochs_done:,}{_of(status.epochs)}"
    yield f"updates  {status.updates_done:,}{_of(status.updates)}"
    if status.loss is not None:
        yield f"loss     {status.loss:.4g}, {100 * (status.accuracy or 0):.1f} % right, of the last epoch's images as they were shown"
    if status.updates_per_second:
        left = f", {clock_text(status.seconds_left)} left" if status.seconds_left else ""
        yield f"rate     {status.updates_per_second:.3g} updates per second{left}"
    if status.seconds_spent:
        yield f"spent    {clock_text(status.seconds_spent)}"
    if status.lost:
        yield f"lost     {', '.join(status.lost)}; jinv verify {status.path} says what mends it"
    goes_on = f"jinv train CONFIG --out {status.path} --resume goes on at update {status.saved or 0:,}"
    yield from _running(status, "lower learning_rate, and begin anew in another --out" if status.is_over else goes_on)
    for tested in status.tested:
        share = tested.estimate
        yield (
            f"right    {tested.right:,} of {tested.count:,}, {100 * share.value:.1f} % "
            f"({100 * share.low:.1f} to {100 * share.high:.1f}): {tested_text(tested)}"
        )


def distillation_lines(status: "DistillationStatus") -> Iterator[str]:
    """A distillation, line by line."""
    yield f"{status.path}: a distillation of {status.teacher}, {_state(status)}"
    yield f"students {status.students_done:,} of {status.students:,} are trained, on {len(status.sources)} sources"
    if status.failed:
        yield f"failed   {', '.join(status.failed)}: their loss stopped being finite; the others are done"
    goes_on = f"jinv distill CONFIG --out {status.path} --resume goes on"
    yield from _running(status, "lower learning rates, and begin anew in another --out" if status.is_over else goes_on)
    for source in status.sources:
        yield from _source_lines(source)


def _source_lines(source: "SourceStatus") -> Iterator[str]:
    from jinv.report.distillation import percent_text, points_text

    done = [student for student in source.students if student.state == "finished"]
    said = [f"{len(done)} of {len(source.students)} students"]
    if source.share is not None:
        said.append(f"right {percent_text(source.share)}")
        if source.behind is not None:
            said.append(f"{points_text(source.behind)} beside real images")
    else:
        first = [student.tested[0] for student in done if student.tested]
        said += ["right " + ", ".join(f"{100 * tested.estimate.value:.1f} %" for tested in first)] if first else []
    yield f"  {source.name} ({source.images}): {', '.join(said)}"
    if (run := source.run) is not None and run.state != "finished":
        yield f"    images: {run.problem or f'{run.images_done:,} of {run.images:,}, {run.state}'}"
    for student in source.students:
        name = student.path.rpartition("/")[2]
        if student.problem or student.lost:
            yield f"    {name}: {student.problem or ', '.join(student.lost) + ' is lost'}"
        elif student.state == "diverged":
            yield f"    {name}: diverged at update {student.diverged_at_step:,}"
        elif student.state == "unfinished":
            loss = "" if student.loss is None else f", loss {student.loss:.4g}"
            who = "under way" if student.at_work else "interrupted"
            yield f"    {name}: {who}, epoch {student.epochs_done:,}{_of(student.epochs)}{loss}"


def _running(status: "TrainingStatus | DistillationStatus", otherwise: str) -> Iterator[str]:
    """Who is at work, or what is to be done where nobody is and something is left."""
    if status.at_work:
        yield f"running  {status.at_work}"
    elif not status.finished:
        yield f"running  nobody; {otherwise}"


def _state(status: "TrainingStatus | DistillationStatus") -> str:
    if status.kind == "training" and status.diverged_at_step is not None:
        return f"diverged at update {status.diverged_at_step:,}"
    return f"finished {status.finished}" if status.finished else f"{status.state}"


def _of(all: int | None) -> str:
    return "" if all is None else f" of {all:,}"
