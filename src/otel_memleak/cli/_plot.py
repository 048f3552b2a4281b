"""The picture of a replay: what was measured, what was found in it, and what comes of it.

matplotlib is an extra and imported when a picture is asked for, not before; through ``importlib``, so that
type checkers do not ask for it either.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from otel_memleak.cli._axes import draw_panel
from otel_memleak.cli._panel import Panel
from otel_memleak.cli._prometheus import selector

_FORMATS: Final = (".png", ".svg")
_MOST_PANELS: Final = 6
_WIDTH_INCHES: Final = 11.0
_HEIGHT_INCHES: Final = 4.8
_HEIGHT_OF_SEVERAL_INCHES: Final = 3.6
_DOTS_PER_INCH: Final = 150
_STYLE: Final[Mapping[str, Any]] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "otel-memleak",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
}


class PlotError(Exception):
    """No picture can be drawn; the message says why and what helps."""


def picture_file(text: str) -> str:
    """Reads the name of a picture to be written.

    Raises:
        argparse.ArgumentTypeError: It does not say the format.
    """
    if os.path.splitext(text)[1].lower() not in _FORMATS:
        raise argparse.ArgumentTypeError(f"must end in .svg or .png, not {text!r}")
    return text


class Plot:
    """A picture with a panel for each series.

    Args:
        path: Where to write it; the ending says the format.

    Raises:
        PlotError: The extra is not installed, or there is no such folder.
    """

    def __init__(self, path: str) -> None:
        try:
            self._matplotlib: Final[Any] = import_module("matplotlib")
            self._figures: Final[Any] = import_module("matplotlib.figure")
        except ImportError as error:
            raise PlotError(
                f"--plot needs matplotlib ({error}); install it with: pip install 'otel-memleak[plot]'"
            ) from None
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise PlotError(f"{path}: there is no folder {folder!r}")
        self._path: Final = path
        self._panels: Final[list[Panel]] = []

    def add_panel(self, labels: Mapping[str, str], name: str) -> Panel:
        """Begins the panel of a series."""
        panel = Panel(selector(labels) if labels else os.path.basename(name))
        self._panels.append(panel)
        return panel

    def draw(self) -> list[str]:
        """Writes the picture.

        Returns:
            What a reader should know of it; empty as a rule.

        Raises:
            PlotError: It cannot be written.
        """
        worth_drawing = sorted((p for p in self._panels if p.series.samples), key=lambda p: not p.leaks)
        shown = worth_drawing[:_MOST_PANELS]
        if not shown:
            return [f"{self._path} is not written: no sample can be drawn"]
        try:
            with self._matplotlib.rc_context(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a label's letters may be in none of the fonts
                self._matplotlib.rcdefaults()
                self._matplotlib.rcParams.update(_STYLE)
                self._write(shown)
        except OSError as error:
            raise PlotError(f"{self._path}: {error.strerror or error}") from error
        left_out = len(worth_drawing) - len(shown)
        return [f"{self._path} leaves out {left_out} of {len(worth_drawing)} series"] if left_out else []

    def _write(self, panels: list[Panel]) -> None:
        height = _HEIGHT_INCHES if len(panels) == 1 else _HEIGHT_OF_SEVERAL_INCHES * len(panels)
        figure = self._figures.Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.12, w_pad=0.1)
        for panel, axes in zip(panels, figure.subplots(len(panels), squeeze=False)[:, 0], strict=True):
            draw_panel(axes, panel)
        figure.savefig(self._path, dpi=_DOTS_PER_INCH, metadata={"Date": None} if self._is_svg else None)

    @property
    def _is_svg(self) -> bool:
        return self._path.lower().endswith(".svg")
