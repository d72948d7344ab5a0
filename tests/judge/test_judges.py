"""Judges by name from the network: fetched once, converted once, said in a line; nothing is fetched for other names."""

import hashlib
from pathlib import Path

import pytest
import torch

import jinv_convert.published
from jinv.cli import main
from jinv.errors import StorageError, UnsafeInputError, UsageError
from jinv.judge.judges import find_judge, judge_file
from tests.converter.checkpoint_files import random_reference
from tests.small_runs import CONFIG, save_tiny


@pytest.fixture
def published(one_block, tmp_path, monkeypatch):
    """A mirror with a published network, called mobilenet_v2, of one block per stage; the name of its file."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    torch.save(random_reference(one_block).state_dict(), mirror / "net.pth")
    digest = hashlib.sha256((mirror / "net.pth").read_bytes()).hexdigest()
    name = f"mobilenet_v2-{digest[:8]}.pth"
    (mirror / "net.pth").rename(mirror / name)
    monkeypatch.setitem(jinv_convert.published.TORCHVISION_FILES, "mobilenet_v2", name)
    monkeypatch.setenv("JINV_MIRROR", mirror.as_uri())
    monkeypatch.setenv("JINV_CACHE", str(tmp_path / "cache"))
    return mirror / name


def test_a_published_judge_is_fetched_once_and_said(published):
    said = []
    judge = find_judge("mobilenet_v2", say=said.append)
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    assert said == [f"fetched mobilenet_v2 from {published.as_uri()}, sha256 {digest}"]
    assert judge.source["source_sha256"] == digest
    # The mirror may go, and the checkpoint too: the conversion is known by the digest that is promised.
    published.unlink()
    converted = Path(judge_file("mobilenet_v2", said.append))
    (converted.parent / published.name).unlink()
    assert judge_file("mobilenet_v2", said.append) == str(converted) and len(said) == 1
    # A damaged one is not taken.
    data = converted.read_bytes()
    converted.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StorageError):
        judge_file("mobilenet_v2", said.append)


def test_another_file_than_the_published_one_is_refused(published):
    published.write_bytes(published.read_bytes() + b"x")
    with pytest.raises(UnsafeInputError, match="does not begin with"):
        judge_file("mobilenet_v2")


@pytest.mark.parametrize("name", ["efficientnet_lite1", "other.safetensors", "mobilenet_v3"])
def test_nothing_is_fetched_for_other_names(published, name):
    said = []
    assert judge_file(name, said.append) == name and said == []
    if name == "mobilenet_v3":
        with pytest.raises(UsageError, match="mobilenet_v3"):
            find_judge(name)


def test_a_run_fetches_its_judge_before_its_first_step_and_offline_leaves_nothing(
    published, one_block, tmp_path, capsys
):
    save_tiny(tmp_path / "tiny.safetensors", 1, name=one_block)
    config = tmp_path / "small.toml"
    config.write_text(CONFIG)
    verifiers = 'evaluate.verifiers=["mobilenet_v2"]'
    kept = published.read_bytes()
    published.unlink()
    assert main(["synthesize", str(config), "--set", verifiers, "--out", str(tmp_path / "run")]) == 5
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert published.name in error and not (tmp_path / "run").exists()
    published.write_bytes(kept)
    assert main(["synthesize", str(config), "--set", verifiers, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert said.count("fetched mobilenet_v2 from") == 1
    assert main(["evaluate", str(tmp_path / "run"), "--verifier", "mobilenet_v2"]) == 0
    assert "fetched" not in capsys.readouterr().err
    assert '"mobilenet_v2"' in (tmp_path / "run" / "evaluation.json").read_text()
