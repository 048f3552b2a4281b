"""What text looks like on its way out, and what never is part of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_memleak.wording import LONGEST_NAME, describe, looks_like_data, plain, shorten

anything = st.text(st.characters(), max_size=600)


@given(anything)
def test_any_text_can_be_exported(text: str) -> None:
    """Protobuf refuses lone surrogates, and with them the batch they are in: nothing of ours has any."""
    said = plain(text)

    assert AnyValue(string_value=said).SerializeToString()
    assert len(said) <= 10 * LONGEST_NAME
    assert "\n" not in said
    assert "\0" not in said


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=LONGEST_NAME))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Names in any script are names."""
    assert plain(text) == text


def test_a_file_name_that_is_not_utf_8_can_still_be_recognised() -> None:
    """A surrogate stands for the byte that was there."""
    assert plain("caf\udce9.py:12") == r"caf\udce9.py:12"


@given(st.text(min_size=1, max_size=50), st.integers(3, 40))
def test_what_is_too_long_keeps_both_ends(text: str, longest: int) -> None:
    """The end of a path says most; the room is kept to."""
    said = shorten(text, longest)

    assert len(said) <= longest
    assert said == text or (said[0] == text[0] and said[-1] == text[-1])


@pytest.mark.parametrize(
    "name",
    ["5ec2e7f00dcafe99", "key_5ec2e7f00dcafe99", "pool-5ec2e7f00d", "user_0123456789", "AKIA4OEXAMPLE7KEY21"],
)
def test_digests_and_keys_are_no_names(name: str) -> None:
    """An attribute that is called after a token is somebody's data."""
    assert looks_like_data(name)


@pytest.mark.parametrize(
    "name",
    [
        "_sessions",
        "by_user_id",
        "cache2",
        "requests_per_second_v2",
        "recommendationsV2",
        "facade",
        "sha256_of",
        "x86_64",
    ],
)
def test_words_are_names(name: str) -> None:
    """What a programmer writes is told."""
    assert not looks_like_data(name)


def _raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_exception_is_told_without_its_text() -> None:
    """``KeyError: 'alice@example.com'`` is the application's data; type and place find the bug as well."""
    said = describe(_raised(KeyError("alice@example.com")))

    assert said.startswith("KeyError at test_wording.py:")
    assert "alice" not in said


def test_what_the_operating_system_says_is_told_without_the_path() -> None:
    """Why a write failed is what the operator needs; where it went to is in the settings."""
    assert (
        describe(OSError(28, "No space left on device", "/srv/alice/state"))
        == "OSError: No space left on device"
    )
