"""Text on its way out: names only, never data, and in a form that every exporter and backend takes.

One lone surrogate (a file name that is not UTF-8) makes protobuf refuse a whole batch, the application's own
records with it; and a name is as long as whoever made it wanted.
"""

from __future__ import annotations

import os
import re
from typing import Final

LONGEST_NAME: Final = 200
LONGEST_SENTENCE: Final = 4000

# Not compiled here: most processes never ask.
_WORD: Final = r"[^\W_]+"
_TOKEN: Final = r"(?=.*\d)[0-9a-fA-F]{8,}|(?=(?:.*\d){3})[^\W_]{16,}"
"""A word of a name that nobody would think up: a digest, a key."""


def plain(text: str, longest: int = LONGEST_NAME) -> str:
    r"""The text as UTF-8 can have it: lone surrogates and control characters escaped (``\udce9``, ``\x00``).

    Args:
        text: Anything.
        longest: Characters of it to keep: of more, the first and the last half with ``…`` between them.
    """
    text = shorten(text, longest)
    if text.isascii() and text.isprintable():
        return text
    escaped = text.encode("utf-8", "backslashreplace").decode()
    return "".join(map(_visible, escaped))


def _visible(letter: str) -> str:
    return rf"\x{ord(letter):02x}" if letter < " " or "\x7f" <= letter < "\xa0" else letter


def shorten(text: str, longest: int = LONGEST_NAME) -> str:
    """The text, or its two ends."""
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return text[:half] + "…" + text[-half:]


def looks_like_data(name: str) -> bool:
    """Whether somebody's key, digest or token is used as a name, as in ``setattr(sessions, token, …)``."""
    return len(name) >= 8 and any(re.fullmatch(_TOKEN, word) for word in re.findall(_WORD, name))


def describe(error: BaseException) -> str:
    """An exception by type and where it was raised; its text may quote what the application holds.

    What the operating system says of a failed call is words of its own, and so is what this package says.
    """
    name = type(error).__name__
    if isinstance(error, OSError) and isinstance(error.strerror, str):
        return f"{name}: {error.strerror}"
    if type(error).__module__.partition(".")[0] == "otel_memleak":
        return f"{name}: {error}"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return name
    return f"{name} at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
