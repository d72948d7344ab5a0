"""`jinv convert` and `jinv validate`: arguments and what is printed. Imports what it needs only when it runs."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jinv.models.classifier import Clamp
    from jinv.models.origins import Origin
    from jinv_convert.pipeline import ConversionReport

CLAMPS: "dict[str, Clamp]" = {
    "true": True,
    "false": False,
    "straight-through": "straight-through",
}


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jinv convert`."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file, or a published name such as resnet50")
    parser.add_argument("out", type=Path, metavar="OUT.safetensors")
    parser.add_argument("--architecture", metavar="NAME", help="instead of recognising it by its tensors")
    rgb: dict[str, Any] = {"type": float, "nargs": 3, "metavar": ("R", "G", "B")}
    parser.add_argument("--mean", **rgb, help="of the preprocessing, in units where white is 1")
    parser.add_argument("--std", **rgb, help="of the preprocessing, in units where white is 1")
    parser.add_argument("--num-classes", type=int, metavar="N", help="of a network with another last layer")
    labels = "class names in the order of the outputs, a line each, or JSON; compared with the usual order"
    parser.add_argument("--labels", type=Path, metavar="FILE", help=labels)
    parser.add_argument("--select", metavar="KEY", help="which weights, where the file holds several (ema, raw, a key)")
    strip = (
        "left out before every name; what does not begin so is left alone (one prefix of all names is found by itself)"
    )
    parser.add_argument("--strip", metavar="PREFIX", help=strip)
    clamp = "clip pixels to [0, 1] as the robustness package does: true, false (default) or straight-through"
    parser.add_argument("--clamp", type=_clamp, default=False, metavar="HOW", help=clamp)
    training = "the pipeline that trained it, such as torchvision: judges that share it with a network are its siblings"
    parser.add_argument("--training", metavar="NAME", help=training)
    parser.add_argument("--ignore-extra", action="store_true", help="leave out tensors that the network does not have")
    parser.add_argument("--allow-float8", action="store_true", help="take 8-bit weights as they are")
    parser.add_argument("--no-crc", action="store_true", help="read a zip file whose checksums are wrong or left out")
    unverified = "take a file that is called as a published one is and has another sha256"
    parser.add_argument("--unverified", action="store_true", help=unverified)


def _clamp(text: str) -> "Clamp":
    if text not in CLAMPS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(CLAMPS)}")
    return CLAMPS[text]


def run_convert(args: argparse.Namespace) -> int:
    """Carry out `jinv convert`; returns the exit code."""
    from jinv.console import Waiting, make_console
    from jinv.files import check_writable, is_stream
    from jinv_convert.pipeline import ConversionOptions, convert_checkpoint

    check_writable(args.out)  # before anything is downloaded
    console = make_console(stderr=is_stream(args.out))
    found = _find_checkpoint(args.checkpoint, console, args.unverified)
    checkpoint = found.path
    options = ConversionOptions(
        architecture=args.architecture or found.architecture,
        mean=args.mean,
        std=args.std,
        num_classes=args.num_classes,
        labels=args.labels,
        select=args.select,
        strip=args.strip,
        clamp=args.clamp,
        ignore_extra=args.ignore_extra,
        allow_float8=args.allow_float8,
        check_crc=not args.no_crc,
        unverified=args.unverified,
        training=args.training,
        origin=found.origin,
    )
    with Waiting(make_console(stderr=True)) as waiting:
        waiting(f"converting {checkpoint.name}")
        report = convert_checkpoint(checkpoint, args.out, options)
    print_conversion(report, checkpoint, console)
    return 0


def add_validate_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jinv validate`."""
    parser.add_argument("converted", type=Path, metavar="OUT.safetensors")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file, or a published name such as resnet50")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every layer's errors as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with a plot of every layer's errors")
    parser.add_argument("--images", type=Path, metavar="FOLDER_OR_ZIP", help="real images on which both must agree")
    parser.add_argument("--select", metavar="KEY", help="which weights, where the checkpoint holds several")
    parser.add_argument("--no-crc", action="store_true", help="read a zip file whose checksums are wrong or left out")


