"""The config as it was carried out: what a run directory keeps, and what `--resume` compares."""

from pathlib import Path
from typing import Any

from jinv.recipe.recipe import Recipe


def resolved_table(recipe: Recipe, labels: list[int], size: tuple[int, int]) -> dict[str, Any]:
    """The config as it was carried out: labels as ids, sizes and defaults filled in, paths absolute."""

    def location(value: str) -> str:
        return str(Path(value).resolve()) if "/" in value or Path(value).exists() else value

    def located(spec: Any) -> Any:
        if isinstance(spec, dict) and "spectrum" in spec:
            return spec | {"spectrum": str(Path(spec["spectrum"]).resolve())}
        return spec

    image: dict[str, Any] = {
        "size": list(size),
        "count": recipe.image.count,
        "batch": recipe.image.batch,
        "labels": labels,
    }
    named = recipe.image.init in ("noise", "class_gaussian") or recipe.image.init.startswith("package:")
    image["init"] = recipe.image.init if named else str(Path(recipe.image.init).resolve())
    if recipe.image.init_reference:
        image |= {
            "init_reference": str(Path(recipe.image.init_reference).resolve()),
            "init_pool": recipe.image.init_pool,
        }
    table: dict[str, Any] = {
        "model": location(recipe.model),
        "seed": recipe.seed,
        "keep": recipe.keep,
        "clip": recipe.clip,
    }
    if recipe.clip == "fixed":
        table["clip_bounds"] = list(recipe.clip_bounds)
    if recipe.devices:
        table["devices"] = recipe.devices
    if recipe.student:
        table["student"] = location(recipe.student)
    # Only where they are set: a run from before these keys existed can still be resumed.
    if recipe.precision != "float32":
        table["precision"] = recipe.precision
    if recipe.remat:
        table["remat"] = True
    if recipe.image.chunk:
        image["chunk"] = recipe.image.chunk
    if recipe.copies > 1:
        table["copies"] = recipe.copies
    if recipe.log_gradients:
        table["log_gradients"] = True
    table |= {
        "log_every": recipe.log_every,
        "image": image,
        "stages": [],
        "augment": recipe.augment,
        "terms": recipe.terms,
    }
    for stage in recipe.stages:
        table["stages"].append(
            {
                "size": list(stage.size),
                "steps": stage.steps,
                "learning_rate": stage.learning_rate,
                "optimizer": stage.optimizer,
                "upsample": stage.upsample,
                **({} if stage.start == "image" else {"start": stage.start}),
                **({} if stage.parameterization == "pixels" else {"parameterization": located(stage.parameterization)}),
            }  # fmt: skip
        )
    evaluate: dict[str, Any] = {"verifiers": [location(v) for v in recipe.evaluate.verifiers]}
    if recipe.evaluate.reference:
        evaluate["reference"] = str(Path(recipe.evaluate.reference).resolve())
    if recipe.evaluate.verifiers or recipe.evaluate.reference:
        table["evaluate"] = evaluate
    if recipe.checkpoint.every_steps:
        table["checkpoint"] = {"every_steps": recipe.checkpoint.every_steps}
    return table
