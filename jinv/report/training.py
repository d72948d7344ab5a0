"""training.html: what a trained network is worth, and the curves of its training; and the same for the command line."""

from pathlib import Path
from typing import Any

from jinv.console import add, clock_text, make_console, say, table
from jinv.errors import StorageError
from jinv.files import write_text
from jinv.record.config import CONFIG, read_table
from jinv.record.training import EPOCHS, NETWORK, PAGE, Tested, TrainingRecord, read_epochs, read_training_record
from jinv.report.charts import Chart, Series, line_chart
from jinv.report.page import environment, settings


def write_training_page(directory: Path, record: TrainingRecord) -> Path:
    """Write the training's page; returns its path.

    Raises:
      StorageError, UnsafeInputError: what it is made of cannot be read, or it cannot be written.
    """
    path = directory / PAGE
    page = environment().get_template("training.html.j2")
    text = page.render(
        name=directory.absolute().name,
        record=record,
        duration=clock_text(record.wall_seconds),
        tests=[(*_tested_words(tested), tested) for tested in record.tested],
        charts=_charts(directory),
        settings=settings(read_table(directory / CONFIG)),
    )
    write_text(path, text)
    return path


def tested_text(tested: Tested) -> str:
    """Under what a network was tested, in words."""
    under, how = _tested_words(tested)
    return f"{under} ({how})" if how else under


def _tested_words(tested: Tested) -> tuple[str, str]:
    """(Under what it was tested, and by which attack, empty where there was none)."""
    if tested.eps is None:
        return "test images as they are", ""
    return f"attacked within {tested.eps:g}/255", f"PGD, {tested.steps} steps of {tested.step:.3g}/255"


def _charts(directory: Path) -> list[Chart]:
    lines = read_epochs(directory / EPOCHS)
    epochs: list[float] = [line.epoch for line in lines]
    drawn: list[tuple[str, str, list[float], dict[str, Any]]] = [
        (
            "loss",
            "mean over the epoch's images, as they were shown",
            [line.loss for line in lines],
            {"scales": ("log", "linear")},
        ),
        (
            "accuracy",
            "share of the epoch's images, as they were shown",
            [line.accuracy for line in lines],
            {"zero": True},
        ),
        ("learning rate", "at the epoch's end", [line.learning_rate for line in lines], {"zero": True}),
    ]
    found = [
        line_chart(title, [Series(title, epochs, values, color=None)], caption=caption, x_label="epoch", **more)
        for title, caption, values, more in drawn
    ]
    return [chart for chart in found if chart]


def print_training(directory: Path) -> None:
    """What a trained network is worth, on the command line.

    Raises:
      StorageError: there is none.
    """
    record = read_training_record(directory)
    if record is None:
        raise StorageError(f"{directory}: no training")
    console = make_console()
    if record.tested:
        shown = table("tested on", "recognised", "share", "95 % interval")
        for tested in record.tested:
            share = tested.estimate
            interval = f"{100 * share.low:.1f} to {100 * share.high:.1f} %"
            add(shown, tested_text(tested), f"{tested.right} of {tested.count}", f"{100 * share.value:.1f} %", interval)
        console.print(shown)
    say(
        console,
        f"{directory / NETWORK}: {record.architecture}, {record.images} images, {clock_text(record.wall_seconds)}",
    )
    say(console, f"{directory / PAGE}")
