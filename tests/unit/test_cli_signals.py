"""Telling a signal for the whole group from one for `run` alone."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from otel_memleak.cli._signals import GroupWitness

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def pid_of(witness: GroupWitness) -> int:
    assert witness._process is not None
    return witness._process.pid


def test_a_witness_that_had_no_turn_to_die_testifies_once() -> None:
    """On an overrun machine its death comes late: it counts for the signal that caused it, not for the next.

    Taken for the next, a signal that an operator sends to us alone would be swallowed.
    """
    witness = GroupWitness()
    overrun = pid_of(witness)
    os.kill(overrun, signal.SIGSTOP)
    os.waitpid(overrun, os.WUNTRACED)
    os.kill(overrun, signal.SIGTERM)
    turn = threading.Timer(0.3, os.kill, (overrun, signal.SIGCONT))
    turn.start()

    first = witness.saw(signal.SIGTERM)
    second = witness.saw(signal.SIGTERM)
    turn.join()
    witness.close()

    assert (first, second) == (True, False)


def test_a_witness_that_nobody_has_hit_has_seen_nothing() -> None:
    """Nor does one testify for another signal than the one it has died of."""
    witness = GroupWitness()
    assert not witness.saw(signal.SIGTERM)
    os.kill(pid_of(witness), signal.SIGINT)
    assert not witness.saw(signal.SIGTERM)
    assert witness.close() == 0
