"""Experiments as TOML: a config is read, checked as a whole (all problems at once) and becomes a `Recipe`.

Reading a config imports neither jax nor a model; what depends on the model (class names, smallest image) is checked by
`jinv.experiment` once the model is loaded.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinv.errors import StorageError, UsageError
from jinv.recipe.checks import Checker, Size
from jinv.recipe.overrides import parse_override, set_value
from jinv.recipe.recipe import CheckpointRecipe, EvaluateRecipe, ImageRecipe, Recipe, StageRecipe

MAXIMUM_BYTES = 1_000_000


TOP = ("model", "student", "seed", "keep", "clip", "clip_bounds", "log_every", "log_gradients", "copies", "devices",
       "precision", "remat", "parameterization", "image", "stages", "augment", "terms", "evaluate", "checkpoint")  # fmt: skip
IMAGE = ("size", "count", "batch", "chunk", "labels", "init", "init_reference", "init_pool")
STAGE = ("size", "steps", "learning_rate", "optimizer", "upsample", "start", "parameterization")


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a config file; `overrides` are `key.path=value` strings applied on top.

    Raises:
      StorageError: no such file. UsageError: not TOML, or anything wrong in it, all problems in one line.
    """
    path = Path(path)
    table = read_table(path)
    for override in overrides:
        key, value = parse_override(override)
        set_value(table, key, value, where=f"--set {override}")
    return check_config(table, where=str(path), folder=path.parent)


