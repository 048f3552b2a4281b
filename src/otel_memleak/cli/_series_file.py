"""Reading a recorded series, one row at a time: CSV or JSON lines, of any length, in constant memory.

What Prometheus answers is one JSON document with several series; it is recognised here and read elsewhere.

A row that cannot be read is skipped and counted. Only what makes the whole file useless is an error.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Final, Protocol

from otel_memleak.cli._text import count

TIME_COLUMN: Final = "time_s"
RSS_COLUMN: Final = "rss_bytes"
Row = tuple[float, float]
"""Time in seconds, resident memory in bytes."""

_MAX_LINE_BYTES: Final = 1 << 20
_CSV_DELIMITERS: Final = ",;\t"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class InputError(Exception):
    """The whole input is of no use; the message says where and why."""


class LineSource(Protocol):
    """What is needed of a file, opened in binary."""

    def readline(self, size: int, /) -> bytes:
        """Returns the next line, or its first ``size`` bytes; nothing at the end."""
        ...


class Series(Protocol):
    """The rows of one process."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What tells it from other series of the same input; empty where it is the only one."""
        ...

    def __iter__(self) -> Iterator[Row]:
        """Yields every readable row, once."""
        ...

    def remarks(self) -> list[str]:
        """Says, once all is read, what was odd about it; empty when nothing was."""
        ...


class SeriesFile:
    """Iterates over the rows of one file, once, and remembers what was wrong with it.

    Args:
        stream: The file, in binary.
        name: What to call it in messages.

    Attributes:
        labels: None.
        rows: Rows that were read.
        unreadable: Rows that were skipped.
        unordered: Rows that lie before the row in front of them.
    """

    def __init__(self, stream: LineSource, name: str) -> None:
        self._stream: Final = stream
        self._name: Final = name
        self._line = 0
        self._header_line = 0
        self._first_unreadable = 0
        self.labels: Mapping[str, str] = {}
        self.rows = 0
        self.unreadable = 0
        self.unordered = 0

    def __iter__(self) -> Iterator[Row]:
        """Yields every readable row.

        Raises:
            InputError: The file is empty, binary, lacks the columns or has no readable row.
        """
        lines = self._lines()
        first = next((line for line in lines if line.strip()), "")
        if not first:
            raise InputError(f"{self._name} is empty")
        self._header_line = self._line
        parse = self._json_rows if first.lstrip().startswith("{") else self._csv_rows
        previous_s = float("-inf")
        for time_s, rss_bytes in parse(first, lines):
            if time_s < previous_s:
                self.unordered += 1
            previous_s = time_s
            self.rows += 1
            yield time_s, rss_bytes
        if not self.rows:
            raise InputError(self._why_no_rows())

    def remarks(self) -> list[str]:
        """Says, once all is read, what was odd about the file; empty when nothing was."""
        remarks: list[str] = []
        if self.unreadable:
            remarks.append(
                f"{self._name}: skipped {count(self.unreadable, 'row')} that could not be read, "
                f"the first at line {self._first_unreadable}"
            )
        if self.unordered:
            remarks.append(
                f"{self._name}: {count(self.unordered, 'row')} went back in time; "
                "single ones are left out, several in succession count as a clock that was set back"
            )
        return remarks

    def _lines(self) -> Iterator[str]:
        # In pieces, because a "line" of a file without line ends would be the whole file.
        for raw in iter(partial(self._stream.readline, _MAX_LINE_BYTES), b""):
            self._line += 1
            if self._line == 1:
                raw = raw.removeprefix(_BYTE_ORDER_MARK)
            yield self._decoded(raw)

    def _decoded(self, raw: bytes) -> str:
        try:
            if b"\0" not in raw:
                return raw.decode()
        except UnicodeDecodeError:
            pass
        # One damaged line late in a long recording is one lost row; a file that begins so is no recording.
        if self._header_line == 0:
            raise InputError(f"{self._name}: line {self._line} is binary, not CSV or JSON lines")
        return raw.replace(b"\0", b"\xff").decode(errors="replace")

    def _json_rows(self, first: str, rest: Iterable[str]) -> Iterator[Row]:
        for line in chain([first], rest):
            if not line.strip():
                continue
            try:
                cells = json.loads(line)
                yield float(cells[TIME_COLUMN]), float(cells[RSS_COLUMN])
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                self._skip()

    def _csv_rows(self, first: str, rest: Iterable[str]) -> Iterator[Row]:
        delimiter, time_index, rss_index = self._header(first)
        reader = csv.reader(rest, delimiter=delimiter)
        while True:
            try:
                for cells in reader:
                    if cells:
                        yield float(cells[time_index]), float(cells[rss_index])
                return
            except (ValueError, IndexError, csv.Error):
                self._skip()

    def _header(self, line: str) -> tuple[str, int, int]:
        for delimiter in _CSV_DELIMITERS:
            # Column names hold no delimiters; a CSV reader would refuse the overlong line of a wrong file.
            names = [name.strip().strip('"').lower() for name in line.split(delimiter)]
            if TIME_COLUMN in names and RSS_COLUMN in names:
                return delimiter, names.index(TIME_COLUMN), names.index(RSS_COLUMN)
        start = line.strip()[:60]
        raise InputError(
            f"{self._name}: line {self._line} has no columns {TIME_COLUMN} and {RSS_COLUMN}; "
            f"it begins with {start!r}"
        )

    def _skip(self) -> None:
        self.unreadable += 1
        if not self._first_unreadable:
            self._first_unreadable = self._line

    def _why_no_rows(self) -> str:
        if self.unreadable:
            return (
                f"{self._name}: none of its {count(self.unreadable, 'row')} has numbers in "
                f"{TIME_COLUMN} and {RSS_COLUMN}; the first is line {self._first_unreadable}"
            )
        return f"{self._name} has a header but no rows (line {self._line})"
