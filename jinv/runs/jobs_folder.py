"""What tasks need beside a run's directory: the config and the plugins as they were when the tasks were given away."""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import tomli_w

from jinv.errors import StorageError, UsageError
from jinv.experiment.plugin_names import is_module, read_source
from jinv.files import make_directory, write_bytes, write_text
from jinv.recipe.recipe import Recipe
from jinv.recipe.resolved import resolved_table


@contextmanager
def withdrawn_if_refused(folder: Path) -> Iterator[None]:
    """A run of which nothing was submitted leaves no jobs' folder; to one that was there before nothing has come."""
    before = set(folder.iterdir()) if folder.is_dir() else None
    try:
        yield
    except UsageError:
        if before is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            for path in set(folder.iterdir()) - before:
                path.unlink(missing_ok=True)
        raise


def keep_config(recipe: Recipe, folder: Path) -> Path:
    """The config as it is now, in the jobs' folder: tasks may begin long after the user's file was changed.

    Raises:
      StorageError: it cannot be written.
    """
    text = tomli_w.dumps(resolved_table(recipe))
    config = folder / f"config-{hashlib.sha256(text.encode()).hexdigest()[:12]}.toml"
    try:
        make_directory(folder)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be created: {error.strerror or error}") from error
    write_text(config, text)
    return config


def keep_plugins(plugins: Sequence[str], folder: Path) -> list[str]:
    """What tasks name them by: files, as configs, are kept as they are now; modules have to be installed where tasks run.

    Raises:
      UsageError, StorageError: one cannot be read, or kept.
    """
    kept = []
    for plugin in plugins:
        if not is_module(plugin):
            source = read_source(plugin)
            copy = folder / f"{Path(plugin).stem}-{hashlib.sha256(source).hexdigest()[:12]}.py"
            write_bytes(copy, source)
            plugin = str(copy)
        kept.append(plugin)
    return kept
