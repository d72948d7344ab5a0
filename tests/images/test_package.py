"""Files that come with installed packages."""

import importlib.util

import pytest

from jinv.errors import StorageError, UsageError
from jinv.images.package import package_file


def test_a_file_inside_an_installed_package():
    assert package_file("package:matplotlib/mpl-data/sample_data/grace_hopper.jpg").stat().st_size > 10_000
    for name, error in [
        ("package:nosuchpackage/x.jpg", UsageError),
        ("package:matplotlib", UsageError),
        ("package:matplotlib/nowhere.jpg", StorageError),
        ("package:matplotlib/../numpy/__init__.py", StorageError),
        ("package:../x/y", UsageError),
    ]:
        with pytest.raises(error, match="image.init"):
            package_file(name)


def test_a_package_that_an_extra_brings_is_named_with_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "jinv\[photograph\]"'):
        package_file("package:matplotlib/mpl-data/sample_data/grace_hopper.jpg")
