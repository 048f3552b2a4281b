"""What comes through the pipe is bounded, checked, or refused."""

from __future__ import annotations

import contextlib
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_memleak.diagnosis.census import _message
from otel_memleak.diagnosis.census._look import Found
from otel_memleak.diagnosis.census._message import MalformedMessageError
from otel_memleak.diagnosis.census._summary import Row, Summary
from otel_memleak.types import Suspect

SUSPECT = Suspect("shop.Session", "shop:_sessions", "shop.py:3", 12.5, 3.0, 0.75)
SUMMARY = Summary(4.0, True, (Row(-1, "", "", 1, 2, 3, "", False, False),))


def message(cut_short: str = "") -> bytes:
    return _message.encode(Found(SUMMARY, 12, 3400, (SUSPECT,), cut_short))


def forged(head: object, payload: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    return struct.pack("<4sII", b"omc1", len(text), len(payload)) + text + payload


def test_what_is_sent_arrives() -> None:
    """Law: the parent reads what the snapshot found, and keeps the summary unread."""
    census = _message.decode(message(), 9.0)

    assert (census.time_s, census.suspects, census.objects, census.bytes_seen) == (9.0, (SUSPECT,), 12, 3400)
    assert Summary.decode(census.summary) == SUMMARY
    assert census.limits == ""


def test_a_part_says_that_it_is_a_part() -> None:
    """Law: what was not seen is said."""
    assert "it took too long" in _message.decode(message("it took too long"), 0.0).limits


def test_the_reader_knows_how_much_is_missing_at_every_byte() -> None:
    """Law: reading stops exactly at the end, wherever the pipe breaks the message."""
    whole = message()
    for length in range(len(whole)):
        assert 0 < _message.bytes_missing(whole[:length]) <= len(whole) - length
    assert _message.bytes_missing(whole) == 0


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    """Law: bytes that are no message raise one error and nothing else."""
    with pytest.raises(MalformedMessageError):
        _message.decode(noise, 0.0)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_flipped_byte_never_raises_anything_else(place: int, value: int) -> None:
    """Law: a snapshot run wild cannot make the parent fail in a way it does not expect."""
    damaged = bytearray(message())
    damaged[place % len(damaged)] = value
    with contextlib.suppress(MalformedMessageError):
        _message.decode(bytes(damaged), 0.0)


@pytest.mark.parametrize(
    "head",
    [
        [],
        {},
        "text",
        {"objects": 1, "bytes": 1, "suspects": [[1, 2, 3, 4, 5, 6]], "cut_short": ""},
        {"objects": 1, "bytes": 1, "suspects": [["a", "b", "c", float("nan"), 0, 0]], "cut_short": ""},
        {"objects": 1, "bytes": 1, "suspects": [["a"]], "cut_short": ""},
        {"objects": float("inf"), "bytes": 1, "suspects": [], "cut_short": ""},
        {"objects": 1, "bytes": 1, "suspects": [], "cut_short": 7},
    ],
)
def test_a_head_of_the_wrong_form_is_refused(head: object) -> None:
    """Law: every field is checked before it is believed."""
    with pytest.raises(MalformedMessageError):
        _message.decode(forged(head), 0.0)


def test_sizes_are_bounded_before_anything_is_read() -> None:
    """Law: a length in a head is no reason to allocate it."""
    with pytest.raises(MalformedMessageError):
        _message.bytes_missing(struct.pack("<4sII", b"omc1", 10, 1 << 31))
    with pytest.raises(MalformedMessageError):
        _message.bytes_missing(struct.pack("<4sII", b"omc1", 1 << 31, 10))


def test_long_texts_and_many_suspects_are_cut() -> None:
    """Law: what goes into an attribute of a log record has a maximum."""
    head = {
        "objects": 1,
        "bytes": 1,
        "suspects": [["t" * 4000, "o" * 4000, "", 1, 1, 1]] * 7,
        "cut_short": "",
    }
    census = _message.decode(forged(head), 0.0)

    assert len(census.suspects) == 5
    assert max(len(census.suspects[0].type), len(census.suspects[0].owner)) == 500
