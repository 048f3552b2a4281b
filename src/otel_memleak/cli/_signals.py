"""Signals on their way to the program being watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

_FORWARDED: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH")
_WITNESS_COMMAND: Final = ("/bin/sh", "-c", "ulimit -c 0; exec cat")
_WITNESS_ANSWER_S: Final = 0.1
_WITNESS_END_S: Final = 5.0


class GroupWitness:
    """Tells a signal sent to the whole process group from one sent to this process alone.

    Ctrl-C in a terminal, and ``kill`` of a job, reach every member of the group, the program included:
    forwarding them would deliver them twice, and many servers take a second SIGINT for "at once". The
    kernel does not say which of the two it was, so another member of the group is asked: a process that
    sleeps on a pipe of ours, dies of what it gets, and ends with us whatever happens.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def saw(self, signum: int) -> bool:
        """Whether the group got the signal as well.

        A witness is asked once. On a machine that is overrun it may not have had its turn to die in time;
        its end then still tells, and the next signal of that number is not taken for this one.
        """
        if self._process is None:
            return False
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_WITNESS_ANSWER_S)
        status = self.close()
        self._start()
        return status == -signum

    def close(self) -> int | None:
        """Dismisses the witness and says what it ended with: a signal that it has got, or nothing."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.stdin is not None:
            process.stdin.close()
        try:
            return process.wait(_WITNESS_END_S)
        except subprocess.TimeoutExpired:  # somebody has stopped it
            process.kill()
            return process.wait()

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(
                _WITNESS_COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            self._process = None  # no shell in this container: every signal is taken for one of our own


class SignalRelay:
    """Passes every signal of a terminal or an operator on to one program, exactly once.

    Until the program is known, signals are kept for it.
    """

    def __init__(self, witness: GroupWitness) -> None:
        self._witness: Final = witness
        self._program: subprocess.Popen[bytes] | None = None
        self._kept: Final[list[int]] = []

    def attach(self, program: subprocess.Popen[bytes]) -> None:
        """Names the program and hands it what has come so far."""
        self._program = program
        while self._kept:
            program.send_signal(self._kept.pop(0))

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        """Handles one signal; runs in the main thread, between two bytecodes."""
        if self._program is None:
            self._kept.append(signum)
        elif not self._has_reached(self._program, signum):
            self._program.send_signal(signum)

    def _has_reached(self, program: subprocess.Popen[bytes], signum: int) -> bool:
        if sys.platform == "win32":
            return True  # the console tells every process attached to it
        try:
            together = os.getpgid(program.pid) == os.getpgrp()
        except ProcessLookupError:
            return True
        return together and signum != signal.SIGWINCH and self._witness.saw(signum)


@contextmanager
def relayed_signals() -> Generator[SignalRelay, None, None]:
    """Catches the forwarded signals for the duration of a block; a signal that was ignored stays ignored."""
    witness = GroupWitness()
    relay = SignalRelay(witness)
    before = {
        number: signal.getsignal(number)
        for name in _FORWARDED
        if (number := getattr(signal, name, None)) is not None
    }
    caught = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in caught:
        signal.signal(number, relay.handle)
    try:
        yield relay
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)
        witness.close()