def run_validate(args: argparse.Namespace) -> int:
    """Carry out `jinv validate`; returns 0 where digests and numbers are right, else 4."""
    from jinv.console import Waiting, make_console
    from jinv.errors import UsageError, naming_option
    from jinv.files import check_writable, is_stream
    from jinv_convert.parity.page import write_html
    from jinv_convert.parity.report import write_json
    from jinv_convert.parity.table import print_report

    try:
        from jinv_convert.validate import validate
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError('validation compares with PyTorch; run `pip install "jinv[torch]"`') from None
    written = []
    for option, path in (("--json", args.json), ("--html", args.html)):
        if path:
            with naming_option(option):
                written.append(check_writable(path))
    console = make_console(stderr=any(map(is_stream, written)))
    checkpoint = _find_checkpoint(args.checkpoint, console).path
    with Waiting(make_console(stderr=True)) as waiting:
        report = validate(
            args.converted,
            checkpoint,
            images=args.images,
            select=args.select,
            check_crc=not args.no_crc,
            progress=waiting,
        )
    print_report(report, console)
    if args.json:
        write_json(report, args.json)
    if args.html:
        write_html(report, args.html)
    return 0 if report.passed else 4


def print_conversion(report: "ConversionReport", checkpoint: Path, console: Any) -> None:
    """What was found, what was decided and what is doubtful, in a few lines."""
    from rich.table import Table
    from rich.text import Text

    from jinv.console import add, say
    from jinv.errors import legible

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    clamp = {True: ", pixels clipped to [0, 1]", False: "", "straight-through": ", clipped straight-through"}[
        report.clamp
    ]
    mean, std = ("  ".join(f"{value:.4g}" for value in values) for values in (report.mean, report.std))
    rows = {
        "network": f"{report.architecture}, {f'{report.num_classes} classes' if report.num_classes else 'no head'}",
        "weights": f"{report.tensors} tensors, {report.parameters:,} parameters",
        "found under": f"{report.location} ({report.container} container)",
        "preprocessing": f"{report.preprocessing}: mean {mean}, std {std}{clamp}",
        "licence": _licence(report.origin),
        "training": report.training or "unknown (state it with --training)",
        "source": f"sha256 {report.source_sha256}",
    }
    files = (Text(legible(name), "bold") for name in (checkpoint.name, str(report.output)))
    say(console, Text(" -> ").join(files))
    for name, value in rows.items():
        add(table, name, value)
    for note in report.notes:
        add(table, "note", note)
    for warning in report.warnings:
        add(table, Text("warning", "yellow"), warning)
    console.print(table)


def _licence(origin: "Origin | None") -> str:
    return (origin.license if origin else None) or "unknown"


class _Found(NamedTuple):
    """A checkpoint's file, and what its name says of it."""

    path: Path
    architecture: str | None = None
    origin: "Origin | None" = None


def _find_checkpoint(name: str, console: Any, unverified: bool = False) -> _Found:
    """The file of a path, of an embedded name, or of a published name, fetched if need be."""
    from jinv.console import say
    from jinv.errors import StorageError, UsageError
    from jinv.models.architecture import EMBEDDED
    from jinv.weights.cache import embedded_checkpoint
    from jinv.weights.packaged import PACKAGED
    from jinv_convert.download import download
    from jinv_convert.published import find_published, published_names

    path = Path(name)
    if path.exists() or path.is_symlink():
        return _Found(path)
    if name in EMBEDDED:
        return _Found(embedded_checkpoint(name, unverified=unverified), name)
    if name in PACKAGED:
        raise UsageError(f"{name}: comes with jinv, converted; write the name wherever a network is asked for")
    if name not in published_names() and (path.suffix or path.parent != Path(".")):
        raise StorageError(f"{name}: no such file")
    published = find_published(name)
    if published.known:
        say(console, f"{published.file_name}, {published.known}")
    with _bytes(console, published.file_name) as progress:
        path = download(published, unverified=unverified, progress=progress)
    if not published.sha256:
        say(console, "no digest of this file was ever published; its sha256 is recorded, not proven", style="yellow")
    return _Found(path, origin=published.origin)


@contextmanager
def _bytes(console: Any, name: str) -> Iterator[Any]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
