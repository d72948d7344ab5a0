"""The configs that come with jinv, by name: "demo", "peers/deepdream", "quality/lite0".

They are the repository's `configs/`, which lies beside this room: by a link in the repository, as files in a wheel.
"""

from collections.abc import Iterable
from pathlib import Path

from jinv.errors import StorageError, UsageError, nearest
from jinv.recipe.recipe import Recipe

FOLDER = (Path(__file__).parents[1] / "configs").resolve()
_SHEETS = "sheets.toml"

TRAININGS, DISTILLATIONS = "training", "distillation"
"""The folders whose configs are those of other commands, `jinv train` and `jinv distill`."""


def packaged_names(folder: str | None = None) -> list[str]:
    """The names of all packaged experiments, or of what is in such a folder, sorted; a folder's `sheets.toml` is none."""
    paths = (path.relative_to(FOLDER) for path in FOLDER.rglob("*.toml") if path.name != _SHEETS)
    others = (TRAININGS, DISTILLATIONS)
    wanted = (path for path in paths if (path.parts[0] if path.parts[0] in others else None) == folder)
    return sorted(path.with_suffix("").as_posix() for path in wanted)


def find_config(name_or_path: str | Path, *folders: str | None) -> Path:
    """The config that is meant: a file where there is one, else the packaged one of that name, of those in `folders`.

    Raises:
      StorageError: a missing .toml file. UsageError: neither a file nor a packaged config.
    """
    path = Path(name_or_path)
    if path.exists() and not path.is_dir():
        return path
    known, name = [one for folder in folders or (None,) for one in packaged_names(folder)], path.as_posix()
    if path.suffix == ".toml":
        called = name.removesuffix(".toml").removeprefix("configs/")
        hint = f"; the config that comes with jinv is called {called!r}" if called in known else ""
        raise StorageError(f"{path}: no such file{hint}")
    if name not in known:
        what = "a folder, not a config" if path.is_dir() else "no file, and no config that comes with jinv"
        raise UsageError(f"{name}: {what}{nearest(name, known)} (known: {', '.join(known)})")
    return FOLDER / f"{name}.toml"


def find_any_config(name_or_path: str | Path) -> Path:
    """The config that is meant, of whatever command; raises as `find_config`."""
    return find_config(name_or_path, None, TRAININGS, DISTILLATIONS)


def find_folder(name_or_path: str | Path) -> Path:
    """The folder of configs that is meant: one where there is one, else the packaged one of that name ("thesis")."""
    path = Path(name_or_path)
    return path if path.exists() or not (FOLDER / path / _SHEETS).is_file() else FOLDER / path


def check_packaged_files(config: Path, recipe: Recipe) -> None:
    """Refuse a packaged experiment whose files do not come with jinv; raises as `check_files`."""
    check_files(
        config,
        [
            *(("model", model) for model in recipe.models),
            ("student", recipe.student),
            *(("statistics", path) for path in recipe.statistics_files),
            ("image.init", recipe.image.init),
            ("image.init_reference", recipe.image.init_reference),
            *(("evaluate.verifiers", verifier) for verifier in recipe.evaluate.verifiers),
            ("evaluate.reference", recipe.evaluate.reference),
            ("evaluate.photographs", recipe.evaluate.photographs),
        ],
    )


def check_files(config: Path, files: Iterable[tuple[str, str | None]]) -> None:
    """Refuse a packaged config whose files, by key, do not come with jinv, and say how to give others; any other passes.

    Raises:
      StorageError: such as a network that its user has to convert first.
    """
    if not config.is_relative_to(FOLDER):
        return
    folder = config.parent
    for key, value in files:
        # Names of networks and the like are as they were; what is a path was put behind the config's folder.
        if value and Path(value).is_relative_to(folder) and not Path(value).exists():
            name = config.relative_to(FOLDER).with_suffix("").as_posix()
            example = f'{key}=["FILE"]' if key == "evaluate.verifiers" else f"{key}=FILE"
            wanted = Path(value).relative_to(folder)
            raise StorageError(f"{name}: {key}: {wanted} does not come with jinv; give yours by --set '{example}'")
