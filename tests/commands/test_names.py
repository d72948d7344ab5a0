"""Names of files and folders that are no UTF-8, or that look like markup: shown, recorded and found again."""

import json
import os
import tomllib
import zipfile

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from jinv.cli import main
from jinv.console import add, make_console, say, table
from jinv.errors import JinvError, legible
from jinv.recipe.paths import on_disk
from tests.small_runs import CONFIG, save_tiny

BYTES = os.fsdecode(b"b\xff\xfe")
NAMES = [BYTES, "[bold]x[/]", "[/red]", ":smile:", "a\nb"]


def picture(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(path, format="PNG")


@pytest.fixture(params=NAMES)
def folder(request, tmp_path, one_block):
    """A folder of that name with a config, networks and real images whose names hold it too."""
    name = request.param.replace("/", "\N{DIVISION SLASH}")
    place = tmp_path / f"in {name}"
    place.mkdir()
    save_tiny(place / "tiny.safetensors", 1, name=one_block)
    save_tiny(place / "other.safetensors", 2, name=one_block)
    for value, label in enumerate(("cat", "ship")):
        picture(place / f"real {name}" / label / f"{name}.png", 60 * value)
    config = CONFIG.replace('"other.safetensors"]', f'"other.safetensors"]\nreference = {json.dumps(f"real {name}")}')
    if name == BYTES:  # TOML can't hold it
        config = CONFIG
    (place / f"small {name}.toml").write_text(config)
    return place, name


def read(path):
    """The text of a file, which is UTF-8."""
    return path.read_bytes().decode()


def test_a_run_in_such_a_folder_is_recorded_judged_reported_resumed_and_repeated(folder, capsys):
    place, name = folder
    out = place / f"out {name}"
    config = place / f"small {name}.toml"
    arguments = ["synthesize", str(config), "--out", str(out), "--set", "stages.0.steps=1", "stages.1.steps=1",
                 f"evaluate.reference={place / f'real {name}'}", f"evaluate.photographs={place / f'real {name}'}",
                 "image.labels=[3, 8]"]  # fmt: skip
    assert main(arguments) == 0, capsys.readouterr().err
    shown = legible(str(out / "grid.png")).replace("\n", "\n")
    assert shown in capsys.readouterr().out
    for file in ("config.toml", "manifest.json", "evaluation.json", "report.html"):
        read(out / file)
    table = tomllib.loads(read(out / "config.toml"))
    assert table["evaluate"]["reference"] == legible(str(place / f"real {name}"))
    assert json.loads(read(out / "manifest.json"))["model"]["name"] == legible(str(place / "tiny.safetensors"))
    verdict = json.loads(read(out / "evaluation.json"))["verifiers"]["other"]
    neighbors = {neighbor["name"] for entry in verdict["reference"]["nearest"] for neighbor in entry["neighbors"]}
    assert neighbors == {legible(f"cat/{name}.png"), legible(f"ship/{name}.png")}
    assert len(list((out / "nearest").iterdir())) == 4
    assert legible(f"cat/{name}.png").replace("\n", "\n") in read(out / "report.html").replace("&#39;", "'")

    images = (out / "images.npy").read_bytes()
    assert main([*arguments, "--resume"]) == 0 and "already finished" in capsys.readouterr().err
    assert main(["evaluate", str(out)]) == 0, capsys.readouterr().err
    again = place / "again"
    assert main(["synthesize", str(out / "config.toml"), "--out", str(again)]) == 0, capsys.readouterr().err
    assert (again / "images.npy").read_bytes() == images
    assert main(["report", str(out), str(again), "--out", str(place / f"{name}.html"), "--sheet",
                 str(place / f"{name}.jpg")]) == 0, capsys.readouterr().err  # fmt: skip
    assert legible(f"out {name}") in read(place / f"{name}.html")


def test_a_config_in_such_a_folder_is_shown(folder, capsys):
    place, name = folder
    assert main(["config", str(place / f"small {name}.toml")]) == 0
    shown = capsys.readouterr().out
    assert tomllib.loads(shown)["model"] == legible(str(place / "tiny.safetensors"))


def test_a_sweep_in_such_a_folder_is_carried_out(folder, capsys):
    place, name = folder
    config, out = place / f"small {name}.toml", place / f"out {name}"
    few = ["--set", "stages.0.steps=1", "stages.1.steps=0", "image.labels=[3]"]
    assert main(["sweep", str(config), "--vary", "seed=[0, 1]", "--out", str(out), *few]) == 0, capsys.readouterr().err
    json.loads(read(out / "sweep.json"))
    read(out / "comparison.html")


def test_a_checkpoint_of_such_a_name_is_converted(folder, capsys, one_block):
    torch = pytest.importorskip("torch")
    from jinv_convert.reference import make_reference

    place, name = folder
    network = make_reference("resnet20")
    torch.save(network.state_dict(), place / "plain.pth")
    (place / "plain.pth").rename(place / f"{name}.pth")
    assert main(["convert", str(place / f"{name}.pth"), str(place / f"{name}.safetensors")]) == 0
    said = capsys.readouterr().out
    if "\n" not in name:
        assert f"{legible(name)}.pth -> {legible(str(place))}/{legible(name)}.safetensors" in said
    from jinv.weights.file import read_converted

    source = read_converted(place / f"{name}.safetensors")[1]["source"]["file"]
    assert source == legible(f"{name}.pth")


def test_a_missing_file_of_such_a_name_is_named_in_one_line(folder, capsys):
    place, name = folder
    for arguments in (["synthesize", f"{place}/no{name}.toml"], ["convert", f"{place}/no{name}.pth", "x.safetensors"],
                      ["report", f"{place}/no{name}"], ["evaluate", f"{place}/no{name}"]):  # fmt: skip
        assert main(arguments) == 5
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and legible(f"no{name}").replace("\n", "\\n") in error


def test_a_zip_with_names_of_other_encodings_is_judged(tmp_path, one_block, capsys):
    save_tiny(tmp_path / "other.safetensors", 2, name=one_block)
    picture(tmp_path / "a.png", 5)
    data = (tmp_path / "a.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "real.zip", "w") as archive:
        archive.writestr("ca__/[b].png", data)
        archive.writestr("cat/\u00e9\u00e8.png", data)
    raw = (tmp_path / "real.zip").read_bytes().replace(b"ca__", b"cat/").replace(b"[b]", b"\xff[\xfe")
    (tmp_path / "real.zip").write_bytes(raw)
    arguments = ["evaluate", str(tmp_path / "real.zip"), "--verifier", str(tmp_path / "other.safetensors")]
    assert main([*arguments, "--json", str(tmp_path / f"{BYTES}.json")]) == 0, capsys.readouterr().err
    assert json.loads(read(tmp_path / f"{BYTES}.json"))["photographs"]["pictures"]["count"] == 2


def test_what_is_legible_is_utf8_and_leads_back_to_the_file(tmp_path):
    assert legible(BYTES) == r"b\xff\xfe" and legible("é [x]") == "é [x]" and legible("\ud800") == r"\ud800"
    assert legible({BYTES: [BYTES, (1, BYTES)]}) == {r"b\xff\xfe": [r"b\xff\xfe", (1, r"b\xff\xfe")]}
    (tmp_path / BYTES).touch()
    assert on_disk(legible(str(tmp_path / BYTES))) == str(tmp_path / BYTES)
    (tmp_path / r"c\xff").touch()
    for path in (tmp_path / r"c\xff", tmp_path / r"gone\xff", tmp_path / r"b\x41"):
        assert on_disk(str(path)) == str(path)
    assert str(JinvError(BYTES)) == r"b\xff\xfe"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("own", [False, True])
def test_whatever_is_said_is_said_literally_and_whole(name, own, capsys):
    console = Console(width=UNLIMITED_OF_A_USER) if own else make_console()
    text = f"/{'long ' * 40}{name}/x"
    say(console, text)
    shown = table(name, "header", title=name, caption=name)
    add(shown, text, name)
    console.print(shown)
    out = capsys.readouterr().out
    for line in legible(name).split("\n"):
        assert out.count(line) >= 5
    if "\n" not in name:
        assert out.count(legible(text)) == 2 and "…" not in out


UNLIMITED_OF_A_USER = 1000
