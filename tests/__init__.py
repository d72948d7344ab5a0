"""Tests, in rooms as what they test is."""

from tests import typechecker as typechecker  # the import hook of pytest looks for it here
