"""What a process can say of its memory beside how much of it is resident.

Three uses, each of which leaves a series without witnesses exactly as it is:

* **What counts as growth.** Freed memory that malloc keeps and pages of mapped files are resident and
  nobody's leak; memory in swap is somebody's and not resident. The series that is judged is resident memory
  plus swap, less both, counted from the first time each was heard of: so it begins at the resident memory.
* **How long growth is watched.** Growth of which malloc and Python's allocator say that it is in use is not
  the allocators' doing: less patience. Growth that neither knows of is memory mapped past both or arenas
  that a few objects keep: more. No acquittal, since a leak of mappings looks the same.
  And the same again for what explains growth as well as time does: a load that rises (``_load``), a
  bounded cache that fills (``_filling``).
* **What clock it is measured by**: see ``_load``.

A witness may be missing at any sample (the dearer ones are read now and then): what it said last stands.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from otel_memleak.detector._envelope import Window
from otel_memleak.detector._evidence import Evidence
from otel_memleak.detector._filling import filling_doubt
from otel_memleak.detector._in_use import IN_USE_SHARE, UNKNOWN_SHARE, factor, lower_growth, share_in_use
from otel_memleak.detector._load import (
    LAGS,
    MIN_REQUESTS,
    Load,
    bytes_per_request,
    load_doubt,
    on_request_clock,
    request_clock,
)
from otel_memleak.detector._track import UNKNOWN, Track
from otel_memleak.detector._trend import fit
from otel_memleak.detector._validation import number
from otel_memleak.records import NamedTuple

_LEAST_BYTES = 4096.0
_WORTH_A_WORD_SHARE = 0.1
_FEWEST_MORE = 20
_QUIET = 0.25
_REQUESTS, _IN_USE, _KEPT, _BLOCKS, _FILE, _SWAPPED, _THREADS, _TASKS, _ENTRIES, _ROOM = range(10)


class Witnesses(NamedTuple):
    """What is said with one sample; None is not known.

    Attributes:
        requests: Served so far, since any moment. One that falls was set back, and counts from there.
        malloc_in_use_bytes: Allocated from malloc and not freed.
        malloc_kept_bytes: Freed, and kept by malloc.
        allocated_blocks: Blocks in use in Python's allocator.
        file_bytes: Resident pages of mapped files.
        swapped_bytes: Memory in swap.
        threads: Threads.
        asyncio_tasks: Unfinished tasks.
        cache_entries: Taken by bounded caches so far, since any moment.
        cache_room: What those that are filling still take.
    """

    requests: float | None = None
    malloc_in_use_bytes: float | None = None
    malloc_kept_bytes: float | None = None
    allocated_blocks: float | None = None
    file_bytes: float | None = None
    swapped_bytes: float | None = None
    threads: float | None = None
    asyncio_tasks: float | None = None
    cache_entries: float | None = None
    cache_room: float | None = None


class Context(NamedTuple):
    """What witnesses add to an alert.

    Attributes:
        bytes_per_request: What a request leaves behind; None where growth does not go with requests.
        remarks: Clauses for people.
    """

    bytes_per_request: float | None = None
    remarks: tuple[str, ...] = ()


_COLUMNS = len(Witnesses._fields)
_MOST = 2.0**60


class Testimony:
    """Everything the witnesses of one process have said.

    Args:
        width_s: At most one row of it is kept in so many seconds.
    """

    def __init__(self, width_s: float) -> None:
        self._width = width_s
        self._track: Track | None = None
        self._last = array("d", [UNKNOWN]) * _COLUMNS
        self._counter: float | None = None
        self._beside = self._free = self._shift = 0.0
        self._in_use = float("-inf")

    @property
    def silent(self) -> bool:
        """Whether nobody has said anything yet."""
        return self._track is None

    def hear(self, elapsed_s: float, rss_bytes: float, said: Sequence[object]) -> float:
        """Take what was said with a sample.

        Args:
            elapsed_s: When.
            rss_bytes: Resident memory.
            said: In the order of `Witnesses`. What is no number of at least 0 was not said.

        Returns:
            The bytes to judge: the resident ones, as long as nobody has said anything.
        """
        known, news = False, False
        for column, value in enumerate(said):
            if value is None or (count := number(value)) is None or not 0.0 <= count <= _MOST:
                continue
            known = True
            if column == _REQUESTS:
                count = self._served(count)
            news = news or self._last[column] != self._last[column]
            self._last[column] = count
        if known:
            self._take(elapsed_s, rss_bytes, news)
        return rss_bytes if self._track is None else self._retained(rss_bytes)

    def _take(self, elapsed_s: float, rss_bytes: float, news: bool) -> None:
        if self._track is None:
            self._track = Track(_COLUMNS, self._width)
        before, last = self._held(rss_bytes), self._last
        self._beside = _or_zero(last[_SWAPPED]) - _or_zero(last[_FILE])
        self._free = _or_zero(last[_KEPT])
        if last[_IN_USE] == last[_IN_USE]:
            self._in_use = last[_IN_USE]
        if news:
            self._shift += before - self._held(rss_bytes)
        self._track.add(elapsed_s, last)

    def _served(self, counter: float) -> float:
        """Requests since the first word of them, whatever the counter does."""
        before, self._counter = self._counter, counter
        more = 0.0 if before is None else counter - before if counter >= before else counter
        return _or_zero(self._last[_REQUESTS]) + more

    def _retained(self, rss_bytes: float) -> float:
        """What of the resident memory is to be judged, by what was said last."""
        return max(_LEAST_BYTES, self._held(rss_bytes) + self._shift)

    def _held(self, rss_bytes: float) -> float:
        """Resident memory and swap, less what is nobody's.

        Pages that malloc has freed and given back inside its heap (``malloc_trim``) still count as kept: so
        what malloc says is in use bounds the remainder from below.
        """
        anonymous = rss_bytes + self._beside
        held = anonymous - self._free
        return held if held >= self._in_use else max(held, min(anonymous, self._in_use))

    def views(self, evidence: Evidence, limit_bytes: float | None) -> Iterator[tuple[Evidence, float]]:
        """A window as it is to be judged, by one or two clocks, and the factor on the patience for each."""
        if self._track is None:
            yield evidence, 1.0
            return
        share = self._in_use_share(evidence.times_s[0], evidence.times_s[-1], evidence.rise_bytes)
        longer = factor(share) * self._filling(evidence, limit_bytes)
        load = self._load(evidence.times_s)
        yield evidence, longer * load_doubt(evidence, load)
        by_requests = on_request_clock(evidence, load)
        if by_requests is not None and by_requests.trend.slope > 0.0:
            yield by_requests, longer * load_doubt(by_requests, load)

    def context(self, window: Window, onset_s: float, growth_bytes: float) -> Context:
        """What there is to say of growth beside how much and how fast.

        Args:
            window: The stretch of growth it was found in, as it is now.
            onset_s: When it began.
            growth_bytes: How much it is.
        """
        if self._track is None:
            return Context()
        remarks = self._remarks(onset_s, window.times_s[-1], growth_bytes)
        return Context(bytes_per_request(*window, self._load(window.times_s)), tuple(remarks))

    def goes_on(self, window: Window, onset_s: float, growth_bytes: float, least_share: float) -> bool:
        """Whether growth goes on by the clock of requests, when by that of the wall it does not.

        It does while a request leaves at least such a share of what it has left on average since the onset.
        With hardly a request nothing can be said, and so not that it has ended.
        """
        if self._track is None:
            return False
        load = self._load(window.times_s)
        served = load.counts[-1] - self._track.at(_REQUESTS, onset_s)
        if not served >= MIN_REQUESTS:
            return False
        span_s = window.times_s[-1] - window.times_s[0]
        if not load.counted or load.served / span_s < _QUIET * served / (window.times_s[-1] - onset_s):
            return True
        clock = request_clock(window.times_s, load.counts)
        return (
            fit(clock, window.lows_bytes).slope * span_s / load.served >= least_share * growth_bytes / served
        )

    def _remarks(self, since_s: float, now_s: float, growth_bytes: float) -> list[str]:
        said: list[str] = []
        share = self._in_use_share(since_s, now_s, growth_bytes)
        if share is not None and share >= IN_USE_SHARE:
            said.append("it is in use, not merely kept")
        elif share is not None and share < UNKNOWN_SHARE:
            said.append("neither malloc nor Python's allocator accounts for it: mapped past both")
        for column, name in ((_SWAPPED, "went to swap"), (_THREADS, "threads"), (_TASKS, "asyncio tasks")):
            more = self._grown(column, since_s, now_s) or 0.0
            if column == _SWAPPED:
                if more >= _WORTH_A_WORD_SHARE * growth_bytes:
                    said.append(f"{more / 2**20:,.0f} MB of it {name}")
            elif more >= _FEWEST_MORE:
                said.append(f"{more:,.0f} more {name}")
        return said

    def kept_remark(self) -> str:
        """How much of resident memory was freed and is kept by malloc, where that is the most; else empty."""
        kept = self._last[_KEPT]
        if not kept >= self._last[_IN_USE]:  # not so for NaN, either
            return ""
        return f"{kept / 2**20:,.0f} MB of it is freed memory that malloc keeps"

    def _filling(self, evidence: Evidence, limit_bytes: float | None) -> float:
        room = self._last[_ROOM]
        if room != room:  # no cache was ever asked
            return 1.0
        entries = self._values(_ENTRIES, evidence.times_s)
        return filling_doubt(evidence, entries, room, limit_bytes)

    def _in_use_share(self, start_s: float, stop_s: float, growth_bytes: float) -> float | None:
        in_use = self._grown(_IN_USE, start_s, stop_s)
        return share_in_use(in_use, self._grown(_BLOCKS, start_s, stop_s), growth_bytes)

    def _grown(self, column: int, start_s: float, stop_s: float) -> float | None:
        return None if self._track is None else lower_growth(self._track.between(column, start_s, stop_s))

    def _load(self, times_s: Sequence[float]) -> Load:
        counts, step = self._counts(times_s), (times_s[-1] - times_s[0]) / (len(times_s) - 1)
        if self._track is None or counts[-1] != counts[-1]:
            return Load(counts, ())
        first, last = self._track.first_s(_REQUESTS), self._track.last_s
        rates: list[list[float]] = []
        for lag in LAGS:
            # Where a stretch is not known in full, its nearest neighbour that is stands for it.
            ends = [max(min(time + (1.0 - lag) * step, last), first + 2.0 * step) for time in times_s]
            starts = self._counts([end - 2.0 * step for end in ends])
            served = zip(starts, self._counts(ends), strict=True)
            rates.append([(after - before) / (2.0 * step) for before, after in served])
        return Load(counts, rates)

    def _counts(self, times_s: Sequence[float]) -> list[float]:
        return self._values(_REQUESTS, times_s)

    def _values(self, column: int, times_s: Sequence[float]) -> list[float]:
        track = self._track
        return [] if track is None else [track.at(column, time) for time in times_s]


def _or_zero(value: float) -> float:
    return value if value == value else 0.0
