"""When it is written, what becomes of what was found, and what failures cost."""

from __future__ import annotations

import errno
import logging
import os
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from errands import AtOnce
from otel_memleak import guard as guard_module
from otel_memleak.detector import LeakDetector
from otel_memleak.errands import Errands
from otel_memleak.guard import Guard
from otel_memleak.state import StateKeeper
from otel_memleak.state.document import Document, LastWords, Owner, decode, encode
from otel_memleak.state.slot import Slot, read
from otel_memleak.testing import ManualClock


def owner(forked: bool) -> Owner:
    return Owner("shop", "app.py", "forked" if forked else "main")


class Watch:
    """A keeper with a clock of its own and no thread, and the detector it keeps."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.guard = Guard()
        self.errands = AtOnce(self.guard)
        self.detector = LeakDetector()
        self.keeper = StateKeeper(str(path), self.clock, self.guard, owner, self.errands)

    def start(self) -> Watch:
        self.keeper.start(self.detector.export_state)
        return self

    def samples(self, count: int, every_s: float = 60.0) -> list[int]:
        """After which samples it was written."""
        written = []
        for index in range(1, count + 1):
            before = self.errands.done.count("writing state_file")
            self.keeper.after_sample()
            if self.errands.done.count("writing state_file") > before:
                written.append(index)
            self.clock.advance(every_s)
        return written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_a_short_life_leaves_something_and_a_long_one_writes_seldom(path: Path) -> None:
    """Workers may live for a minute; a disk should not be written to every minute for months."""
    watch = Watch(path).start()

    written = watch.samples(600)

    assert written[:4] == [1, 2, 4, 8]
    assert len(written) <= 600 / 5 + 10
    assert max(later - earlier for earlier, later in pairwise(written)) == 5
    watch.keeper.stop()


def test_an_alert_is_written_at_once(path: Path) -> None:
    """A process that leaks may be killed any minute."""
    watch = Watch(path).start()
    watch.samples(9)
    before = len(watch.errands.done)

    watch.keeper.after_sample(urgent=True)

    assert len(watch.errands.done) == before + 1
    watch.keeper.stop()


def test_what_was_found_is_not_written_over_before_it_was_taken(path: Path) -> None:
    """Samples may come, and the end, before the detector has taken over what the file says."""
    first = Watch(path).start()
    first.samples(1)
    first.keeper.stop()
    before = path.read_bytes()
    second = Watch(path).start()
    second.clock.advance(3600)

    second.samples(3)
    second.keeper.stop()
    assert path.read_bytes() == before

    third = Watch(path).start()
    third.clock.advance(3600)
    assert third.keeper.found() is not None
    assert third.keeper.found() is None
    third.keeper.stop()
    assert path.read_bytes() != before


def test_nothing_is_written_after_a_refusal_and_it_is_said_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning with the path, the reason and what to do; the file is left as it is."""
    path.write_text("precious=1\n")
    with caplog.at_level(logging.WARNING):
        watch = Watch(path).start()
        watch.samples(100)
        watch.keeper.prepare("RSS is high")
        watch.keeper.save_last_words()
        watch.keeper.stop()

    assert [record.message for record in caplog.records] == [
        f"otel_memleak keeps nothing across restarts: state_file='{path}': it is not JSON, or only a part of it; "
        "it is left as it is. Move it away or name another file"
    ]
    assert path.read_text() == "precious=1\n"
    assert os.listdir(path.parent) == ["state.json"]
    assert watch.guard.errors == 0


def test_a_read_only_file_system_is_counted_said_once_and_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be remounted; until then nothing is hurt, and the log is not filled."""
    monkeypatch.setattr(guard_module, "reraise", False)
    real = os.open

    def refuse(*args: object, **kwargs: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with caplog.at_level(logging.WARNING):
        watch = Watch(path).start()
        watch.samples(30)
    assert 2 <= watch.guard.errors <= 8
    assert len(caplog.records) == 1

    monkeypatch.setattr(os, "open", real)
    watch.samples(30)

    assert read(str(path)) is not None
    watch.keeper.stop()


def test_a_full_disk_is_counted_and_said_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the next write that succeeds is a whole file again."""
    monkeypatch.setattr(guard_module, "reraise", False)
    watch = Watch(path).start()
    real = os.fsync

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with caplog.at_level(logging.WARNING):
        watch.samples(30)
    assert watch.guard.errors > 1
    assert len(caplog.records) == 1
    assert not path.exists()

    monkeypatch.setattr(os, "fsync", real)
    watch.keeper.stop()
    assert read(str(path)) is not None


