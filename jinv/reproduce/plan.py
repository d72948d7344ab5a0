"""What `jinv reproduce` is to make: `sheets.toml` beside the configs, read, checked and laid out as runs.

Imports no jax: a plan can be printed, and tested, without a model.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jinv.errors import StorageError, UsageError, nearest
from jinv.recipe.checks import Checker
from jinv.recipe.read import read_config
from jinv.recipe.recipe import Recipe

Preset = Literal["quick", "full"]
FILE = "sheets.toml"

NETWORK = ("title", "preset", "settings", "option", "required", "twin")
FIGURE = ("id", "title", "shows", "classes", "networks", "set", "variants", "chart")
VARIANT = ("name", "set", "start")


@dataclass(frozen=True)
class Network:
    """On what a figure is made; `option` is the command line's name for a file that replaces the model."""

    title: str
    preset: Preset
    settings: str
    option: str | None = None
    required: bool = False
    twin: str | None = None


@dataclass(frozen=True)
class Figure:
    """One figure of the thesis; `classes` are the columns it shows, empty for all; `variants` its panels per network."""

    id: str
    title: str
    shows: str
    networks: tuple[str, ...]
    classes: tuple[int, ...] = ()
    set: dict[str, list[str]] = field(default_factory=dict)
    variants: tuple[dict[str, Any], ...] = ({"name": ""},)
    chart: str = ""

    @property
    def config(self) -> str:
        return f"figure_{self.id.replace('.', '_')}.toml"


@dataclass(frozen=True)
class Sheets:
    """All of `sheets.toml`, checked."""

    folder: Path
    title: str
    original: str
    settings: dict[str, list[str]]
    networks: dict[str, Network]
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Choices:
    """What the command line decides. `files` is by option ("standard", "robust"): converted files."""

    preset: Preset = "quick"
    overrides: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)
    verifiers: tuple[str, ...] = ()
    reference: Path | None = None
    photograph: Path | None = None


@dataclass(frozen=True)
class Panel:
    """One run of one figure: what to carry out and where, or why not. `changes` is the config's --set."""

    figure: str
    network: str
    variant: str
    title: str
    changes: tuple[str, ...] = ()
    recipe: Recipe | None = None
    run: str = ""
    skipped: str = ""


def read_sheets(folder: str | Path) -> Sheets:
    """Read and check the `sheets.toml` of a folder of configs.

    Raises:
      StorageError: no such file. UsageError: anything wrong in it, all problems in one line.
    """
    path = Path(folder) / FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    check = Checker()
    check.keys(table, ("title", "original", "settings", "networks", "figures"), "")
    settings = {name: check.texts(table["settings"], name, "settings.") for name in check.table(table, "settings")}
    networks = {}
    for name in check.table(table, "networks", required=True):
        entry = check.entry(table["networks"], name, "networks.")
        prefix = f"networks.{name}."
        check.keys(entry, NETWORK, prefix)
        preset = check.choice(entry, "preset", prefix, ("quick", "full"), "full")
        chosen = check.choice(entry, "settings", prefix, tuple(settings), next(iter(settings), ""))
        required = check.boolean(entry, "required", prefix, default=False)
        option, twin = check.text(entry, "option", prefix), check.text(entry, "twin", prefix)
        if twin is not None:
            check.choice(entry, "twin", prefix, tuple(table["networks"]), twin)
        networks[name] = Network(check.text(entry, "title", prefix) or name, preset, chosen, option, required, twin)
    figures = tuple(
        _figure(check, entry, prefix, networks, settings) for entry, prefix in check.tables(table, "figures", "")
    )
    names = [
        _run_name(f, network, str(v.get("name", ""))) for f in figures for network in f.networks for v in f.variants
    ]
    for name in sorted({name for name in names if names.count(name) > 1}):
        check.problem(f"two panels are called {name!r}: figures' ids and variants' names have to differ")
    if check.problems:
        raise UsageError(f"{path}: {'; '.join(check.problems[:10])}")
    return Sheets(
        Path(folder), str(table.get("title", "")), str(table.get("original", "")), settings, networks, figures
    )