def read_table(path: Path) -> dict[str, Any]:
    """A config file as it is written, unchecked; raises as `read_config`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAXIMUM_BYTES:
        raise UsageError(f"{path}: {len(data)} bytes is more than a config's limit of {MAXIMUM_BYTES}")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error


def check_config(table: dict[str, Any], *, where: str = "config", folder: Path = Path(".")) -> Recipe:
    """Check a config table and make it a `Recipe`. Paths in it are relative to `folder`."""
    check = Checker()
    check.keys(table, TOP, "")
    image = check.table(table, "image", required=True)
    check.keys(image, IMAGE, "image.")
    count = check.integer(image, "count", "image.", default=None, low=1)
    labels = _labels(check, image)
    if count is None:
        count = 1 if labels == "random" else len(labels)
    batch = check.integer(image, "batch", "image.", default=count, low=1)
    image_size = check.size(image, "size", "image.", default=None)
    terms = {name: check.entry(table["terms"], name, "terms.") for name in check.table(table, "terms", required=True)}
    for name, entry in terms.items():
        check.number_or_schedule(entry, "weight", f"terms.{name}.", default=1.0)
    augment = {name: check.entry(table["augment"], name, "augment.") for name in check.table(table, "augment")}
    for name, entry in augment.items():
        check.choice(entry, "draw", f"augment.{name}.", ("batch", "image"), "batch")
    evaluate = check.table(table, "evaluate")
    check.keys(evaluate, ("verifiers", "reference"), "evaluate.")
    checkpoint = check.table(table, "checkpoint")
    check.keys(checkpoint, ("every_steps",), "checkpoint.")
    if not terms:
        check.problem("terms: at least one term is needed, such as [terms.cross_entropy]")
    recipe = Recipe(
        model=_path_or_name(check.text(table, "model", "", required=True), folder),
        student=_path_or_name(check.text(table, "student", ""), folder),
        seed=check.integer(table, "seed", "", default=0, low=0, high=2**32 - 1),
        keep=check.choice(table, "keep", "", ("last", "best"), "last"),
        clip=check.choice(table, "clip", "", ("variable", "fixed", "none"), "variable"),
        clip_bounds=check.bounds(table, "clip_bounds", (-2.0, 2.0)),
        log_every=check.integer(table, "log_every", "", default=10, low=1),
        copies=check.integer(table, "copies", "", default=1, low=1, high=1024),
        log_gradients=check.boolean(table, "log_gradients", "", default=False),
        stages=_stages(check, table, image_size, folder),
        image=ImageRecipe(
            labels=labels,
            count=count,
            batch=min(batch or 1, count or 1),
            size=image_size,
            chunk=check.integer(image, "chunk", "image.", default=None, low=1),
            init=_init(check.text(image, "init", "image.") or "noise", folder),
            init_reference=_relative(check.text(image, "init_reference", "image."), folder),
            init_pool=check.integer(image, "init_pool", "image.", default=4, low=1),
        ),
        terms=terms,
        augment=augment,
        evaluate=EvaluateRecipe(
            tuple(_path_or_name(v, folder) for v in check.texts(evaluate, "verifiers", "evaluate.")),
            _relative(check.text(evaluate, "reference", "evaluate."), folder),
        ),
        checkpoint=CheckpointRecipe(check.integer(checkpoint, "every_steps", "checkpoint.", default=None, low=1)),
        devices=_devices(check, table),
        precision=check.choice(table, "precision", "", ("float32", "tf32", "bf16"), "float32"),
        remat=check.boolean(table, "remat", "", default=False),
    )
    if (recipe.image.init == "class_gaussian") != (recipe.image.init_reference is not None):
        check.problem('image.init: "class_gaussian" and image.init_reference = FOLDER_OR_ZIP go together')
    if check.problems:
        shown = "; ".join(check.problems[:10]) + (
            f"; and {len(check.problems) - 10} more" if len(check.problems) > 10 else ""
        )
        raise UsageError(f"{where}: {shown}")
    return recipe


def _devices(check: Checker, table: dict[str, Any]) -> Any:
    if table.get("devices") == "all":
        return "all"
    if isinstance(table.get("devices"), str):
        check.problem(f"devices: {table['devices']!r} must be a whole number of at least 1 or 'all'")
        return None
    return check.integer(table, "devices", "", default=None, low=1)


def _stages(check: Checker, table: dict[str, Any], image_size: Size | None, folder: Path) -> tuple[StageRecipe, ...]:
    common = _parameterization(check, table, "", "pixels", folder)
    stages = table.get("stages")
    if not isinstance(stages, list) or not stages or not all(isinstance(s, dict) for s in stages):
        check.problem("stages: at least one [[stages]] table is needed")
        return ()
    result = []
    for index, stage in enumerate(stages):
        prefix = f"stages[{index}]."
        check.keys(stage, STAGE, prefix)
        size = check.size(stage, "size", prefix, default=image_size)
        if size is None:
            check.problem(f"{prefix}size: needed where image.size is not given")
            continue
        if image_size and (size[0] > image_size[0] or size[1] > image_size[1]):
            check.problem(f"{prefix}size: {list(size)} is larger than image.size {list(image_size)}")
        check.number_or_schedule(stage, "learning_rate", prefix, default=0.05)
        start = check.choice(stage, "start", prefix, ("image", "clean", "detail", "zoom"), "image")
        if index == 0 and start != "image":
            check.problem(f"{prefix}start: {start!r} needs an earlier stage; the first one starts from image.init")
        result.append(
            StageRecipe(
                size=size,
                steps=check.integer(stage, "steps", prefix, default=None, low=0, required=True),
                learning_rate=stage.get("learning_rate", 0.05),
                optimizer=check.name_or_table(stage, "optimizer", prefix, "adam"),
                upsample=check.choice(stage, "upsample", prefix, ("pool", "resize"), "pool"),
                start=start,
                parameterization=_parameterization(check, stage, prefix, common, folder),
            )
        )
    return tuple(result)


def _parameterization(check: Checker, table: dict[str, Any], prefix: str, default: Any, folder: Path) -> Any:
    spec = check.name_or_table(table, "parameterization", prefix, default)
    if isinstance(spec, dict) and isinstance(spec.get("spectrum"), str):
        return spec | {"spectrum": str(folder / spec["spectrum"])}
    return spec


def _labels(check: Checker, image: dict[str, Any]) -> str | tuple[int | str, ...]:
    labels = image.get("labels")
    if labels == "random":
        return "random"
    if labels is None:
        check.problem('image.labels: needed: a list of class ids or names, or "random"')
    elif (
        not isinstance(labels, list)
        or not labels
        or any(isinstance(x, bool) or not isinstance(x, int | str) for x in labels)
    ):
        check.problem(f'image.labels: {labels!r} must be a list of class ids or names, or "random"')
    else:
        return tuple(labels)
    return (0,)


def _path_or_name(value: Any, folder: Path) -> Any:
    """A model is a file (relative to the config) when it looks like one, otherwise a name."""
    if isinstance(value, str) and ("/" in value or value.endswith((".safetensors", ".pth", ".pt", ".th", ".ckpt"))):
        return str(folder / value)
    return value


def _relative(value: str | None, folder: Path) -> str | None:
    return None if value is None else str(folder / value)


def _init(value: str, folder: Path) -> str:
    """ "noise", "class_gaussian" and `package:NAME/FILE` (a file inside an installed package) are no paths."""
    return value if value in ("noise", "class_gaussian") or value.startswith("package:") else str(folder / value)
