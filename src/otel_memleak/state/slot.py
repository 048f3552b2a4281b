"""One process, one file: found, locked, read and replaced."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from otel_memleak.state.document import LARGEST_BYTES, Document, Owner, RefusedError, decode

if TYPE_CHECKING:
    import fcntl
else:
    try:
        import fcntl
    except ImportError:  # pragma: no cover
        fcntl = None  # without locks two processes cannot be kept apart: nothing is kept

MOST_SLOTS: Final = 64
_MODE: Final = 0o600
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
"""Neither a link that somebody has put there nor a pipe that nobody writes to."""


class Slot:
    """A file that belongs to this process for as long as it holds the lock.

    Attributes:
        path: Where the file is.
        found: What an earlier process has left there; None when nothing.
    """

    def __init__(self, path: str, lock_fd: int, found: Document | None) -> None:
        self.path = path
        self.found = found
        self._lock_fd = lock_fd

    @classmethod
    def claim(cls, path: str, owner: Owner) -> Slot | None:
        """Take the first file of ours that no living process holds.

        Args:
            path: The setting; further processes take ``path.1``, ``path.2`` and so on.
            owner: Whose files are ours.

        Returns:
            The slot; None when 64 are taken.

        Raises:
            RefusedError: There is a file that we may not use.
            OSError: A file cannot be read, or its lock not be made.
        """
        if fcntl is None:
            raise RefusedError("this system has no file locks to keep two processes apart")
        for index in range(MOST_SLOTS):
            candidate = f"{path}.{index}" if index else path
            slot = _try(candidate, owner)
            if slot is not None:
                return slot
        return None

    def write(self, content: bytes) -> None:
        """Replace the file as a whole, or leave it as it was.

        Raises:
            OSError: The disk is full, read-only, or there is no descriptor left.
        """
        temporary = f"{self.path}.tmp"
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # of a process that was killed while it wrote; ours alone by the lock
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, _MODE)
        try:
            try:
                _write_all(fd, content)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(temporary, self.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def release(self) -> None:
        """Let another process have it. In a forked child this leaves the parent's lock as it is."""
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            os.close(fd)


def _try(path: str, owner: Owner) -> Slot | None:
    """The slot, or None when it is another's."""
    # Looked at before the lock, so that none is put beside a file that is not ours; and again under it.
    found = read(path)
    if found is not None and found.owner != owner:
        return None
    lock_fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | _NO_FOLLOW, _MODE)
    try:
        if not stat.S_ISREG(os.fstat(lock_fd).st_mode):
            raise RefusedError("its lock is not a regular file")
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock_fd)
            return None
        found = read(path)
    except BaseException:
        os.close(lock_fd)
        raise
    if found is not None and found.owner != owner:
        os.close(lock_fd)
        return None
    return Slot(path, lock_fd, found)


def read(path: str) -> Document | None:
    """What is in a file; None when there is none.

    Raises:
        RefusedError: It is not a state file that we may use.
        OSError: It cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | _NO_FOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        if os.path.islink(path):
            raise RefusedError("it is a symbolic link") from error
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise RefusedError("it is not a regular file")
        if status.st_uid != os.geteuid():
            raise RefusedError("it belongs to another user")
        return decode(_read_at_most(fd, LARGEST_BYTES + 1))
    finally:
        os.close(fd)


def _read_at_most(fd: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := os.read(fd, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
