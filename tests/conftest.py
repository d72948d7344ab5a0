"""Strict settings for every test: rank promotion raises, warnings are errors (pyproject), types are checked."""

from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real checkpoints and images beside the repository; they are never part of it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real checkpoints and images are not here ({SHARED_DATA})")
    return SHARED_DATA
