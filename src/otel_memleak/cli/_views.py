"""Where pictures are shown: plain lines anywhere, or one live screen where there is a terminal for it."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TextIO

from otel_memleak.cli import _text
from otel_memleak.cli._picture import Picture


class View(Protocol):
    """Something that shows pictures again and again until it is closed."""

    def update(self, pictures: Sequence[Picture]) -> None:
        """Shows the present; called several times per second."""
        ...

    def close(self) -> None:
        """Leaves the terminal as a program that prints lines expects it."""
        ...


def can_be_live(stream: TextIO) -> bool:
    """Whether a live screen is possible on that stream: a terminal, and rich installed."""
    return stream.isatty() and importlib.util.find_spec("rich") is not None


class Lines:
    """Prints whole lines to a stream other programs may be writing to.

    It never raises: a program being watched must not suffer because nobody reads the watcher.
    """

    def __init__(self, stream: TextIO, prefix: str = "") -> None:
        self._stream: Final = stream
        self._prefix: Final = prefix

    def print(self, text: str) -> None:
        """Prints one line in a single write; characters the stream cannot encode become "?"."""
        encoding = self._stream.encoding or "utf-8"
        line = f"{self._prefix}{text}\n".encode(encoding, errors="replace").decode(encoding)
        try:
            self._stream.write(line)
            self._stream.flush()
        except (OSError, ValueError):
            return


class PlainView:
    """Prints events as they arrive, state changes, and every now and then where each process is.

    Args:
        lines: Where to print.
        every_s: Seconds between two lines about a process whose state does not change.
        clock: Seconds that never go back.
    """

    def __init__(self, lines: Lines, every_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines: Final = lines
        self._every_s: Final = every_s
        self._clock: Final = clock
        self._said: Final[dict[object, tuple[float, str]]] = {}
        self._events: Final[dict[object, int]] = {}

    def update(self, pictures: Sequence[Picture]) -> None:
        for picture in pictures:
            self._tell_events(picture)
            self._tell_progress(picture)

    def close(self) -> None:
        """Nothing to leave."""

    def _tell_events(self, picture: Picture) -> None:
        told = self._events.get(picture.process, 0)
        for event in picture.events[told:]:
            self._lines.print(f"{picture.name}: {_text.headline(event)}")
        self._events[picture.process] = len(picture.events)

    def _tell_progress(self, picture: Picture) -> None:
        now_s = self._clock()
        said_s, state = self._said.get(picture.process, (-self._every_s, ""))
        if now_s - said_s >= self._every_s or picture.state != state:
            self._lines.print(_text.process_line(picture))
            self._said[picture.process] = (now_s, picture.state)
