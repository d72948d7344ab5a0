"""`jinv attribute`: what terms want of an image's pixels."""

import argparse
from pathlib import Path

from jinv.commands.arguments import add_plugins, check_output, vocabulary_of
from jinv.errors import JinvError, UsageError, legible

HELP = "draw the gradient of the objective's terms in the pixels of an image, beside it"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    run = "a finished run's directory; or a CONFIG.toml, with --image FILE"
    command.add_argument("run", metavar="RUN", help=run)
    term = "a term of the config; may be given several times (default: all of them)"
    command.add_argument("--term", action="append", default=[], metavar="NAME", help=term)
    image = "the number of one of the run's images, seen in its batch (default: 0), or a picture's file, alone"
    command.add_argument("--image", default="0", metavar="ID_OR_FILE", help=image)
    command.add_argument("--label", metavar="CLASS", help="with a picture's file: its class, a name or an id")
    out = "the PNG (default: attribution_<run>_<image>.png)"
    command.add_argument("--out", type=Path, metavar="FILE", help=out)
    arrays = "also the arrays, an .npz of the picture and each term's gradient (height, width, 3) per network unit"
    command.add_argument("--arrays", type=Path, metavar="FILE", help=arrays)
    add_plugins(command)


def _check_place(path: Path, option: str, suffix: str) -> None:
    """Before long work: is it called what it will be, and can it be written? Nothing of another kind is overwritten."""
    from jinv.files import is_stream

    if path.suffix.lower() not in ("", suffix) and not is_stream(path):
        raise UsageError(f"{option} {path}: is written as {suffix[1:].upper()}; call it so")
    check_output(path, option)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    import io

    import numpy as np

    from jinv.commands.compilation import ready_to_compute
    from jinv.files import write_bytes
    from jinv.recipe.packaged import find_config
    from jinv.recipe.read import read_config
    from jinv.report.attribution import Panel, attribution_png
    from jinv.report.charts import format_number
    from jinv.runs.attribution import attribute

    where, image, label = Path(arguments.run), arguments.image, arguments.label
    number = int(image) if image.removeprefix("-").isdecimal() and len(image) < 10 else None
    name = where.resolve().name if where.is_dir() else where.stem
    out = arguments.out or Path(f"attribution_{name}_{image if number is not None else Path(image).stem}.png")
    _check_place(out, "--out", ".png")
    if arguments.arrays is not None:
        _check_place(arguments.arrays, "--arrays", ".npz")
    if not where.is_dir():
        try:
            recipe = read_config(find_config(arguments.run))
        except JinvError as error:
            raise type(error)(f"{error}; or name a run's directory") from error
    ready_to_compute()
    found = attribute(
        where if where.is_dir() else recipe,
        arguments.term,
        image=image if number is None else number,
        label=int(label) if label is not None and label.isdecimal() and len(label) < 10 else label,
        vocabulary=vocabulary_of(arguments),
    )
    shared = f"; batch terms of its batch of {found.batch}" if found.batch > 1 else "; a batch of its own"
    line = f"{name}, unaugmented, summed over channels{shared}. Red: the term rises with the pixel. Blue: it falls."
    panels = [Panel(t.name, f"{format_number(t.value)}; ", t.gradient) for t in found.terms]
    write_bytes(out, attribution_png(f"{found.name}: {found.class_name}", line, found.picture, panels))
    print(legible(f"picture    {out}"))
    if arguments.arrays is not None:
        data = io.BytesIO()
        arrays = {"picture": found.picture} | {f"gradient_{t.name}": t.gradient for t in found.terms}
        np.savez(data, **arrays)  # type: ignore[arg-type]
        write_bytes(arguments.arrays, data.getvalue())
        print(legible(f"arrays     {arguments.arrays}"))
    return 0
