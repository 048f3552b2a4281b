"""The live screen. The only module that imports rich, which is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from otel_memleak.cli import _text
from otel_memleak.cli._picture import Picture

_COLOURS: Final = {"leaking": "red", "suspect": "yellow", "stable": "green"}
_MAX_PANELS: Final = 4
_CURVE_ROWS: Final = 4
_MAX_EVENTS: Final = 3


class LiveView:
    """Draws a panel per process, replaced in place.

    Args:
        stream: The terminal.
        title: What is being watched.
    """

    def __init__(self, stream: TextIO, title: str) -> None:
        self._console: Final = Console(file=stream)
        self._title: Final = title
        self._live: Final = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def update(self, pictures: Sequence[Picture]) -> None:
        self._live.update(self.render(pictures), refresh=True)

    def close(self) -> None:
        self._live.stop()

    def render(self, pictures: Sequence[Picture]) -> RenderableType:
        """Builds the screen; whoever leaks first comes first."""
        width = max(20, self._console.width - 22)
        ranked = sorted(pictures, key=lambda p: (-len(p.leaks), -(p.rss_bytes or 0)))
        parts: list[RenderableType] = [Text(self._title, style="bold")]
        parts += [_panel(picture, width) for picture in ranked[:_MAX_PANELS]]
        if not ranked:
            parts.append(Text("waiting for the first telemetry …", style="dim"))
        if len(ranked) > _MAX_PANELS:
            parts.append(Text(f"… and {len(ranked) - _MAX_PANELS} more processes", style="dim"))
        return Group(*parts)


def _panel(picture: Picture, width: int) -> Panel:
    colour = _COLOURS.get(picture.state, "white")
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", justify="right", no_wrap=True)
    table.add_column()
    rows = _text.curve([rss for _, rss in picture.rss], width, _CURVE_ROWS)
    table.add_row("RSS", _text.memory(picture))
    table.add_row("", Text("\n".join(rows), style=colour))
    table.add_row("state", Text(_text.state(picture), style=f"bold {colour}"))
    table.add_row("growth", _text.rate(picture))
    table.add_row("time to limit", _text.remaining(picture))
    for event in picture.events[-_MAX_EVENTS:]:
        table.add_row("received", Text("\n".join(_text.event_lines(event)), style="bold"))
    return Panel(table, title=picture.name, title_align="left", border_style=colour)
