"""The modules an engine is made of, each after those it needs, for whoever loads them one by one."""

from __future__ import annotations

import sys
from typing import Final

HELPERS: Final = ("ctypes", "fnmatch", "resource", *(() if sys.platform.startswith("linux") else ("psutil",)))
"""Not ours; used where they are to be had."""

_NAMES: Final = """
    emission.exemplars emission.alerts clock detector median detector._trend detector._forecast
    detector._attention detector._envelope detector._evidence detector._patience types
    detector._pattern detector._load detector._filling detector._track detector._rss
    detector._validation detector._witnesses detector._watch detector._progress detector._alerts
    detector._baseline detector._lives
    detector.state detector._heritage detector._incidents detector._timeline detector.detector
    diagnosis diagnosis._witness probes probes._errors probes._files probes._pages
    probes._interpreter probes._malloc diagnosis._witnesses diagnosis.findings diagnosis.diagnoser
    errands last_words status epilogue history overhead probes._rss routes routes._ledger
    routes.attribution routes.names routes._sampler_tap routes.tally routes.counter routes.watch
    probes._caches kinds sampler probes._mountinfo probes._cgroup probes._limit surroundings tracing
    engine
"""

PARTS: Final = (*HELPERS, *(f"otel_memleak.{name}" for name in _NAMES.split()))

ON_SUSPICION: Final = (
    "otel_memleak.diagnosis._resource_reading",
    "otel_memleak.diagnosis.census",
    "otel_memleak.diagnosis.investigation",
    "otel_memleak.diagnosis.origin",
    "otel_memleak.diagnosis.resources",
    "otel_memleak.emission.notice",
)
"""What an engine fetches when it suspects a leak, with all they need: two megabytes and more."""
