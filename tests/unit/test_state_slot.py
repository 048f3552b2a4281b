"""One process, one file: real files, real locks, real processes."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_memleak.detector import LeakDetector
from otel_memleak.state.document import Document, Owner, RefusedError, encode
from otel_memleak.state.slot import MOST_SLOTS, Slot, read

OWNER = Owner("shop", "app.py", "main")
DOCUMENT = Document(1.0, OWNER, LeakDetector().export_state(), None)
CONTENT = encode(DOCUMENT)

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


@pytest.fixture
def slots() -> Iterator[list[Slot]]:
    held: list[Slot] = []
    yield held
    for slot in held:
        slot.release()


def claim(path: Path, owner: Owner = OWNER) -> Slot:
    slot = Slot.claim(str(path), owner)
    assert slot is not None
    return slot


def in_fork(body: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        answer = False
        try:
            answer = body()
        finally:
            os._exit(0 if answer else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_what_one_process_writes_the_next_one_finds(path: Path, slots: list[Slot]) -> None:
    """That is all it is for."""
    first = claim(path)
    assert first.found is None
    first.write(CONTENT)
    first.release()

    slots.append(claim(path))

    assert slots[0].found == DOCUMENT


def test_only_the_owner_can_read_it_and_nothing_is_left_beside(path: Path, slots: list[Slot]) -> None:
    """Mode 0600 whatever the umask; the temporary file is gone."""
    before = os.umask(0)
    try:
        slots.append(claim(path))
        slots[0].write(CONTENT)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(p.name for p in path.parent.iterdir()) == ["state.json", "state.json.lock"]


def test_two_watches_of_one_process_take_two_files(path: Path, slots: list[Slot]) -> None:
    """Also within a process nobody writes over what another has written."""
    slots += [claim(path), claim(path), claim(path)]

    assert [Path(slot.path).name for slot in slots] == ["state.json", "state.json.1", "state.json.2"]


def test_prefork_workers_each_take_their_own(path: Path) -> None:
    """Twelve processes started at the same moment: twelve files, and each holds what its process wrote."""
    start_read, start_write = os.pipe()
    done_read, done_write = os.pipe()
    end_read, end_write = os.pipe()
    pids = []
    for _ in range(12):
        pid = os.fork()
        if pid == 0:
            os.close(start_write)
            os.close(end_write)
            try:
                os.read(start_read, 1)  # returns when the parent closes its end: all start at once
                claim(path).write(encode(DOCUMENT._replace(saved_s=float(os.getpid()))))
            finally:
                os.write(done_write, b".")
                os.read(end_read, 1)  # held until all are done: a slot that is free again is taken again
                os._exit(0)
        pids.append(pid)
    os.close(start_write)
    assert sum(len(os.read(done_read, 1)) for _ in pids) == 12

    names = [f"{path}.{index}" if index else str(path) for index in range(12)]
    kept = {document.saved_s for name in names if (document := read(name)) is not None}
    os.close(end_write)
    for pid in pids:
        os.waitpid(pid, 0)
    for fd in (start_read, done_read, done_write, end_read):
        os.close(fd)

    assert kept == set(map(float, pids))


def test_a_worker_takes_the_place_of_the_one_that_was_killed(path: Path, slots: list[Slot]) -> None:
    """The lock dies with the process, however it dies; what it had written is inherited."""
    slots.append(claim(path))

    def die() -> bool:
        claim(path).write(encode(DOCUMENT._replace(saved_s=7.0)))
        os.kill(os.getpid(), 9)
        return True

    assert not in_fork(die)
    slots.append(claim(path))

    assert slots[1].path == f"{path}.1"
    assert slots[1].found is not None
    assert slots[1].found.saved_s == 7.0


def test_a_forked_child_does_not_give_its_parents_lock_away(path: Path, slots: list[Slot]) -> None:
    """The descriptor is shared over a fork: closing the copy must not unlock."""
    slots.append(claim(path))

    def child() -> bool:
        slots[0].release()
        return claim(path).path == f"{path}.1"

    assert in_fork(child)
    assert in_fork(lambda: claim(path).path == f"{path}.1")


@pytest.mark.parametrize(
    "other",
    [OWNER._replace(service="cart"), OWNER._replace(program="cron.py"), OWNER._replace(role="forked")],
)
def test_the_record_of_somebody_else_is_passed_over(path: Path, slots: list[Slot], other: Owner) -> None:
    """Another service, a helper program, the master of a worker: each keeps its own record."""
    first = claim(path, other)
    first.write(encode(DOCUMENT._replace(owner=other)))
    first.release()
    before = path.read_bytes()

    slots.append(claim(path))

    assert slots[0].path == f"{path}.1"
    assert slots[0].found is None
    assert path.read_bytes() == before


def test_there_is_an_end_to_the_numbers(path: Path, slots: list[Slot]) -> None:
    """A fork bomb must not fill a folder."""
    slots += [claim(path) for _ in range(MOST_SLOTS)]

    assert Slot.claim(str(path), OWNER) is None


def foreign(path: Path) -> None:
    path.write_text("precious=1\n")


def newer(path: Path) -> None:
    path.write_bytes(CONTENT.replace(b'"version": 1', b'"version": 2'))


def torn(path: Path) -> None:
    path.write_bytes(CONTENT[: len(CONTENT) // 2])


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse


def link(path: Path) -> None:
    (path.parent / "target").write_bytes(CONTENT)
    path.symlink_to("target")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("put", [foreign, newer, torn, huge, link, dangling, pipe, folder])
def test_what_is_not_ours_is_refused_and_left_alone(path: Path, put: Callable[[Path], None]) -> None:
    """Neither read beyond a bound, nor followed, waited for, written over, or given a lock beside it."""
    put(path)
    before = sorted((p.name, p.lstat().st_size, p.lstat().st_mtime_ns) for p in path.parent.iterdir())

    with pytest.raises(RefusedError):
        Slot.claim(str(path), OWNER)

    assert before == sorted((p.name, p.lstat().st_size, p.lstat().st_mtime_ns) for p in path.parent.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to give a file away")
def test_a_file_of_another_user_is_refused(path: Path) -> None:
    """In a folder that everybody writes to, anybody may have put it there."""
    path.write_bytes(CONTENT)
    os.chown(path, 12345, 12345)

    with pytest.raises(RefusedError, match="another user"):
        Slot.claim(str(path), OWNER)


def test_a_link_where_the_temporary_file_goes_is_not_followed(path: Path, slots: list[Slot]) -> None:
    """The classic attack on predictable names."""
    victim = path.parent / "victim"
    victim.write_text("untouched")
    (path.parent / "state.json.tmp").symlink_to("victim")
    slots.append(claim(path))

    slots[0].write(CONTENT)

    assert victim.read_text() == "untouched"
    assert read(str(path)) == DOCUMENT


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_whole(
    path: Path, slots: list[Slot], failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step fails: the old content stands, and no temporary file takes up what room is left."""
    slots.append(claim(path))
    slots[0].write(CONTENT)

    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space"):
        slots[0].write(encode(DOCUMENT._replace(saved_s=2.0)))
    monkeypatch.undo()

    assert read(str(path)) == DOCUMENT
    assert sorted(p.name for p in path.parent.iterdir()) == ["state.json", "state.json.lock"]


def test_no_descriptor_left_is_an_error_like_any_other(path: Path) -> None:
    """EMFILE: an OSError for the guard, the file whole, no descriptor lost by it."""

    def child() -> bool:
        slot = claim(path)
        slot.write(CONTENT)
        used = len(os.listdir("/proc/self/fd")) - 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        for attempt in (lambda: slot.write(CONTENT), lambda: Slot.claim(str(path), OWNER)):
            try:
                attempt()
                return False
            except OSError as error:
                if error.errno != errno.EMFILE:
                    return False
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        return len(os.listdir("/proc/self/fd")) - 1 == used and read(str(path)) == DOCUMENT

    assert in_fork(child)
