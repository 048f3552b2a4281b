"""When what is known is written down, and what becomes of what was found."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from otel_memleak import forks
from otel_memleak.detector.state import Plain
from otel_memleak.errands import Errands
from otel_memleak.guard import Guard, say_quietly
from otel_memleak.state.document import (
    Document,
    LastWords,
    Owner,
    RefusedError,
    encode,
    tidy_sentence,
)
from otel_memleak.state.owner import owner_of_this_process
from otel_memleak.state.slot import MOST_SLOTS, Slot

if TYPE_CHECKING:
    from otel_memleak.clock import Clock

THREAD_NAME: Final = "OtelMemleakState"
SAVE_EVERY_S: Final = 300.0
STOP_TIMEOUT_S: Final = 1.0
_RETRIES_S: Final = 300.0
_READING: Final = "reading state_file"
_WRITING: Final = "writing state_file"


class StateKeeper:
    """Keeps what the detector knows in a file, for the process that comes after this one.

    Everything that touches the disk happens on a thread of its own. It is written after 1, 2, 4, 8 samples
    and so on, so that a short life leaves something, and every five minutes from then on; at once when an
    alert was sent; and at the end.

    Args:
        path: The setting ``state_file``.
        clock: The sample clock.
        guard: Told of failures.
        owner: Whose file it is, given whether this process was forked; injectable for tests.
        errands: Runs what touches the disk; injectable for tests.
        forked: This process was forked from one that keeps a file of its own.
    """

    def __init__(
        self,
        path: str,
        clock: Clock,
        guard: Guard,
        owner: Callable[[bool], Owner] = lambda forked: owner_of_this_process(forked=forked),
        errands: Errands | None = None,
        *,
        forked: bool = False,
    ) -> None:
        self._path = path
        self._clock = clock
        self._guard = guard
        self._owner = owner
        self._errands = errands or Errands(THREAD_NAME, guard)
        self._export: Callable[[], Plain | None] = lambda: None
        self._slot: Slot | None = None
        self._started = False
        self._begin(forked=forked)

    def _begin(self, *, forked: bool) -> None:
        self._mine = self._owner(forked)
        self._found: Document | None = None
        self._given_up = False
        self._claim_due_s = float("-inf")
        self._samples = 0
        self._save_due_sample = 1
        self._save_due_s = float("-inf")
        self._last_words: LastWords | None = None
        self._prepared: tuple[LastWords, bytes] | None = None

    def start(self, export: Callable[[], Plain | None]) -> None:
        """Look for what was left, soon.

        Args:
            export: Returns what the detector knows by now; None as long as that is nothing.
        """
        self._export = export
        self._started = True
        forks.register(self)
        self._errands.run(_READING, self._claim)

    def found(self) -> Plain | None:
        """What an earlier process has left for the detector; once, as soon as it has been read."""
        found, self._found = self._found, None
        return None if found is None else found.detector

    def after_sample(self, *, urgent: bool = False) -> None:
        """Write if it is time to; called on the sampling thread, which only puts the bytes together.

        Args:
            urgent: Something has happened that must not be lost.
        """
        self._samples += 1
        now_s = self._clock.monotonic_s()
        by_count = self._samples >= self._save_due_sample
        if not (urgent or by_count or now_s >= self._save_due_s):
            return
        if by_count:
            self._save_due_sample = 2 * self._samples
        self._save_due_s = now_s + SAVE_EVERY_S
        self._save()

    def prepare(self, sentence: str) -> None:
        """Have the file's next content ready, with these last words, and the thread that writes it."""
        words = LastWords(self._clock.unix_s(), tidy_sentence(sentence))
        content = self._encoded(words)
        self._prepared = None if content is None else (words, content)
        self._errands.warm_up()

    def save_last_words(self) -> None:
        """Write what was prepared, at once; they stay in the file until an orderly end."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self._last_words = prepared[0]
            self._errands.run(_WRITING, lambda: self._write(prepared[1]))

    def after_fork_in_child(self) -> None:
        """Nothing: the engine tells us in the right order."""

    def forget(self, export: Callable[[], Plain | None]) -> None:
        """In a forked child: the file is the parent's, this process takes another."""
        self._export = export
        self._started = True
        forks.register(self)
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()
        self._errands.forget()
        self._begin(forked=True)
        self._errands.run(_READING, self._claim)

    def stop(self) -> None:
        """Write a last time and let go of the file, within about a second."""
        forks.unregister(self)
        self._last_words = None
        if self._slot is not None:
            try:
                self._save()
            except Exception as error:
                self._guard.swallow(_WRITING, error)
        if self._started:
            # Also when there is no slot yet: it may be about to be claimed.
            self._errands.run("releasing state_file", self._release)
        self._errands.stop(STOP_TIMEOUT_S)

    def _release(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()

    def _save(self) -> None:
        if self._slot is None:
            self._errands.run(_READING, self._claim)
            return
        content = self._encoded(self._last_words)
        if content is not None:
            self._errands.run(_WRITING, lambda: self._write(content))

    def _encoded(self, words: LastWords | None) -> bytes | None:
        """None also while what was found has not reached the detector: it must not be written over."""
        if self._given_up or self._slot is None or self._found is not None:
            return None
        known = self._export()
        return None if known is None else encode(Document(self._clock.unix_s(), self._mine, known, words))

    def _write(self, content: bytes) -> None:
        if self._slot is not None:
            self._slot.write(content)

    def _claim(self) -> None:
        """Take a file; what a file system refuses today it may allow in five minutes."""
        now_s = self._clock.monotonic_s()
        if self._given_up or self._slot is not None or now_s < self._claim_due_s:
            return
        self._claim_due_s = now_s + _RETRIES_S
        try:
            slot = Slot.claim(self._path, self._mine)
        except RefusedError as refusal:
            self._give_up(f"{refusal}; it is left as it is")
            return
        if slot is None:
            self._give_up(f"{MOST_SLOTS} processes keep theirs already")
            return
        self._slot = slot
        if slot.found is not None:
            self._found = slot.found
            _tell(slot.found)

    def _give_up(self, why: str) -> None:
        self._given_up = True
        say_quietly(
            logging.WARNING,
            f"otel_memleak keeps nothing across restarts: state_file={self._path!r}: {why}. "
            "Move it away or name another file",
        )


def _tell(found: Document) -> None:
    """One line about what was going on when the earlier process ended."""
    leak = found.detector["leak"]
    clauses: list[str] = []
    if isinstance(leak, dict):
        clauses.append(f"a leak was open ({leak['severity']}, incident {leak['id']})")
    if found.last_words is not None:
        said_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.last_words.time_s))
        clauses.append(f"its last words, at {said_at}: {found.last_words.sentence}")
    if clauses:
        say_quietly(logging.WARNING, "before this process started, " + "; ".join(clauses))
