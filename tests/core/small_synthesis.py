"""Syntheses small enough for tests of the loop: a stage as a config gives it, and the snapshots of a batch."""

import jax.numpy as jnp

from jinv.core.synthesis import Options, synthesize
from jinv.experiment.bind import bind_stage
from jinv.recipe.read import check_config


def stage(steps=5, size=16, rate=0.05, batch=4, terms=(), **keys):
    """A stage as a config's table gives it, with terms of the test's own."""
    table = {
        "model": "tiny",
        "image": {"labels": [0], "size": size},
        "stages": [
            {"size": size, "steps": steps, "learning_rate": rate} | {k: v for k, v in keys.items() if k != "start"}
        ],
        "terms": {"cross_entropy": {}},
    }
    return bind_stage(check_config(table), 0, batch)._replace(terms=list(terms), start=keys.get("start", "image"))


def snapshots(classifier, stages, terms, labels=(1, 2, 3, 4), *, augmentations=(), seed=0, init=None, **options):
    """A generator of a batch's snapshots at 16 px; `terms` and `augmentations` are those of every stage."""
    chosen = [s._replace(terms=list(terms), augmentations=list(augmentations)) for s in stages]
    return synthesize(
        classifier.forward,
        classifier.variables,
        jnp.asarray(labels),
        stages=chosen,
        image_size=(16, 16),
        seed=seed,
        init=init,
        options=Options(**options),
    )
