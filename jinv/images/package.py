"""Pictures that come with an installed package, which is not imported for them: `package:NAME/FILE`."""

import importlib.util
from pathlib import Path

from jinv.errors import StorageError, UsageError

EXTRAS = {"matplotlib": "photograph"}
"""The packages that an extra of jinv brings."""


def package_file(name: str) -> Path:
    """The file that `package:NAME/FILE` names, inside the installed package NAME.

    Raises:
      UsageError: no such package. StorageError: no such file in it.
    """
    package, _, inside = name.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations or not inside:
        extra = f'; run `pip install "jinv[{EXTRAS[package]}]"`' if package in EXTRAS and inside else ""
        raise UsageError(f"{name}: expected package:NAME/FILE with an installed package NAME (image.init){extra}")
    folder = Path(next(iter(spec.submodule_search_locations))).resolve()
    path = (folder / inside).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise StorageError(f"{name}: no such file in {folder} (image.init)")
    return path
