"""The README's reference tables, made from the code.

python tests/tables.py --write     # after a change of settings, metrics or events
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

from otel_memleak.emission.attributes import alert_attributes
from otel_memleak.semconv import METRICS
from otel_memleak.settings import SETTINGS
from otel_memleak.types import LeakAlert, Pattern

README = Path(__file__).parent.parent / "README.md"


def settings_table() -> str:
    """Every setting, its defaults and its meaning."""
    rows = ["| setting | production | development | meaning |", "|---|---|---|---|"]
    for setting in SETTINGS:
        production, development = (_default(v) for v in (setting.production, setting.development))
        rows.append(f"| `{setting.name}` | {production} | {development} | {setting.meaning} |")
    return "\n".join(rows)


def _default(value: object) -> str:
    if value in (None, ()):
        return ""
    return f"`{value}`"


def metrics_table() -> str:
    """Every metric with its kind, unit and attributes."""
    rows = ["| metric | instrument | unit | attributes | |", "|---|---|---|---|---|"]
    for metric in METRICS:
        attributes = ", ".join(f"`{name}`" for name in metric.attributes)
        rows.append(
            f"| `{metric.name}` | {metric.instrument} | `{metric.unit}` | {attributes} | {metric.description} |"
        )
    return "\n".join(rows)


def attributes_table() -> str:
    """Every attribute, and the events that carry it, from an alert that knows everything."""
    full = LeakAlert(
        event="memleak.leak", id="1", severity="warning", reason="growth", time_s=1.0, rss_bytes=1.0,
        baseline_bytes=1.0, growth_bytes_per_hour=1.0, growth_bytes_per_hour_low=1.0,
        growth_bytes_per_hour_high=1.0, confidence=1.0, onset_s=1.0, growth_bytes=1.0, limit_bytes=1.0,
        time_to_limit_s=1.0, pattern="linear", threshold_bytes=1.0,
    )  # fmt: skip
    events = {event: alert_attributes(replace(full, event=event)) for event in _EVENTS}  # type: ignore[arg-type]
    names = list(dict.fromkeys(name for attributes in events.values() for name in attributes))
    rows = ["| attribute | on | |", "|---|---|---|"]
    for name in names:
        on = ", ".join(event.removeprefix("memleak.") for event in _EVENTS if name in events[event])
        rows.append(f"| `{name}` | {on} | {_MEANINGS[name]} |")
    return "\n".join(rows)


_EVENTS = ("memleak.leak", "memleak.rss", "memleak.resolved")
_MEANINGS = {
    "memleak.alert.id": "the same on every signal of one incident",
    "memleak.alert.severity": "`warning` (log severity WARN) or `critical` (ERROR)",
    "memleak.alert.reason": "`growth`, `forecast` or `rss`",
    "memleak.growth.rate": "By/h",
    "memleak.growth.rate.low": "lower end of its 95 % interval",
    "memleak.growth.rate.high": "upper end of its 95 % interval",
    "memleak.growth.pattern": ", ".join(f"`{name}`" for name in get_args(Pattern)),
    "memleak.confidence": "0 to 1",
    "memleak.growth.bytes": "By since the onset",
    "memleak.growth.onset": "Unix seconds",
    "memleak.process.rss": "By",
    "memleak.process.baseline": "By; absent when unknown",
    "memleak.process.limit": "By; absent when unknown",
    "memleak.time_to_limit": "s; absent when unknown",
}

TABLES = {"settings": settings_table, "metrics": metrics_table, "attributes": attributes_table}


def with_tables(text: str) -> str:
    """The text with every marked table as the code has it now."""
    for name, table in TABLES.items():
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        text, found = re.subn(pattern, lambda m, t=table: f"{m[1]}{t()}\n{m[2]}", text, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"the marker of the table {name!r} stands {found} times in the text")
    return text


if __name__ == "__main__":
    written = with_tables(README.read_text(encoding="utf-8"))
    if sys.argv[1:] == ["--write"]:
        README.write_text(written, encoding="utf-8")
    else:
        print(written)