def _figure(
    check: Checker,
    entry: dict[str, Any],
    prefix: str,
    networks: dict[str, Network],
    settings: dict[str, list[str]],
) -> Figure:
    check.keys(entry, FIGURE, prefix)
    names = check.texts(entry, "networks", prefix)
    for name in names:
        check.choice({"networks": name}, "networks", prefix, tuple(networks), name)
    variants = []
    for variant, place in check.tables({"variants": [{"name": ""}]} | entry, "variants", prefix):
        check.keys(variant, VARIANT, place)
        check.choice(variant, "start", place, ("noise", "photograph", "sample"), "noise")
        check.texts(variant, "set", place)
        if variant.get("name") != "":  # one without a name is the figure itself
            check.text(variant, "name", place, required=True)
        variants.append(variant)
    classes = entry.get("classes", [])
    if not isinstance(classes, list) or any(isinstance(c, bool) or not isinstance(c, int) for c in classes):
        check.problem(f"{prefix}classes: {classes!r} must be a list of class ids")
        classes = []
    changes = check.table(entry, "set")
    check.keys(changes, tuple(settings), f"{prefix}set.")
    return Figure(
        str(check.text(entry, "id", prefix, required=True)),
        str(check.text(entry, "title", prefix, required=True)),
        str(check.text(entry, "shows", prefix) or ""),
        tuple(names),
        tuple(classes),
        {name: check.texts(changes, name, f"{prefix}set.") for name in changes},
        tuple(variants),
        check.choice(entry, "chart", prefix, ("", "confidence"), ""),
    )


def choose_figures(sheets: Sheets, only: Sequence[str]) -> list[str]:
    """The ids of the figures that `only` names, all where it is empty.

    Raises:
      UsageError: no such figure.
    """
    known = [figure.id for figure in sheets.figures]
    for name in only:
        if name not in known:
            raise UsageError(f"--only {name}: no such figure{nearest(name, known)} (known: {', '.join(known)})")
    return [name for name in known if not only or name in only]


def plan(sheets: Sheets, choices: Choices) -> list[Panel]:
    """Every figure's panels. Panels whose recipes are equal share a run, named after the first.

    Raises:
      UsageError, StorageError: as `read_config`.
    """
    panels: list[Panel] = []
    runs: list[tuple[Recipe, str]] = []
    for figure in sheets.figures:
        for name in figure.networks:
            if sheets.networks[name].preset != choices.preset:
                continue
            for variant in figure.variants:
                panel = _panel(sheets, choices, figure, name, variant)
                if panel.recipe is not None:
                    plain = panel.recipe
                    shared = next((run for recipe, run in runs if recipe == plain), None)
                    if shared is None:
                        runs.append((plain, panel.run))
                    panel = replace(panel, run=shared or panel.run)
                panels.append(panel)
    return panels


def network_title(sheets: Sheets, choices: Choices, name: str) -> str:
    """What a network is called; `--set model=` makes it another one than the sheets say."""
    models = [o.partition("=")[2].strip("'\" ") for o in choices.overrides if o.partition("=")[0].strip() == "model"]
    return Path(models[-1]).stem if models else sheets.networks[name].title


def _panel(sheets: Sheets, choices: Choices, figure: Figure, name: str, variant: dict[str, Any]) -> Panel:
    network, variant_name = sheets.networks[name], variant["name"]
    title = ", ".join(part for part in (network_title(sheets, choices, name), variant_name) if part)
    panel = Panel(figure.id, name, variant_name, title)
    file = choices.files.get(network.option or "")
    if network.required and file is None:
        return replace(panel, skipped=f"needs a network of the user's: --{network.option} FILE")
    changes = [
        *sheets.settings[network.settings],
        *figure.set.get(network.settings, []),
        *variant.get("set", []),
    ]
    if file is not None:
        changes.append(f"model={_toml(file.resolve())}")
        if choices.verifiers:
            changes.append(f"evaluate.verifiers=[{', '.join(_toml(v) for v in choices.verifiers)}]")
        if choices.reference:
            changes.append(f"evaluate.reference={_toml(choices.reference.resolve())}")
    if (start := variant.get("start", "noise")) != "noise":
        photograph = sample_photograph() if start == "sample" else choices.photograph
        if photograph is None:
            return replace(panel, skipped="needs a photograph of the class: --photograph FILE")
        changes.append(f"image.init={_toml(photograph.resolve())}")
    changes += choices.overrides
    recipe = read_config(sheets.folder / figure.config, changes)
    model = Path(recipe.model)
    if model.suffix and not model.is_file():
        option = f", or name one with --{network.option} FILE" if network.option else ""
        return replace(panel, skipped=f"there is no {model.name}: convert one to {recipe.model}{option}")
    # The inverted network judges the files too: "classified at about 100 %" is its own opinion.
    if recipe.model not in recipe.evaluate.verifiers:
        changes.append(
            f"evaluate.verifiers=[{', '.join(_toml(v) for v in (*recipe.evaluate.verifiers, recipe.model))}]"
        )
        recipe = read_config(sheets.folder / figure.config, changes)
    return replace(panel, changes=tuple(changes), recipe=recipe, run=_run_name(figure, name, variant_name))


def _run_name(figure: Figure, network: str, variant: str) -> str:
    return "-".join([figure.id, network, *variant.split()])


def sample_photograph() -> Path:
    """The photograph that matplotlib brings along: Grace Hopper's portrait, in the public domain."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def _toml(value: Any) -> str:
    import json

    return json.dumps(str(value), ensure_ascii=False)
