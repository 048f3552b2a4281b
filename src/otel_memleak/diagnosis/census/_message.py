"""What comes back through the pipe, and reading it with suspicion.

A head in JSON, which the parent reads, and a summary, which it only keeps. A snapshot may be killed in the
middle of a word or run wild; whatever arrives is bounded, checked field by field, or refused.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import Any, Final

from otel_memleak.diagnosis.census._look import Found
from otel_memleak.diagnosis.census._summary import MAX_BYTES
from otel_memleak.types import Suspect

_MAGIC: Final = b"omc1"
_PREFIX: Final = struct.Struct("<4sII")
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_PAYLOAD_BYTES: Final = MAX_BYTES
_MAX_TEXT: Final = 500
_MAX_SUSPECTS: Final = 5


class MalformedMessageError(ValueError):
    """What arrived is no message of ours."""


@dataclass(frozen=True, slots=True)
class Census:
    """What one census found.

    Attributes:
        time_s: When it was taken, on the caller's clock.
        suspects: What grew since the earlier censuses, worst first; empty for the first one.
        objects: Objects counted.
        bytes_seen: Their size, in bytes.
        summary: Opaque; to be given to the next census.
        in_process: Whether it was taken from inside, which sees less.
        limits: What could not be seen, in words; empty when nothing was missed.
    """

    time_s: float
    suspects: tuple[Suspect, ...]
    objects: int
    bytes_seen: int
    summary: bytes
    in_process: bool = False
    limits: str = ""


def encode(found: Found) -> bytes:
    """A message with what a snapshot found."""
    payload = found.summary.encode()
    suspects = [
        [s.type, s.owner, s.site, s.growth_bytes_per_hour, s.growth_count_per_hour, s.share]
        for s in found.suspects
    ]
    head = {
        "objects": found.objects,
        "bytes": found.bytes_seen,
        "suspects": suspects,
        "cut_short": found.cut_short,
    }
    text = json.dumps(head).encode()
    return _PREFIX.pack(_MAGIC, len(text), len(payload)) + text + payload


def bytes_missing(received: bytes | bytearray) -> int:
    """How much is still to come.

    Raises:
        MalformedMessageError: This will never be a message.
    """
    if len(received) < _PREFIX.size:
        return _PREFIX.size - len(received)
    magic, head, payload = _PREFIX.unpack_from(received)
    if magic != _MAGIC or head > MAX_HEAD_BYTES or payload > MAX_PAYLOAD_BYTES:
        raise MalformedMessageError("not a census")
    return max(_PREFIX.size + int(head) + int(payload) - len(received), 0)


def decode(received: bytes, time_s: float) -> Census:
    """What a whole message says.

    Raises:
        MalformedMessageError: It says something else.
    """
    if bytes_missing(received):
        raise MalformedMessageError("incomplete")
    _, head_size, _ = _PREFIX.unpack_from(received)
    start = _PREFIX.size + int(head_size)
    try:
        head = json.loads(received[_PREFIX.size : start])
        suspects = tuple(_suspect(one) for one in head["suspects"][:_MAX_SUSPECTS])
        return Census(
            time_s=time_s,
            suspects=suspects,
            objects=int(head["objects"]),
            bytes_seen=int(head["bytes"]),
            summary=received[start:],
            limits=_limits(_text(head["cut_short"])),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise MalformedMessageError(f"{type(error).__name__}") from error


def _limits(cut_short: str) -> str:
    return f"the heap census saw only a part: {cut_short}" if cut_short else ""


def _suspect(fields: Any) -> Suspect:
    kind, owner, site, growth, count, share = fields
    return Suspect(_text(kind), _text(owner), _text(site), _number(growth), _number(count), _number(share))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedMessageError("text expected")
    return value[:_MAX_TEXT]


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise MalformedMessageError("number expected")
    return number
