"""What tests with real programs need: a place, and an end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest


@pytest.fixture
def end() -> Iterator[ExitStack]:
    """What is registered here is stopped, whatever happens."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of its own, short enough for anybody's path limit."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
