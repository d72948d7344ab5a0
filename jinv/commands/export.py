"""`jinv export`: runs' images as folders that others' training reads."""

import argparse
from pathlib import Path
from typing import Any, get_args

from jinv.errors import UsageError, legible, nearest

HELP = "make the folder per class, or the one folder, that training reads, out of runs' images"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's directory, finished or not")
    command.add_argument("directory", type=Path, metavar="DIR", help="what is made; it appears whole or not at all")
    layout = (
        "a folder per class, as torchvision's ImageFolder and timm read them (imagefolder, the default), in the order of "
        "the labels: WordNet ids of ImageNet's classes, names of CIFAR's, else 0003_name; or all in one folder (flat)"
    )
    command.add_argument("--layout", default="imagefolder", metavar="imagefolder|flat", help=layout)
    command.add_argument("--format", default="png", metavar="png|jpeg", help="what is written (default: png)")
    quality = "of JPEGs, 1 to 100 (default: 95), without chroma subsampling"
    command.add_argument("--quality", metavar="N", help=quality)
    link = "hard links to the runs' own files instead of copies; what a run has no such file of is written"
    how = command.add_mutually_exclusive_group()
    how.add_argument("--link", action="store_const", const="hard", help=link)
    symlink = "likewise symbolic links, relative ones"
    how.add_argument("--symlink", action="store_const", const="symbolic", dest="link", help=symlink)
    every = (
        "an empty folder for each class without images, for ImageFolder(DIR, allow_empty=True): folders count as labels"
    )
    command.add_argument("--all-classes", action="store_true", help=every)
    command.add_argument("--replace", action="store_true", help="remove an earlier export in DIR")


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    from jinv.console import Waiting, make_console, say
    from jinv.core.choices import Layout, PictureFormat
    from jinv.runs.export import Form, export

    form = Form(
        layout=_one_of(arguments.layout, Layout, "--layout"),
        format=_one_of(arguments.format, PictureFormat, "--format"),
        quality=_whole(arguments.quality),
        link=arguments.link,
        all_classes=arguments.all_classes,
    )
    console = make_console(stderr=True)
    with Waiting(console) as waiting:
        done = export(arguments.runs, arguments.directory, form, replace=arguments.replace, watch=waiting.watch)
    for line in done.unfinished:
        say(console, line)
    if arguments.link and done.linked < done.images:
        say(console, f"{done.images - done.linked} images were written: the run has no {form.format} files of them")
    if form.layout == "imagefolder" and not form.all_classes and done.classes < done.of_classes:
        say(
            console,
            f"{done.classes} of {done.of_classes} classes: ImageFolder numbers the folders that are there, not the labels; "
            "--all-classes or class_map.txt keeps them",
        )
    print(legible(f"{arguments.directory}: {done.images} images of {done.classes} classes"))
    return 0


def _one_of(word: str, choices: Any, flag: str) -> Any:
    known = get_args(choices)
    if word not in known:
        raise UsageError(f"{flag} {word}: not known{nearest(word, known)} (known: {', '.join(known)})")
    return word


def _whole(word: str | None) -> int | None:
    try:
        return None if word is None else int(word)
    except ValueError:
        raise UsageError(f"--quality {word}: must be a whole number from 1 to 100") from None
