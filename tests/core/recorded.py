"""Made-up recorded statistics, for networks whose terms compare with some."""

import jax.numpy as jnp
import numpy as np

from jinv.core.types import RecordedStats


def recorded_stats(channels, *, cells=16, quantiles=5, classes=12, seed=0, dtype=jnp.float32):
    """Statistics of one layer; its first channel and first cell never varied."""
    random = np.random.default_rng(seed)
    var, cell_var = random.uniform(0.5, 2, channels), random.uniform(0.5, 2, cells)
    var[0] = cell_var[0] = 0
    arrays = {
        "mean": random.normal(size=channels),
        "var": var,
        "cell_mean": random.normal(size=cells),
        "cell_var": cell_var,
        "quantiles": np.sort(random.normal(size=(quantiles, channels)), axis=0),
        "class_mean": random.normal(size=(classes, channels)),
        "class_var": random.uniform(0.5, 2, (classes, channels)),
        "class_quantiles": np.sort(random.normal(size=(classes, quantiles, channels)), axis=1),
    }
    return RecordedStats(**{name: jnp.asarray(array, dtype) for name, array in arrays.items()})
