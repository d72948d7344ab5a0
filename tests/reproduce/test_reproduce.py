"""`jinv reproduce`: every figure's config on a tiny network, down to the sheets and the index; and what it refuses."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFont
from rich.console import Console

import jinv.experiment.shared
import jinv.judge.evaluate
import jinv.judge.judges
import jinv.reproduce.carry_out
from jinv.cli import main
from jinv.errors import NumericalError, RunConflictError, StorageError, UsageError
from jinv.experiment.bind import check_recipe
from jinv.report.contact_sheet import MAXIMUM_BYTES, SheetPanel, plain_text, sheet_jpeg
from jinv.reproduce.carry_out import reproduce, unique_runs
from jinv.reproduce.plan import Choices, choose_figures, plan, read_sheets
from tests.judge.test_evaluate import classifier
from tests.report.test_report import Page, make_run

pytestmark = pytest.mark.usefixtures("unoptimized")
FOLDER = "configs/thesis"
FIGURE = '[[figures]]\nid = "1"\ntitle = "t"\nnetworks = ["n"]\n'
FIGURES = ["3.1", "3.2", *(f"4.{i}" for i in range(1, 13))]
TINY = ("model=tiny", "evaluate={}", "image.labels=[0, 1]", "image.count=2", "image.size=16",
        "stages=[{size = 16, steps = 2}]")  # fmt: skip


@pytest.fixture
def tiny(monkeypatch):
    network = replace(classifier(), source={"source": {"sha256": "tiny"}, "source_sha256": "tiny"})  # compiles at once
    monkeypatch.setattr(jinv.experiment.shared, "load", lambda name, **_: network)
    metadata = {"source": {"sha256": "tiny"}, "class_names": network.class_names}
    monkeypatch.setattr(jinv.judge.evaluate, "check_file", lambda name: metadata)
    monkeypatch.setattr(jinv.judge.judges, "load", lambda name: network)


def test_every_figure_of_the_thesis_runs_and_ends_in_a_sheet_and_an_index(tiny, tmp_path, monkeypatch):
    choices = Choices("full", TINY)
    panels = plan(read_sheets(FOLDER), choices)
    index = reproduce(FOLDER, tmp_path, choices, console=Console(file=io.StringIO()))
    # What the tiny overrides make equal is run once; what is left are the seven objectives and a photograph.
    assert len(list((tmp_path / "runs").iterdir())) == len(unique_runs(panels)) < len(panels)
    page = Page(index)
    for figure in FIGURES:
        folder = tmp_path / f"figure_{figure.replace('.', '_')}"
        sheet = Page(folder / "sheet.html")
        assert f"Figure {figure}" in sheet.text and "jinv synthesize" in sheet.text
        assert (folder / "sheet.jpg").stat().st_size <= MAXIMUM_BYTES
        assert f"{folder.name}/sheet.html" in [a.get("href") for a in page.all("a")]
    assert "needs a photograph of the class" in page.text
    findings = json.loads((tmp_path / "findings.json").read_text())
    assert len(findings) == 11 and all(f["findings"] for f in findings)

    def stamps():
        return {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*") if p.is_file()}

    before = stamps()
    monkeypatch.setattr(jinv.reproduce.carry_out, "write_pages", lambda *_, **__: tmp_path)
    reproduce(FOLDER, tmp_path, choices, console=Console(file=io.StringIO()))
    assert stamps() == before
    with pytest.raises(RunConflictError, match="another config"):
        reproduce(
            FOLDER, tmp_path, Choices("full", (*TINY, "seed=5")), only=["4.4"], console=Console(file=io.StringIO())
        )


def test_a_run_that_diverges_stops_no_other_and_one_of_other_settings_does_not_show(tiny, tmp_path, monkeypatch):
    console = Console(file=io.StringIO())
    choices = Choices("full", TINY)
    reproduce(FOLDER, tmp_path, choices, only=["4.1"], console=console)
    carry_out, order = jinv.reproduce.carry_out.run, []

    def diverges(recipe, directory, **options):
        order.append(directory.name)
        if directory.name == "4.3-standard":
            raise NumericalError("step 1: the loss is nan")
        return carry_out(recipe, directory, **options)

    monkeypatch.setattr(jinv.reproduce.carry_out, "run", diverges)
    with pytest.raises(NumericalError, match=r"4.3-standard: step 1: the loss is nan; the pages .*index.html"):
        reproduce(FOLDER, tmp_path, Choices("full", (*TINY, "seed=3")), only=["4.3", "4.4"], console=console)
    assert order == ["4.3-standard", "4.4-standard"]
    pages = {figure: tmp_path / f"figure_{figure}" / "sheet.html" for figure in ("4_1", "4_3", "4_4")}
    text = Page(tmp_path / "index.html").text
    assert "step 1: the loss is nan" in text and "run with other settings than these" in text
    assert pages["4_4"].exists() and not pages["4_3"].exists()
    assert all(
        f["verdict"] == "undecided" for c in json.loads((tmp_path / "findings.json").read_text()) for f in c["findings"]
    )


def test_what_is_wrong_with_a_late_run_is_found_before_the_first(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(jinv.reproduce.carry_out, "run", lambda *_, **__: pytest.fail("a run was started"))
    photograph = Choices("full", TINY, photograph=tmp_path / "nowhere.jpg")
    with pytest.raises(StorageError, match=r"nowhere.jpg"):
        reproduce(FOLDER, tmp_path / "out", photograph, only=["3.1"], console=Console(file=io.StringIO()))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_every_config_is_complete_and_binds(preset, tmp_path):
    file = tmp_path / "network.safetensors"
    file.touch()
    choices = Choices(preset, (), {"standard": file, "robust": file}, ("efficientnet_lite1",), None, file)
    panels = plan(read_sheets(FOLDER), choices)
    assert [f.id for f in read_sheets(FOLDER).figures] == FIGURES
    for panel in panels:
        assert panel.recipe is not None, panel.skipped
        check_recipe(panel.recipe)
        if preset == "full" and panel.figure in FIGURES[2:12]:
            steps = [stage.steps for stage in panel.recipe.stages]
            assert (panel.recipe.image.count, panel.recipe.image.batch, steps) == (84, 84, [2000, 1000])


def test_without_the_users_networks_a_figure_says_what_it_needs():
    panels = plan(read_sheets(FOLDER), Choices("quick"))
    reasons = {p.network: p.skipped for p in panels if p.figure == "4.5"}
    assert "--robust FILE" in reasons["cifar_robust"] and "--standard FILE" in reasons["cifar"] and not reasons["lite0"]
    full = plan(read_sheets(FOLDER), Choices("full"))
    assert all("convert one to" in p.skipped for p in full if p.figure.startswith("4."))


def test_one_run_serves_the_figures_that_share_it():
    panels = plan(read_sheets(FOLDER), Choices("quick"))
    by_figure = {p.figure: p.run for p in panels if p.network == "lite0"}
    assert by_figure["4.4"] == by_figure["4.5"] == by_figure["4.6"] != by_figure["4.7"] == by_figure["4.8"]


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["reproduce"], 2, "which CONFIG_FOLDER"),
        (["reproduce", FOLDER, "--preset", "quik"], 2, "did you mean 'quick'?"),
        (["reproduce", FOLDER, "--only", "4.44"], 2, "did you mean '4.4'?"),
        (["reproduce", "configs"], 5, "sheets.toml: cannot be read"),
        (["reproduce", FOLDER, "--robust", "no.pt"], 5, "no.pt: no such file"),
        (["reproduce", FOLDER, "--set", "image.cuont=3"], 2, "did you mean 'image.count'?"),
        (["reproduce", FOLDER, "--preset", "full"], 2, "nothing can be run"),
    ],
)
def test_mistakes_get_a_line_and_a_code(arguments, code, words, capsys, tmp_path):
    assert main([*arguments, *(["--out", str(tmp_path / "out")] if len(arguments) > 1 else [])]) == code
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_wrong_sheets_file_names_every_problem(tmp_path):
    (tmp_path / "sheets.toml").write_text(
        '[settings]\na = []\n[networks.n]\npreset = "slow"\n[[figures]]\nid = "1"\ntitel = "x"\nnetworks = ["m"]\n'
    )
    with pytest.raises(UsageError) as error:
        read_sheets(tmp_path)
    for words in ("networks.n.preset", "did you mean 'figures[0].title'?", "'m' must be one of 'n'"):
        assert words in str(error.value)
    broken = {
        "figures = [1]": "figures: must be a list of tables",
        "[figures]": "figures: must be a list of tables",
        "[networks.n]\ntitle = 3": "networks.n.title: 3",
        '[networks.n]\nrequired = "yes"': "networks.n.required: 'yes'",
        '[networks.n]\ntwin = "m"': "networks.n.twin: 'm'",
        FIGURE + "classes = 933": "classes: 933",
        FIGURE + 'variants = "a"': "figures[0].variants: must be a list",
        FIGURE + "variants = [{set = []}]": "figures[0].variants[0].name: needed",
        FIGURE + 'variants = [{name = "a", set = [3]}]': "figures[0].variants[0].set: [3]",
        FIGURE + 'variants = [{name = "a b"}, {name = "a  b"}]': "two panels are called '1-n-a-b'",
        FIGURE + "set.b = []": "unknown key 'figures[0].set.b'",
        FIGURE + 'chart = "pie"': "figures[0].chart: 'pie'",
    }
    for text, words in broken.items():
        (tmp_path / "sheets.toml").write_text(text if "networks.n]" in text else text + "\n[networks.n]\n")
        with pytest.raises(UsageError) as error:
            read_sheets(tmp_path)
        assert words in str(error.value)
    with pytest.raises(UsageError, match="no such figure"):
        choose_figures(read_sheets(FOLDER), ["9.9"])


def test_report_puts_runs_on_one_picture(tmp_path):
    runs = [make_run(tmp_path / name) for name in ("one", "two")]
    assert main(["report", *map(str, runs), "--out", str(tmp_path / "c.html"), "--sheet", str(tmp_path / "s.jpg")]) == 0
    with Image.open(tmp_path / "s.jpg") as image:
        assert image.format == "JPEG" and image.width == 1280


def test_many_classes_take_several_lines():
    """Two hundred columns in one line would be six pixels wide each."""
    images = [(f"class {i}", [np.full((32, 32, 3), (200, 30, 30) if i == 44 else 90, np.uint8)]) for i in range(45)]
    with Image.open(io.BytesIO(sheet_jpeg("t", [SheetPanel("p", "", images)]))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 150) & (pixels[..., 1] < 90))
    side = (pixels.shape[1] - 56 - 19 * 6) // 20
    assert len(rows) > 0.9 * side**2 and np.ptp(rows) <= side and np.ptp(columns) <= side


def test_fourteen_single_images_take_two_even_lines():
    images = [(f"class {i}", [np.full((32, 32, 3), (200, 30, 30) if i == 13 else 90, np.uint8)]) for i in range(14)]
    with Image.open(io.BytesIO(sheet_jpeg("t" * 300, [SheetPanel("p", "", images)]))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 150) & (pixels[..., 1] < 90))
    assert np.ptp(rows) == pytest.approx(168, abs=4) and columns.max() == pytest.approx(1280 - 28, abs=8)


def test_every_character_of_a_sheet_is_one_that_its_font_has():
    font = ImageFont.load_default(24)
    missing = bytes(font.getmask("\uffff"))
    text = "Édouard’s crème brûlée – größer, Ångström ñandú čeština Łódź smørrebrød, 224×320, 20\N{THIN SPACE}000 “a” ± … ·"
    assert bytes(font.getmask("×")) == missing and bytes(font.getmask("…")) != missing
    written = plain_text(text)
    assert [c for c in written if bytes(font.getmask(c)) == missing] == []
    assert written.startswith("Edouard’s creme brulee - grosser, Angstrom") and "224x320, 20 000" in written


def test_contact_sheets_stay_small_and_keep_their_columns():
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    panels = [
        SheetPanel(f"panel {i}", "x" * 400, [(f"a class with a long name {j}", [noise] * 3) for j in range(8)])
        for i in range(5)
    ]
    data = sheet_jpeg("t", panels)
    assert len(data) <= MAXIMUM_BYTES
    red = np.zeros((32, 32, 3), np.uint8) + np.array([250, 0, 0], np.uint8)
    with Image.open(io.BytesIO(sheet_jpeg("t", [SheetPanel("p", "", [("a", [255 - red]), ("b", [red])])]))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    left = np.argwhere(abs(pixels - [5, 255, 255]).max(axis=2) < 12)[:, 1]
    right = np.argwhere(abs(pixels - [250, 0, 0]).max(axis=2) < 12)[:, 1]
    assert len(left) > 40000 and len(right) > 40000 and left.max() < right.min()
    with pytest.raises(UsageError, match="no images"):
        sheet_jpeg("t", [SheetPanel("p", "", [])])
