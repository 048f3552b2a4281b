"""Argument types the subcommands share."""

from __future__ import annotations

import argparse
import math


def positive_number(text: str) -> float:
    """Reads a finite number above zero.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text!r}")
    return value
