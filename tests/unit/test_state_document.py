"""The content of a state file: every version that was written is read for ever, everything else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otel_memleak.detector import LeakDetector
from otel_memleak.state.document import (
    LARGEST_BYTES,
    VERSION,
    Document,
    LastWords,
    Owner,
    RefusedError,
    decode,
    encode,
    tidy_sentence,
)
from otel_memleak.state.owner import owner_of_this_process

GOLDEN = sorted((Path(__file__).parents[1] / "data" / "state").glob("v*.json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_file_of_every_released_version_is_read(path: Path) -> None:
    """These files are never changed: a new version adds its own, and its code goes on reading the old ones."""
    document = decode(path.read_bytes())
    detector = LeakDetector()

    detector.restore_state(document.detector)

    assert document.owner.program
    assert (detector.state == "leaking") == ("incident" in path.stem)


def test_there_is_a_golden_file_of_the_version_that_is_written() -> None:
    """Whoever raises the version has to add one."""
    assert {f"v{VERSION}"} <= {path.stem.split("-")[0] for path in GOLDEN}


def test_what_an_old_file_says_arrives() -> None:
    """Not only read without complaint: the incident, its lives and its last words are there."""
    path = next(path for path in GOLDEN if path.stem == "v1-open-incident")
    document = decode(path.read_bytes())
    known: Any = document.detector

    assert document.owner == Owner("shop", "gunicorn", "forked")
    assert document.last_words is not None
    assert document.last_words.sentence.startswith("RSS is 487 MB, 95 % of the limit")
    assert known["leak"]["id"] == "5f0c7f6e2b0f4d6a9c1e8b7a6d5c4b3a"
    assert len(known["lives"]) == 2
    assert encode(document) == path.read_bytes()


def good() -> dict[str, Any]:
    content = next(path for path in GOLDEN if path.stem == "v1-open-incident").read_bytes()
    value: dict[str, Any] = json.loads(content)
    return value


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON"),
        (b"\x80\x04\x95.", "not JSON"),
        (b'{"format": "otel-memleak-state", "version": 1, "sav', "not JSON"),
        (b"[" * 20_000, "not JSON"),
        (b'{"a": ' * 10_000, "not JSON"),
        (b'{"version": ' + b"9" * 5000 + b"}", "not JSON"),
        (b" " * (LARGEST_BYTES + 1), "larger"),
        (b"[1, 2]", "not a state file"),
        (b"null", "not a state file"),
        (b'{"version": 1}', "not a state file"),
        (b'{"format": "otel-memleak-state"}', "version is unknown"),
    ],
)
def test_what_is_no_state_file_is_refused(content: bytes, why: str) -> None:
    """Torn, foreign, nested a thousand deep: one kind of error, and quickly."""
    with pytest.raises(RefusedError, match=why):
        decode(content)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 2}, "newer version"),
        ({"version": 0}, "unknown"),
        ({"version": True}, "unknown"),
        ({"version": "1"}, "unknown"),
        ({"version": [1]}, "unknown"),
        ({"saved_s": "today"}, "saved_s"),
        ({"owner": {"service": "a", "program": "b"}}, "owner"),
        ({"owner": {"service": "a" * 256, "program": "b", "role": "main"}}, "service"),
        ({"owner": {"service": 1, "program": "b", "role": "main"}}, "service"),
        ({"last_words": {"time_s": 1, "sentence": "\x1b]0;owned\x07"}}, "sentence"),
        ({"last_words": {"time_s": 1, "sentence": "two\nlines"}}, "sentence"),
        ({"last_words": {"time_s": 1, "sentence": "x" * 2001}}, "sentence"),
        ({"last_words": "bye"}, "last_words"),
        ({"detector": None}, "state"),
        ({"more": 1}, "other keys"),
    ],
)
def test_one_wrong_field_is_enough(change: dict[str, object], why: str) -> None:
    """What is not exactly as it was written is not used at all."""
    with pytest.raises(RefusedError, match=why):
        decode(json.dumps(good() | change).encode())


def test_what_is_written_can_be_read_whatever_the_names_are() -> None:
    """A diagnosis may name a file with an odd name; the file must not become unreadable by it."""
    words = LastWords(1.0, tidy_sentence("held by a\nb:\x1b[2J " + "x" * 3000))
    owner = owner_of_this_process(
        forked=False, environ={"OTEL_SERVICE_NAME": "shöp\x00"}, arguments=("python", "\ud800.py")
    )
    document = Document(1.0, owner, LeakDetector().export_state(), words)

    assert decode(encode(document)) == document


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (("python", "/srv/app.py", "--port", "8000"), "app.py"),
        (("python", "-X", "dev", "-u", "app.py"), "app.py"),
        (("python", "-m", "celery", "worker"), "celery"),
        (("python", "/usr/bin/gunicorn", "shop:app"), "gunicorn"),
        (("python", "-c", "import shop"), "-c"),
        (("python",), ""),
        ((), ""),
    ],
)
def test_the_program_is_told_from_others_without_its_arguments(
    arguments: tuple[str, ...], program: str
) -> None:
    """A port that differs from start to start makes no new program."""
    assert owner_of_this_process(forked=True, environ={}, arguments=arguments) == ("", program, "forked")


def test_the_service_is_named_as_the_resource_is() -> None:
    """OTEL_SERVICE_NAME wins over OTEL_RESOURCE_ATTRIBUTES, as the specification has it."""
    both = {"OTEL_SERVICE_NAME": "a", "OTEL_RESOURCE_ATTRIBUTES": "service.name=b"}
    attributes = {"OTEL_RESOURCE_ATTRIBUTES": "k=v, service.name=my%20shop"}

    assert owner_of_this_process(forked=False, environ=both, arguments=()).service == "a"
    assert owner_of_this_process(forked=False, environ=attributes, arguments=()).service == "my shop"
