"""Panels of a Grafana dashboard, and how they are laid out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

Panel: TypeAlias = dict[str, Any]
Steps: TypeAlias = Sequence[tuple[str, float | None]]
"""Thresholds: a colour and the value from which it holds; the first is the base."""

WIDTH = 24
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
LOKI = {"type": "loki", "uid": "${loki}"}
TEMPO = {"type": "tempo", "uid": "${tempo}"}


def panel(
    kind: str, title: str, source: dict[str, str], unit: str, steps: Steps, size: tuple[int, int]
) -> Panel:
    """What every panel has; ``size`` is its width and height on the grid."""
    defaults: dict[str, Any] = {"unit": unit, "color": _color(kind, steps)}
    if steps:
        absolute = [{"color": color, "value": value} for color, value in steps]
        defaults["thresholds"] = {"mode": "absolute", "steps": absolute}
    field_config = {"defaults": defaults, "overrides": []}
    return {"type": kind, "title": title, "datasource": source, "fieldConfig": field_config, "size": size}


def _color(kind: str, steps: Steps) -> dict[str, str]:
    """By threshold where a panel shows one number; without any, Grafana calls everything above 80 red."""
    if kind == "timeseries":
        return {"mode": "palette-classic"}
    return {"mode": "thresholds"} if steps else {"mode": "fixed", "fixedColor": "text"}


def query(expression: str, legend: str, name: str = "A", instant: bool = False) -> dict[str, Any]:
    """A query of Prometheus."""
    moment = {"instant": instant, "range": not instant}
    return {"refId": name, "datasource": PROMETHEUS, "expr": expression, "legendFormat": legend, **moment}


def stat(title: str, expression: str, unit: str, steps: Steps = (), note: str = "") -> Panel:
    """One number."""
    made = panel("stat", title, PROMETHEUS, unit, steps, (4, 4))
    made["targets"] = [query(expression, "", instant=True)]
    made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    made["description"] = note
    return made


def lines(title: str, queries: dict[str, str], unit: str, steps: Steps = (), note: str = "") -> Panel:
    """Curves over time: what the legend says, and the expression."""
    made = panel("timeseries", title, PROMETHEUS, unit, steps, (12, 8))
    named = zip("ABCDEF", queries.items(), strict=False)
    made["targets"] = [query(expression, legend, name) for name, (legend, expression) in named]
    made["description"] = note
    style = {"lineWidth": 2, "fillOpacity": 5, "thresholdsStyle": {"mode": "dashed" if steps else "off"}}
    made["fieldConfig"]["defaults"].update(custom=style, links=[_link_to_alerts()])
    return made


def override(names: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Another look for the curves whose legend matches."""
    return {
        "matcher": {"id": "byRegexp", "options": names},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def logs(title: str, filters: str) -> Panel:
    """Log records of the chosen services."""
    made = panel("logs", title, LOKI, "none", (), (12, 9))
    made["targets"] = [{"refId": "A", "datasource": LOKI, "expr": f'{{service_name=~"$job"}} {filters}'}]
    made["options"] = {"showTime": True, "wrapLogMessage": True, "enableLogDetails": True}
    return made


def placed(flow: Sequence[Panel | str]) -> list[Panel]:
    """Panels in reading order, each with its place; a title starts a row."""
    found: list[Panel] = []
    x = y = line = 0
    for number, item in enumerate(flow, start=1):
        one: Panel = {"type": "row", "title": item, "size": (WIDTH, 1)} if isinstance(item, str) else item
        width, height = one.pop("size")
        if x + width > WIDTH or one["type"] == "row":
            x, y, line = 0, y + line, 0
        found.append({"id": number, "gridPos": {"x": x, "y": y, "w": width, "h": height}, **one})
        x, line = x + width, max(line, height)
    return found


def _link_to_alerts() -> dict[str, str]:
    traceql = '{ name = "memleak.leak" && resource.service.name = "${__field.labels.job}" }'
    asked = {"refId": "A", "queryType": "traceql", "datasource": TEMPO, "query": traceql}
    pane = {"datasource": "${tempo}", "queries": [asked], "range": {"from": "${__from}", "to": "${__to}"}}
    panes = json.dumps({"alert": pane})
    return {"title": "Traces of its alerts", "url": f"/explore?schemaVersion=1&panes={panes}"}
