"""`jinv record-stats`: what real images give in a network's layers, and their colours, for terms that compare with them."""

import argparse
from pathlib import Path
from typing import Any

from jinv.commands.arguments import check_output
from jinv.commands.compilation import ready_to_compute
from jinv.errors import UsageError, legible

HELP = "record statistics of real images in a network's layers, and their colours, for configs with statistics = FILE"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    command.add_argument("model", metavar="MODEL", help="the network: a name of `jinv models`, or the path of its file")
    command.add_argument("images", type=Path, metavar="IMAGES", help="a folder or zip of real images")
    out = "the file to write (default: IMAGES' name and .statistics.safetensors)"
    command.add_argument("--out", type=Path, metavar="FILE", help=out)
    layers = (
        "layers by name, or shell patterns such as 'layer3_*/bn*'; \"image\" is the picture itself (default: the batch "
        "norms, of a network without any the convolutions)"
    )
    command.add_argument("--layers", nargs="+", default=[], metavar="NAME", help=layers)
    colors = "the colours alone and no layer, so that feature_statistics stays with the network's batch norms"
    command.add_argument("--colors", action="store_true", help=colors)
    command.add_argument("--per-class", action="store_true", help="also of each class; folders name the classes")
    quantiles = "quantiles of each channel's sorted values, for sorted_features (default: 0, none)"
    command.add_argument("--quantiles", default="0", metavar="K", help=quantiles)
    size = "pixels to which images are fitted (default: the network's own)"
    command.add_argument("--size", metavar="S", help=size)
    command.add_argument("--batch", default="32", metavar="B", help="images at once (default: 32)")
    command.add_argument("--replace", action="store_true", help="replace a file that is there")


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    quantiles = _whole(arguments.quantiles, "--quantiles", 0, 4096)
    batch = _whole(arguments.batch, "--batch", 1, 4096)
    size = None if arguments.size is None else _whole(arguments.size, "--size", 1, 4096)
    if arguments.colors and (arguments.layers or arguments.per_class or quantiles):
        flag = "--layers" if arguments.layers else "--per-class" if arguments.per_class else "--quantiles"
        raise UsageError(f"--colors: records no layer, for which {flag} is; colours are recorded without it too")
    images: Path = arguments.images
    out = arguments.out or Path(f"{images.name.removesuffix('.zip') or 'images'}.statistics.safetensors")
    if out.is_dir():
        raise UsageError(f"--out {out}: a folder, not a file")
    if out.exists() and not arguments.replace:
        raise UsageError(f"--out {out}: is there already; --replace replaces it")
    check_output(out, "--out")
    _record(arguments, out, (quantiles, batch, size))
    return 0


def _record(arguments: argparse.Namespace, out: Path, numbers: tuple[int, int, int | None]) -> None:
    ready_to_compute()
    from jinv.console import Waiting, make_console
    from jinv.experiment.recording import Wish, chosen_layers, record_statistics
    from jinv.images.folder import open_image_folder
    from jinv.weights.load import load
    from jinv.weights.statistics import save_statistics

    quantiles, batch, size = numbers
    folder = open_image_folder(arguments.images)
    classifier = load(arguments.model)
    side = size or classifier.input_size
    if side < classifier.min_size:
        raise UsageError(f"--size {side}: {classifier.architecture} needs at least {classifier.min_size} pixels")
    layers = () if arguments.colors else chosen_layers(classifier, arguments.layers)
    wish = Wish(layers, (side, side), quantiles, arguments.per_class, min(batch, len(folder.names)))
    with Waiting(make_console(stderr=True)) as waiting:
        record, stats, colors = record_statistics(classifier, folder.watched(waiting.watch, "recording"), wish)
    save_statistics(out, record, stats, colors)
    mean = " ".join(f"{value:.3f}" for value in colors.mean)
    print(legible(f"{out}: {_said(record)}; mean colour {mean}"))


def _said(record: Any) -> str:
    count = len(record.layers)
    layers = f"{count} layer{'s' * (count > 1)} of {record.architecture}" if count else "the colours alone"
    images = f"{record.images:,} images of {record.size[0]} px"
    if not record.class_counts:
        return f"{layers}, {images}"
    present = sum(count > 0 for count in record.class_counts)
    return f"{layers}, {images}, {present} of {len(record.class_counts)} classes"


def _whole(word: str, flag: str, low: int, high: int) -> int:
    number = int(word) if word.isascii() and word.isdigit() and len(word) < 10 else -1
    if not low <= number <= high:
        raise UsageError(f"{flag} {word}: must be a whole number from {low} to {high}")
    return number
