"""The file's content. Every version that was ever released is read for ever; see ``tests/data/state``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, cast

from otel_memleak.detector.state import DetectorState, Plain, keys, number
from otel_memleak.records import NamedTuple

FORMAT: Final = "otel-memleak-state"
VERSION: Final = 1
LARGEST_BYTES: Final = 65_536
_LATEST_S: Final = 1e12
_LONGEST_NAME: Final = 255
_LONGEST_SENTENCE: Final = 2000
_FOREIGN: Final = "it is not a state file of otel_memleak"


class RefusedError(Exception):
    """The file is not one that we may use; its text says why."""


class Owner(NamedTuple):
    """Whose record it is.

    Attributes:
        service: ``service.name``; empty when unknown.
        program: Name of the script or module; empty when unknown.
        role: ``main``, or ``forked`` for a worker.
    """

    service: str
    program: str
    role: str


class LastWords(NamedTuple):
    """What was said just before the limit.

    Attributes:
        time_s: Unix seconds.
        sentence: For people.
    """

    time_s: float
    sentence: str


class Document(NamedTuple):
    """One file.

    Attributes:
        saved_s: When it was written, Unix seconds.
        owner: By whom.
        detector: What the detector knew, checked.
        last_words: What was said just before the limit, if it came to that.
    """

    saved_s: float
    owner: Owner
    detector: Plain
    last_words: LastWords | None


def encode(document: Document) -> bytes:
    """The file's bytes; ASCII, one line."""
    words = document.last_words
    return json.dumps(
        {
            "format": FORMAT,
            "version": VERSION,
            "saved_s": document.saved_s,
            "owner": document.owner._asdict(),
            "detector": document.detector,
            "last_words": None if words is None else words._asdict(),
        },
        allow_nan=False,
    ).encode("ascii")


def decode(content: bytes) -> Document:
    """Read a file's bytes, whatever they are.

    Raises:
        RefusedError: They are not what `encode` of this or an earlier version writes.
    """
    if len(content) > LARGEST_BYTES:
        raise RefusedError(f"it is larger than {LARGEST_BYTES} bytes")
    try:
        value: object = json.loads(content.decode("ascii"))
    except (ValueError, RecursionError):
        raise RefusedError("it is not JSON, or only a part of it") from None
    if not isinstance(value, dict):
        raise RefusedError(_FOREIGN)
    fields = cast("dict[str, object]", value)
    if fields.get("format") != FORMAT:
        raise RefusedError(_FOREIGN)
    version = fields.pop("version", None)
    read = _READERS.get(version) if isinstance(version, int) and not isinstance(version, bool) else None
    if read is None:
        newer = isinstance(version, int) and version > VERSION
        raise RefusedError("a newer version has written it" if newer else "its version is unknown")
    try:
        return read(fields)
    except ValueError as error:
        raise RefusedError(f"{error}") from None


def _read_1(value: object) -> Document:
    fields = keys("the file", value, ("format", "saved_s", "owner", "detector", "last_words"))
    return Document(
        number("saved_s", fields["saved_s"], 0.0, _LATEST_S),
        _owner(fields["owner"]),
        DetectorState.of_plain(fields["detector"]).plain(),
        None if fields["last_words"] is None else _last_words(fields["last_words"]),
    )


_READERS: Final[dict[int, Callable[[object], Document]]] = {1: _read_1}


def _owner(value: object) -> Owner:
    fields = keys("owner", value, Owner._fields)
    return Owner(*(_text(name, fields[name], _LONGEST_NAME) for name in Owner._fields))


def _last_words(value: object) -> LastWords:
    fields = keys("last_words", value, LastWords._fields)
    return LastWords(
        number("time_s", fields["time_s"], 0.0, _LATEST_S),
        _text("sentence", fields["sentence"], _LONGEST_SENTENCE),
    )


def _text(name: str, value: object, longest: int) -> str:
    """A line of text; it may end in somebody's terminal, so control characters are refused."""
    if isinstance(value, str) and len(value) <= longest and (value.isprintable()):
        return value
    raise ValueError(f"{name} is not a line of at most {longest} characters")


def tidy(text: str, longest: int = _LONGEST_NAME) -> str:
    """A text as `decode` accepts it back."""
    return "".join(c if c.isprintable() else "?" for c in text[:longest])


def tidy_sentence(text: str) -> str:
    """A sentence as `decode` accepts it back."""
    return tidy(text, _LONGEST_SENTENCE)
