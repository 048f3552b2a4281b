"""What the course of a check asks for."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class Calls:
    """Call the callable so often."""

    count: int


@dataclass(frozen=True, slots=True)
class Idle:
    """Call nothing for so long."""

    seconds: float


_Result = TypeVar("_Result")
Steps = Generator["Calls | Idle", None, _Result]
"""Yields what is to be done and goes on when that is done."""
