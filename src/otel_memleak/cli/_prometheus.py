"""Reading what Prometheus answers to a range query: ``/api/v1/query_range``, one JSON document.

Such an answer holds at most 11,000 points of each series, so it is read as a whole; a larger document than
any answer is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

from otel_memleak.cli._series_file import TIME_COLUMN, InputError, LineSource, Row, Series, SeriesFile
from otel_memleak.cli._text import count

_MAX_DOCUMENT_BYTES: Final = 64 << 20
_MAX_PIECE_BYTES: Final = 1 << 20
_LINES_LOOKED_AT: Final = 20
_LONGEST_QUOTE: Final = 160
_ENVELOPE: Final = re.compile(rb'\s*\{\s*($|"(status|data|resultType|result|isPartial|warnings|infos)"\s*:)')
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def read_series(stream: LineSource, name: str) -> Sequence[Series]:
    """Tell by the content what a file holds, and give its series.

    Args:
        stream: The file, in binary.
        name: What to call it in messages.

    Returns:
        At least one series; CSV and JSON lines are read as they are iterated.

    Raises:
        InputError: It is an answer of Prometheus that holds no series over time.
    """
    head: list[bytes] = []
    while len(head) < _LINES_LOOKED_AT:
        head.append(stream.readline(_MAX_PIECE_BYTES))
        if head[-1].strip() or not head[-1]:
            break
    whole = _Rejoined(head, stream)
    start = head[-1].removeprefix(_BYTE_ORDER_MARK)
    if _ENVELOPE.match(start) and TIME_COLUMN.encode() not in start[:_LONGEST_QUOTE]:
        return _series_of(_document(whole, name), name)
    return [SeriesFile(whole, name)]


class _Rejoined:
    """A stream with the pieces back in front that were read to look at them."""

    def __init__(self, head: Sequence[bytes], rest: LineSource) -> None:
        self._head = iter(head)
        self._rest = rest

    def readline(self, size: int, /) -> bytes:
        piece = next(self._head, None)
        return self._rest.readline(size) if piece is None else piece


class PrometheusSeries:
    """One series of a matrix.

    Args:
        labels: Of the series; the metric's name is ``__name__``.
        points: Pairs of Unix seconds and a number in a string, as far as they are that.
        name: What to call it in messages.

    Attributes:
        labels: Of the series.
        unreadable: Points that were skipped.
    """

    def __init__(self, labels: Mapping[str, str], points: Sequence[Any], name: str) -> None:
        self.labels: Mapping[str, str] = labels
        self.unreadable = 0
        self._points: Final = points
        self._name: Final = name

    def __iter__(self) -> Iterator[Row]:
        """Yields every readable point; one that Prometheus calls ``NaN`` is a reading that failed."""
        self.unreadable = 0
        for point in self._points:
            try:
                time_s, value = point
                row = float(time_s), float(value)
            except (TypeError, ValueError, OverflowError):
                self.unreadable += 1
            else:
                yield row

    @property
    def has_points(self) -> bool:
        """Whether any of its points can be read."""
        return any(True for _ in self)

    def remarks(self) -> list[str]:
        """Says, once all is read, what was odd about it."""
        if not self._points:
            return [f"{self._name} has no points"]
        if not self.unreadable:
            return []
        return [f"{self._name}: skipped {count(self.unreadable, 'point')} that could not be read"]


def selector(labels: Mapping[str, str]) -> str:
    """Labels as PromQL writes them, on one line and not endless."""
    pairs = [f"{key}={json.dumps(value)}" for key, value in labels.items() if key != "__name__"]
    text = labels.get("__name__", "") + ("{" + ", ".join(pairs) + "}" if pairs else "")
    return _quotable(text) or "{}"


def _document(source: LineSource, name: str) -> dict[str, Any]:
    pieces: list[bytes] = []
    size_bytes = 0
    for piece in iter(partial(source.readline, _MAX_PIECE_BYTES), b""):
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes > _MAX_DOCUMENT_BYTES:
            raise InputError(f"{name}: more than {_MAX_DOCUMENT_BYTES >> 20} MB are no answer of Prometheus")
    try:
        document = json.loads(b"".join(pieces).removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} looks like an answer of Prometheus, but is no JSON: {error}") from None
    return _object(document)


def _series_of(document: dict[str, Any], name: str) -> list[Series]:
    if document.get("status") == "error":
        said = f"{document.get('errorType', 'error')}: {document.get('error', '')}"
        raise InputError(f"{name} holds no series; Prometheus answered {_quotable(said)!r}")
    data = _object(document.get("data", document))
    kind = data.get("resultType")
    if kind != "matrix" or not isinstance(data.get("result"), list):
        found = f"a {kind}" if kind in ("vector", "scalar", "string") else "something else"
        raise InputError(f"{name} holds {found}, not a matrix: ask /api/v1/query_range, over a time")
    entries = _list(data.get("result"))
    if not entries:
        raise InputError(f"{name} is an empty answer: no series matched the query")
    series = [_one(entry, number, name) for number, entry in enumerate(entries, 1)]
    if not any(one.has_points for one in series):
        raise InputError(
            f"{name}: none of its {count(len(series), 'series', '')} has a point that is a number"
        )
    return [*series]


def _one(entry: object, number: int, name: str) -> PrometheusSeries:
    labels = {key: str(value) for key, value in _object(_object(entry).get("metric")).items()}
    points = _list(_object(entry).get("values"))
    return PrometheusSeries(labels, points, f"{name}: series {number} {selector(labels)}")


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list) else ()


def _quotable(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= _LONGEST_QUOTE else shown[: _LONGEST_QUOTE - 1] + "…"
