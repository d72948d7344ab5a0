"""What `jinv reproduce` is to make: `sheets.toml` beside the configs, read, checked and laid out as runs.

Imports no jax: a plan can be printed, and tested, without a model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PrivateAttr, field_validator

from jinv.errors import JinvError, UsageError, nearest
from jinv.images.package import package_file
from jinv.recipe.checking import Must, one_of, shown, unknown_key
from jinv.recipe.declaration import Part, checked, key
from jinv.recipe.read import read_config, read_table
from jinv.recipe.recipe import Recipe
from jinv.recipe.values import Text, Texts, as_tuple

Preset = Literal["quick", "full"]
FILE = "sheets.toml"

SAMPLE_PHOTOGRAPH = "package:matplotlib/mpl-data/sample_data/grace_hopper.jpg"
"""Grace Hopper's portrait, in the public domain."""


class Network(Part):
    """On what a figure is made; `option` is the command line's name for a file that replaces the model."""

    title: Text = key("what it is called; its name where it is not given", "")
    preset: Preset = key("in which preset it is", "full")
    settings: Text = key("which [settings] are its configs' changes; the first where it is not given", "")
    option: Text | None = key("--standard or --robust", None)
    required: bool = key("there is no such network without the option", False)
    twin: Text | None = key("the network that a robust one is compared with", None)


class Variant(Part):
    """A panel of a figure; one with an empty name is the figure itself."""

    name: str = key("what it is called")
    set: Texts = key("changes of the figure's config, as --set takes them", ())
    start: Literal["noise", "photograph", "sample"] = key("what its images start from", "noise")


class Figure(Part):
    """One figure of the thesis; `classes` are the columns it shows, empty for all; `variants` its panels per network."""

    id: Text = key("its number in the thesis")
    title: Text = key("its title")
    shows: str = key("what is to be seen, a sentence", "")
    classes: Annotated[tuple[int, ...], BeforeValidator(as_tuple), Must("a list of class ids")] = key(
        "the columns that are shown", ()
    )
    networks: Texts = key("what it is made on, by name", ())
    set: dict[str, Texts] = key("changes of its config, by the network's settings", default_factory=dict)
    variants: Annotated[tuple[Variant, ...], BeforeValidator(as_tuple)] = key(
        "its panels per network", (Variant(name=""),)
    )
    chart: Literal["", "confidence"] = key("what is drawn besides the images", "")

    @property
    def config(self) -> str:
        """The file name of its config, beside `sheets.toml`."""
        return f"figure_{self.id.replace('.', '_')}.toml"


class Sheets(Part):
    """All of `sheets.toml`, checked."""

    title: str = key("the thesis' subject", "")
    original: str = key("author, title, place and year", "")
    settings: dict[str, Texts] = key("changes of configs by name, as --set takes them", default_factory=dict)
    networks: dict[str, Network] = key("what figures are made on, by name")
    figures: Annotated[tuple[Figure, ...], BeforeValidator(as_tuple)] = key("the figures in their order", ())
    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """Where the file is, and the configs beside it."""
        return self._folder

    def model_post_init(self, context: Any) -> None:
        self._folder = context

    @field_validator("networks", mode="before")
    @classmethod
    def _named(cls, networks: Any, info: Any) -> Any:
        if not isinstance(networks, dict):
            return networks
        settings = list(info.data.get("settings", {}))
        first = {"settings": settings[0]} if settings else {}
        return {
            name: {"title": name} | first | entry if isinstance(entry, dict) else entry
            for name, entry in networks.items()
        }

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[str]:
        networks, settings = _entries(table.get("networks")), _entries(table.get("settings"))
        for name, entry in networks.items():
            yield from _not_among(entry, "settings", f"networks.{name}.", settings)
            yield from _not_among(entry, "twin", f"networks.{name}.", networks)
        runs = []
        figures = table.get("figures")
        for index, figure in enumerate(figures if isinstance(figures, list) else ()):
            if not isinstance(figure, dict):
                continue
            place = f"figures[{index}]."
            names, variants = figure.get("networks"), figure.get("variants", [{"name": ""}])
            for name in names if isinstance(names, list) else ():
                yield from _not_among({"networks": name}, "networks", place, networks)
                runs += [
                    _run_name(str(figure.get("id")), str(name), str(variant.get("name", "")))
                    for variant in (variants if isinstance(variants, list) else ())
                    if isinstance(variant, dict)
                ]
            for name in _entries(figure.get("set")):
                if name not in settings:
                    yield unknown_key(name, settings, f"{place}set.")
        for name in sorted({name for name in runs if runs.count(name) > 1}):
            yield f"two panels are called {name!r}: figures' ids and variants' names have to differ"


def _entries(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _not_among(entry: Any, name: str, prefix: str, known: Mapping[str, Any]) -> Iterator[str]:
    value = entry.get(name) if isinstance(entry, dict) else None
    if isinstance(value, str) and value not in known:
        yield f"{prefix}{name}: {shown(value)} must be {one_of(known)}"


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
    return checked(Sheets, read_table(path), where=str(path), folder=Path(folder))


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


def _panel(sheets: Sheets, choices: Choices, figure: Figure, name: str, variant: Variant) -> Panel:
    network, variant_name = sheets.networks[name], variant.name
    title = ", ".join(part for part in (network_title(sheets, choices, name), variant_name) if part)
    panel = Panel(figure.id, name, variant_name, title)
    file = choices.files.get(network.option or "")
    if network.required and file is None:
        return replace(panel, skipped=f"needs a network of the user's: --{network.option} FILE")
    changes = [
        *sheets.settings.get(network.settings, ()),
        *figure.set.get(network.settings, ()),
        *variant.set,
    ]
    if file is not None:
        changes.append(f"model={_toml(file.resolve())}")
        if choices.verifiers:
            changes.append(f"evaluate.verifiers=[{', '.join(_toml(v) for v in choices.verifiers)}]")
        if choices.reference:
            changes.append(f"evaluate.reference={_toml(choices.reference.resolve())}")
    if variant.start == "sample":
        try:
            package_file(SAMPLE_PHOTOGRAPH)
        except JinvError as error:
            return replace(panel, skipped=str(error))
        changes.append(f"image.init={_toml(SAMPLE_PHOTOGRAPH)}")
    elif variant.start == "photograph":
        if choices.photograph is None:
            return replace(panel, skipped="needs a photograph of the class: --photograph FILE")
        changes.append(f"image.init={_toml(choices.photograph.resolve())}")
    changes += choices.overrides
    recipe = read_config(sheets.folder / figure.config, changes)
    for model in map(Path, recipe.models):
        if not model.suffix or model.is_file():
            continue
        option = f", or name one with --{network.option} FILE" if network.option else ""
        return replace(panel, skipped=f"there is no {model.name}: convert one to {model}{option}")
    # The inverted network judges the files too: "classified at about 100 %" is its own opinion.
    judges = dict.fromkeys((*recipe.evaluate.verifiers, *recipe.models))
    if len(judges) > len(recipe.evaluate.verifiers):
        changes.append(f"evaluate.verifiers=[{', '.join(_toml(judge) for judge in judges)}]")
        recipe = read_config(sheets.folder / figure.config, changes)
    return replace(panel, changes=tuple(changes), recipe=recipe, run=_run_name(figure.id, name, variant_name))


def _run_name(figure: str, network: str, variant: str) -> str:
    return "-".join([figure, network, *variant.split()])


def _toml(value: Any) -> str:
    import json

    return json.dumps(str(value), ensure_ascii=False)
