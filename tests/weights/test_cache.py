"""The cache: what was made here is taken from it, and nothing else; users without a home have one."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import jinv
from jinv.errors import StorageError, UnsafeInputError
from jinv.weights import cache
from jinv.weights.cache import cache_directory, check_own, make_cache_directory
from jinv.weights.file import NetworkMetadata, read_converted, save_converted
from jinv.weights.load import converted_file
from tests.compiling import unoptimized_process
from tests.converter.checkpoint_files import random_reference
from tests.small_runs import CONFIG, save_tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("JINV_CACHE", str(tmp_path / "cache"))
    cache.tell.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def checkpoint(tmp_path, one_block):
    torch.save(random_reference(one_block).state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def tampered(path, out):
    """The file with other weights, all digests in it consistent, saying that it comes from the same checkpoint."""
    arrays, found = read_converted(path)
    keys = ("architecture", "mean", "std", "input_size", "num_classes", "source", "class_names", "clamp", "notes")
    save_converted(
        out, {name: array * 2 for name, array in arrays.items()}, NetworkMetadata(**{k: found[k] for k in keys})
    )


def test_a_file_with_consistent_digests_that_was_not_made_here_is_made_anew(place, checkpoint, caplog):
    cached = converted_file(checkpoint)
    data = cached.read_bytes()
    tampered(cached, cached)
    assert cached.read_bytes() != data and jinv.load(cached)  # it is sound
    assert converted_file(checkpoint) == cached and cached.read_bytes() == data
    assert [record.getMessage() for record in caplog.records] == [
        f"jinv: note: {cached}: not in the list of what was converted here; converted anew"
    ]


def test_an_embedded_networks_conversion_is_its_own(place):
    name = "efficientnet_lite0"
    expected = jinv.load(name).variables["params"]
    (cached,) = place.iterdir()
    tampered(cached, cached)
    leaf = jinv.load(name).variables["params"]
    import jax

    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), leaf, expected))


def test_a_file_put_there_before_anything_was_made_is_not_taken(place, checkpoint, tmp_path):
    cached = converted_file(checkpoint)
    data = cached.read_bytes()
    tampered(cached, tmp_path / "other.safetensors")
    shutil.rmtree(place)
    os.unlink(tmp_path / "cache.digests")
    place.mkdir()
    shutil.copy(tmp_path / "other.safetensors", cached)
    assert converted_file(checkpoint).read_bytes() == data


def test_what_was_made_here_is_made_once_and_listed_for_its_owner_alone(place, checkpoint, tmp_path, monkeypatch):
    old = os.umask(0o002)
    try:
        cached = converted_file(checkpoint)
    finally:
        os.umask(old)
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    record = tmp_path / "cache.digests"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert json.loads(record.read_text()) == {cached.name: read_converted(cached)[1]["sha256_of_metadata"]}
    stamp = cached.stat().st_mtime_ns
    assert converted_file(checkpoint).stat().st_mtime_ns == stamp


def test_a_list_that_others_can_write_says_nothing(place, checkpoint, tmp_path):
    cached = converted_file(checkpoint)
    data, record = cached.read_bytes(), tmp_path / "cache.digests"
    tampered(cached, cached)
    record.write_text(json.dumps({cached.name: read_converted(cached)[1]["sha256_of_metadata"]}))
    record.chmod(0o666)
    assert converted_file(checkpoint).read_bytes() == data
    assert stat.S_IMODE(record.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"a": 3}', "\xff"])
def test_a_damaged_list_costs_a_conversion(text, place, checkpoint, tmp_path):
    cached = converted_file(checkpoint)
    data = cached.read_bytes()
    (tmp_path / "cache.digests").write_bytes(text.encode("latin-1"))
    assert converted_file(checkpoint).read_bytes() == data


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o775])
def test_a_cache_that_others_can_write_is_refused_in_one_line(mode, place, checkpoint, monkeypatch):
    monkeypatch.setattr(cache, "_is_own_group", lambda number: False)
    place.mkdir()
    place.chmod(mode)
    for use in (lambda: jinv.load("efficientnet_lite0"), lambda: converted_file(checkpoint)):
        with pytest.raises(UnsafeInputError, match=f"{place}: can be written by .* \\(mode {mode:o}\\).*JINV_CACHE"):
            use()
    assert not list(place.iterdir())
    from jinv.cli import main

    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert main(["synthesize", "demo", "--out", str(place.parent / "run")]) == 3
    assert not (place.parent / "run").exists()


def test_a_cache_of_somebody_else_is_refused_but_not_one_that_only_adds(place, monkeypatch):
    make_cache_directory()
    place.chmod(0o1777)
    check_own(place)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    found = os.stat(place)
    if found.st_uid == 0:
        os.chown(place, 4321, -1)
    with pytest.raises(UnsafeInputError, match=f"{place}: belongs to user"):
        check_own(place)


def test_a_group_of_ones_own_is_no_others(place, monkeypatch):
    import grp
    import pwd

    make_cache_directory()
    place.chmod(0o775)
    own = pwd.struct_passwd(("me", "x", 0, 0, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda number: own)
    monkeypatch.setattr(grp, "getgrgid", lambda number: grp.struct_group(("me", "x", 0, [])))
    check_own(place)
    monkeypatch.setattr(grp, "getgrgid", lambda number: grp.struct_group(("me", "x", 0, ["you"])))
    with pytest.raises(UnsafeInputError, match="by its group"):
        check_own(place)


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    for name in ("JINV_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    cache.tell.cache_clear()
    return tmp_path / "tmp" / f"jinv-{os.geteuid()}"


def test_who_has_no_home_has_a_temporary_cache_and_is_told(homeless, monkeypatch, caplog):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    assert cache_directory() == make_cache_directory() == homeless and homeless.is_dir()
    (said,) = (record.getMessage() for record in caplog.records)
    assert "no home directory" in said and str(homeless) in said and "\n" not in said


@pytest.mark.parametrize("kind", ["a file", "below a file", "a dangling link"])
def test_a_home_that_cannot_be_written_is_said(kind, homeless, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    paths = {"a file": "file", "below a file": "file/home", "a dangling link": "link"}
    monkeypatch.setenv("HOME", str(tmp_path / paths[kind]))
    assert make_cache_directory() == homeless
    assert "cannot be written" in caplog.records[0].getMessage()


def test_a_home_that_is_not_there_yet_is_made(homeless, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "new" / "home"))
    assert make_cache_directory() == tmp_path / "new" / "home" / ".cache" / "jinv"


def test_a_cache_that_was_asked_for_and_cannot_be_made_is_one_line(homeless, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JINV_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StorageError, match="cannot be created: Not a directory; set JINV_CACHE"):
        make_cache_directory()


UNKNOWN = """
import os, pwd, sys
def nobody(*_):
    raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = pwd.getpwnam = nobody
from jinv.cli import run
sys.exit(run())
"""


@pytest.mark.parametrize("home", [None, "file"])
def test_a_run_of_a_user_whom_the_system_does_not_know_is_carried_out(home, tmp_path):
    """No entry in passwd, and `env -i`: without HOME, or with one that is a file."""
    save_tiny(tmp_path / "tiny.safetensors", 1)
    (tmp_path / "file").touch()
    (tmp_path / "small.toml").write_text(CONFIG)
    few = ["image.labels=[3]", "stages.0.steps=1", "stages.1.steps=0", "evaluate.verifiers=[]"]
    variables = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)} | unoptimized_process()
    variables |= {"HOME": str(tmp_path / home)} if home else {}
    done = subprocess.run(
        [sys.executable, "-c", UNKNOWN, "synthesize", "small.toml", "--out", "run", "--set", *few],
        cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "run" / "report.html").exists()
    said = [line for line in done.stderr.splitlines() if "converted weights are kept in" in line]
    assert len(said) == 1 and str(tmp_path / f"jinv-{os.geteuid()}") in said[0]
