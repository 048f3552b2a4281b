"""A picture that lasts: one HTML file with everything in it, no scripts, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from html import escape
from typing import Final

from otel_memleak.cli import _text
from otel_memleak.cli._picture import Event, Picture
from otel_memleak.messages import format_duration, format_mb
from otel_memleak.types import MB
from otel_memleak.version import __version__

_WIDTH: Final = 860
_HEIGHT: Final = 240
_LEFT: Final = 74
_BOTTOM: Final = 26
_TOP: Final = 12
_RIGHT: Final = 12
_GRID_LINES: Final = 4
_ALERT_ROWS: Final = 6

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #68758a; --line: #d8dee8; --paper: #fff;
  --curve: #2563eb; --base: #0f8a5f; --limit: #b45309; --alert: #c81e1e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --dim: #94a0b4; --line: #333d4d; --paper: #131820;
  --curve: #7aa5ff; --base: #43c59e; --limit: #f0a35a; --alert: #ff7b7b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 900px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
.verdict { font-size: 1.1rem; font-weight: 600; } .leak { color: var(--alert); }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--dim); }
.grid { stroke: var(--line); } .curve { stroke: var(--curve); fill: none; stroke-width: 1.8; }
.baseline { stroke: var(--base); stroke-dasharray: 5 4; } .limit { stroke: var(--limit); stroke-dasharray: 8 4; }
.alert { stroke: var(--alert); }
svg .baseline-text { fill: var(--base); } svg .limit-text { fill: var(--limit); } svg .alert-text { fill: var(--alert); }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top; }
th { font-weight: 500; color: var(--dim); white-space: nowrap; }
footer { margin-top: 3rem; color: var(--dim); font-size: .85rem; }
"""  # noqa: E501 - one rule per line reads better


def page(title: str, pictures: Sequence[Picture]) -> str:
    """Returns a whole HTML document.

    Args:
        title: What was watched.
        pictures: One per process, as they stand at the end.
    """
    sections = "".join(_process_section(picture) for picture in pictures)
    verdict_class = "verdict leak" if any(picture.leaks for picture in pictures) else "verdict"
    written = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="{verdict_class}">{escape(_text.verdict(pictures))}</p>\n'
        f"{sections}<footer>otel-memleak {escape(__version__)}, {written}. "
        "Everything shown is what the processes exported over OTLP.</footer>\n</body></html>\n"
    )


def _process_section(picture: Picture) -> str:
    events = "".join(_event_row(event, picture) for event in picture.events)
    header = "<tr><th>after</th><th>event</th><th>what it says</th><th>how it arrived</th></tr>"
    return (
        f"<section><h2>{escape(picture.name)}</h2>\n{_chart(picture)}\n{_facts(picture)}\n"
        + (f"<table>{header}{events}</table>" if events else "<p>No event.</p>")
        + "</section>\n"
    )


def _facts(picture: Picture) -> str:
    baseline = picture.baseline_bytes
    facts = {
        "state": _text.state(picture),
        "resident memory": _text.memory(picture),
        "baseline": "–" if baseline is None else f"{format_mb(baseline)} MB",
        "growth": _text.rate(picture),
        "time to limit": _text.remaining(picture),
    }
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts.items())
    return f"<table>{rows}</table>"


def _event_row(event: Event, picture: Picture) -> str:
    start_s = picture.rss[0][0] if picture.rss else event.time_s
    cells = (
        format_duration(max(0.0, event.time_s - start_s)),
        f"{event.severity} {event.name}".strip(),
        event.body,
        f"{_text.arrival(event)}; id {event.alert_id}",
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


class _Scale:
    """From seconds and bytes to the chart's coordinates."""

    def __init__(self, picture: Picture) -> None:
        times = [time_s for time_s, _ in picture.rss]
        values = [rss_bytes for _, rss_bytes in picture.rss]
        if picture.baseline_bytes is not None:
            values.append(picture.baseline_bytes)
        self.start_s: Final = min(times)
        self.span_s: Final = max(max(times) - self.start_s, 1.0)
        margin = max(0.1 * (max(values) - min(values)), MB)
        self.low: Final = max(0.0, min(values) - margin)
        self.high: Final = max(values) + margin

    def x(self, time_s: float) -> float:
        share = (time_s - self.start_s) / self.span_s
        return round(_LEFT + min(1.0, max(0.0, share)) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, size_bytes: float) -> float:
        share = (size_bytes - self.low) / (self.high - self.low)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP), 1)


def _chart(picture: Picture) -> str:
    if not picture.rss:
        return "<p>No sample.</p>"
    scale = _Scale(picture)
    parts = [*_grid(scale), *_levels(picture, scale), *_alert_marks(picture, scale)]
    points = " ".join(f"{scale.x(t)},{scale.y(v)}" for t, v in picture.rss)
    parts.append(f'<polyline class="curve" points="{points}"/>')
    label = escape(f"Resident memory of {picture.name}", quote=True)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">' + "".join(parts) + "</svg>"
    )


def _grid(scale: _Scale) -> Iterable[str]:
    for step in range(_GRID_LINES + 1):
        value = scale.low + (scale.high - scale.low) * step / _GRID_LINES
        yield _horizontal(scale.y(value), "grid")
        yield _label(_LEFT - 6, scale.y(value) + 4, f"{format_mb(value)} MB", anchor="end")
        time_s = scale.start_s + scale.span_s * step / _GRID_LINES
        anchor = ("start", "middle", "middle", "middle", "end")[step]
        yield _label(scale.x(time_s), _HEIGHT - 8, format_duration(time_s - scale.start_s), anchor=anchor)


def _levels(picture: Picture, scale: _Scale) -> Iterable[str]:
    if picture.baseline_bytes is not None:
        y = scale.y(picture.baseline_bytes)
        yield _horizontal(y, "baseline") + _label(_LEFT + 6, y - 4, "baseline", "baseline-text")
    limit = picture.limit_bytes
    if limit is None:
        return
    if limit <= scale.high:
        yield _horizontal(scale.y(limit), "limit")
    name = f"limit {format_mb(limit)} MB" + (" (above this chart)" if limit > scale.high else "")
    yield _label(_LEFT + 6, scale.y(min(limit, scale.high)) + 13, name, "limit-text")


def _alert_marks(picture: Picture, scale: _Scale) -> Iterable[str]:
    for number, event in enumerate(picture.events):
        x = scale.x(event.time_s)
        title = f"<title>{escape(_text.headline(event))}</title>"
        yield f'<line class="alert" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}">{title}</line>'
        # On the inner side of the line, and not on top of each other.
        offset, anchor = (4, "start") if x < _WIDTH / 2 else (-4, "end")
        y = _HEIGHT - _BOTTOM - 6 - 13 * (number % _ALERT_ROWS)
        yield _label(x + offset, y, event.name, "alert-text", anchor=anchor)


def _horizontal(y: float, css_class: str) -> str:
    return f'<line class="{css_class}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'


def _label(x: float, y: float, text: str, css_class: str = "axis", *, anchor: str = "start") -> str:
    return f'<text class="{css_class}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