def test_last_words_are_told_by_the_next_process_and_then_forgotten(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The sentence outlives the kill, is logged once with its time, and not by the process after that."""
    killed = Watch(path).start()
    killed.keeper.prepare("RSS is 487 MB, 95 % of the limit of 512 MB")
    killed.keeper.save_last_words()
    killed.samples(20)  # it lives on for a while: a later write must not lose them
    assert killed.keeper._slot is not None
    killed.keeper._slot.release()

    with caplog.at_level(logging.WARNING):
        after = Watch(path).start()
    after.keeper.found()
    after.keeper.stop()

    assert [record.message for record in caplog.records] == [
        "before this process started, its last words, at 2023-11-14T22:13:20Z: "
        "RSS is 487 MB, 95 % of the limit of 512 MB"
    ]
    document = read(str(path))
    assert document is not None
    assert document.last_words is None


def test_an_orderly_end_leaves_no_last_words(path: Path) -> None:
    """Who says goodbye was not killed."""
    watch = Watch(path).start()
    watch.keeper.prepare("RSS is high")
    watch.keeper.save_last_words()
    words = read(str(path))
    assert words is not None
    assert isinstance(words.last_words, LastWords)

    watch.keeper.stop()

    document = read(str(path))
    assert document is not None
    assert document.last_words is None


def test_a_disk_that_hangs_keeps_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the sampling thread nor the end waits for it: the thread is a daemon and is left behind."""
    reached, let_go = threading.Event(), threading.Event()

    def hang(cls: type[Slot], path: str, owner: Owner) -> Slot | None:
        reached.set()
        let_go.wait(30)
        return None

    monkeypatch.setattr(Slot, "claim", classmethod(hang))
    monkeypatch.setattr("otel_memleak.state.keeper.STOP_TIMEOUT_S", 0.01)
    errands = Errands("hanging", Guard())
    keeper = StateKeeper(str(path), ManualClock(), Guard(), owner, errands)
    keeper.start(LeakDetector().export_state)
    assert reached.wait(10)

    for _ in range(10):
        keeper.after_sample(urgent=True)
    keeper.stop()

    thread = errands._thread
    assert thread is not None
    assert [each.daemon for each in threading.enumerate() if each.name == "hanging"] == [True]
    assert thread.is_alive()
    let_go.set()
    thread.join(10)


def test_starting_and_stopping_leaves_no_descriptor_and_no_thread(path: Path) -> None:
    """Instrument, uninstrument, a hundred times, also when it is stopped before the file was read."""
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(100):
        errands = Errands("errands", Guard())
        keeper = StateKeeper(str(path), ManualClock(), Guard(), owner, errands)
        keeper.start(LeakDetector().export_state)
        keeper.stop()
        assert errands._thread is None or not errands._thread.is_alive()

    assert (len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0) == before
    assert sorted(os.listdir(path.parent)) in (["state.json", "state.json.lock"], ["state.json.lock"])


def test_a_watch_that_never_started_touches_no_disk(path: Path) -> None:
    """multiprocessing's fork server is dormant itself; its workers keep theirs."""
    keeper = StateKeeper(str(path), ManualClock(), Guard(), owner)

    keeper.stop()

    assert os.listdir(path.parent) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_worker_keeps_a_record_of_its_own(path: Path) -> None:
    """The parent's file stays the parent's, locked, while the child writes another."""
    watch = Watch(path).start()
    watch.samples(1)

    pid = os.fork()
    if pid == 0:
        watch.keeper.forget(watch.detector.export_state)
        watch.samples(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    mine, child = read(str(path)), read(f"{path}.1")
    assert mine is not None
    assert child is not None
    assert (mine.owner.role, child.owner.role) == ("main", "forked")
    other = Slot.claim(str(path), owner(False))
    assert other is not None
    assert other.path != str(path)
    other.release()
    watch.keeper.stop()


def test_a_file_that_says_a_leak_was_open_says_so_in_the_log(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever looks at the log of the new process learns why the old one was restarted."""
    golden = (Path(__file__).parents[1] / "data" / "state" / "v1-open-incident.json").read_bytes()
    document: Document = decode(golden)._replace(owner=owner(False))
    path.write_bytes(encode(document))
    path.chmod(0o600)

    with caplog.at_level(logging.WARNING):
        watch = Watch(path).start()

    assert len(caplog.records) == 1
    assert "a leak was open (warning, incident 5f0c7f6e2b0f4d6a9c1e8b7a6d5c4b3a)" in caplog.records[0].message
    assert "its last words" in caplog.records[0].message
    watch.keeper.stop()
