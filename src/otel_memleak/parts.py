"""The modules an engine is made of, each after those it needs, for whoever loads them one by one."""

from __future__ import annotations

import sys
from typing import Final

HELPERS: Final = ("ctypes", "fnmatch", "resource", *(() if sys.platform.startswith("linux") else ("psutil",)))
"""Not ours; used where they are to be had."""


def _ours(names: str) -> tuple[str, ...]:
    return tuple(f"otel_memleak.{name}" for name in names.split())


PARTS: Final = HELPERS + _ours("""
    emission.alerts clock detector median detector._trend
    detector._attention detector._envelope detector._evidence detector._patience types detector._load
    detector._filling detector._in_use detector._track detector._incidents detector._rss detector._validation
    detector._witnesses detector._watch detector._baseline
    detector._timeline detector._case detector.detector
    diagnosis diagnosis._witness probes probes._errors probes._files probes._pages
    probes._interpreter probes._malloc diagnosis._witnesses
    last_words status history overhead probes._rss routes routes._ledger
    routes.names routes._sampler_tap routes.tally routes.counter routes.watch
    probes._caches kinds sampler probes._mountinfo probes._cgroup probes._limit surroundings
    tuning responder engine
""")
"""What every process needs that is watched."""

ON_ALERT: Final = _ours("""
    verdicts detector._forecast detector._pattern detector._progress detector._alerts messages
    emission.attributes emission.notice emission.exemplars emission.log_records emission.sending
    errands epilogue
""")
"""What an engine fetches when there is something to say, or the limit is near."""

DIAGNOSER: Final = _ours("""
    verdicts diagnosis.findings diagnosis.diagnoser diagnosis._growth diagnosis.origin diagnosis.resources
    diagnosis._places
    probes._asyncio diagnosis._tasks diagnosis._resource_reading routes.attribution
    routes._regression routes._explanation
""")
"""What it fetches when it suspects a leak, if it is to look into it."""

INVESTIGATION: Final = _ours("diagnosis.census diagnosis.investigation")
"""What the look itself takes, with all it needs: more than a megabyte."""
