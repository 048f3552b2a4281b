"""Reading the small text files by which a kernel describes itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 16 * 1024 * 1024
"""A bound, since a container may mount anything there; ``mountinfo`` of a busy host has a few MB."""


_READ_ONLY: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


def read_line(path: str) -> bytes:
    """Return what one read of a file gives, at most 256 bytes: all of one that the kernel writes as one line.

    Raises:
        OSError: The file cannot be opened or read.
    """
    fd = os.open(path, _READ_ONLY)
    try:
        return os.read(fd, 256)
    finally:
        os.close(fd)


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a small file, at most the first 16 MB.

    Opened without blocking, so that a FIFO in the place of a file cannot hang the process, and without
    Python's buffered file object, which costs three times as much as the read itself.

    Raises:
        OSError: The file cannot be opened or read.
    """
    fd = os.open(path, _READ_ONLY)
    try:
        return _read_all(fd)
    finally:
        os.close(fd)


def _read_all(fd: int) -> bytes:
    parts: list[bytes] = []
    left = _MAX_BYTES
    while left > 0:
        part = os.read(fd, min(left, 65536))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def read_text(path: str | Path) -> str | None:
    """Return a small file as text, None if it cannot be read.

    Bytes that are not UTF-8 come back as surrogates (paths in ``/proc`` are bytes, not text), so that a
    path taken from the text still opens the file it names.
    """
    try:
        return os.fsdecode(read_bytes(path))
    except (OSError, ValueError):
        return None


def parse_bytes(text: str) -> int | None:
    """Return the non-negative decimal number that is all of ``text``, None if it is anything else."""
    digits = text.strip()
    # int() would also take "1_000" and digits of other scripts, and raises on thousands of digits.
    if not digits.isascii() or not digits.isdigit() or len(digits) > 20:
        return None
    return int(digits)
