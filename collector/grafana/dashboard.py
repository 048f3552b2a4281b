"""The Grafana dashboard, from a source that can be read: ``python collector/grafana/dashboard.py --write``.

Without ``--write`` it exits with 1 when the file is not what this would write.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from parts import PROMETHEUS, TEMPO, Panel, lines, logs, override, panel, placed, query, stat

TARGET = Path(__file__).with_name("dashboards") / "memleak.json"

SERVICE = 'job=~"$job", service_version=~"$version"'
ONE = f'{SERVICE}, instance=~"$instance"'
LEAKS = 'memleak_alert_reason!="rss"'
STATES = {"stable": "green", "warming_up": "blue", "suspect": "yellow", "leaking": "red"}

MB = 1024 * 1024
GROWTH = [("green", None), ("yellow", 50 * MB), ("red", 100 * MB)]
TIME_LEFT = [("red", None), ("yellow", 2 * 3600), ("green", 24 * 3600)]
SHARE = [("green", None), ("yellow", 0.1), ("red", 0.5)]
ANY = [("green", None), ("red", 1)]
CPU = [("green", None), ("yellow", 0.005), ("red", 0.01)]


def fleet() -> list[Panel | str]:
    """What one process cannot know."""
    leaking = f"instance:memleak_leaking:max{{{SERVICE}}}"
    by_version = "{{job}} {{service_version}}"
    growth = f"version:memleak_growth_bytes_per_hour:median{{{SERVICE}}}"
    return [
        "The fleet",
        stat("Instances watched", f"count({leaking})", "none"),
        stat("Leaking now", f"sum({leaking})", "none", ANY),
        stat("Share that leaks", f"avg({leaking})", "percentunit", SHARE),
        stat("The fleet leaks per hour", "sum(fleet:memleak_growth_bytes_per_hour:sum)", "bytes", GROWTH),
        stat("First at its limit", f"min(memleak_time_to_limit_seconds{{{SERVICE}}})", "s", TIME_LEFT),
        stat(
            "Alerts",
            f"round(sum(increase(memleak_alerts_total{{{SERVICE}, {LEAKS}}}[$__range])))",
            "none",
            ANY,
        ),
        lines(
            "Share of instances that leak, by version",
            {by_version: f"version:memleak_leaking:ratio{{{SERVICE}}}"},
            "percentunit",
            SHARE,
        ),
        lines(
            "Median growth per hour, by version",
            {by_version: growth},
            "bytes",
            GROWTH,
            "A step between two versions is where the leak came in.",
        ),
    ]


def instances() -> list[Panel | str]:
    """Which of them, and which is worst."""
    return ["Instances", _states(), _worst()]


def _states() -> Panel:
    numbers = {str(number): {"text": state, "color": STATES[state]} for number, state in enumerate(STATES)}
    current = " + ".join(
        f'{number} * sum by (job, instance) (memleak_state_ratio{{{ONE}, memleak_state="{state}"}})'
        for number, state in enumerate(STATES)
    )
    made = panel("state-timeline", "State of each instance", PROMETHEUS, "none", (), (12, 10))
    made["targets"] = [query(current, "{{job}} {{instance}}")]
    style = {"fillOpacity": 80, "lineWidth": 0}
    made["fieldConfig"]["defaults"].update(mappings=[{"type": "value", "options": numbers}], custom=style)
    made["options"] = {"mergeValues": True, "showValue": "never", "rowHeight": 0.9}
    return made


def _worst() -> Panel:
    made = panel("bargauge", "Growing fastest, per hour", PROMETHEUS, "bytes", GROWTH, (12, 10))
    top = f"topk(15, memleak_growth_rate_bytes_per_hour{{{ONE}}} > 0)"
    made["targets"] = [query(top, "{{job}} {{service_version}} {{instance}}", instant=True)]
    reduced = {"calcs": ["lastNotNull"]}
    made["options"] = {"orientation": "horizontal", "displayMode": "basic", "reduceOptions": reduced}
    return made


def memory() -> list[Panel | str]:
    """Where memory is, and where it is heading."""
    growth = f"memleak_growth_rate_bytes_per_hour{{{ONE}}}"
    left = f"memleak_time_to_limit_seconds{{{ONE}}}"
    calm = "Robust and without daily waves; 0 while memory is stable."
    return [
        "Memory",
        _resident(),
        lines("Growth per hour", {"{{instance}}": growth}, "bytes", GROWTH, calm),
        lines("Time to the limit", {"{{instance}}": left}, "s", TIME_LEFT, "No line while nothing grows."),
        _spread(),
    ]


def _resident() -> Panel:
    rss = f"memleak_process_rss_bytes{{{ONE}}}"
    growth = f"memleak_growth_rate_bytes_per_hour{{{ONE}}}"
    limit = f"memleak_process_limit_bytes{{{ONE}}}"
    one = "max by (job, instance)"
    ahead = f"({one} ({rss}) + clamp_min({one} ({growth}), 0) * 6)"
    # A leak that would be killed within the six hours stops at its limit, or it would be all that one sees.
    beyond = f"{ahead} > {one} ({limit})"
    stopped = f"({ahead} unless {beyond}) or ({one} ({limit}) and {beyond})"
    curves = {
        "{{instance}}": rss,
        "limit ({{memleak_limit_source}})": f"min by (memleak_limit_source) ({limit})",
        "{{instance}} in 6 h": stopped,
        "{{instance}} floor of an hour": f"min_over_time({rss}[1h])",
    }
    note = "The floor is what is left after garbage collection and quiet moments: it rises with a leak."
    note += " What is ahead ends at the limit."
    made = lines("Resident memory, its limit and where it is heading", curves, "bytes", note=note)
    made["size"] = (24, 9)
    red = {"mode": "fixed", "fixedColor": "red"}
    made["fieldConfig"]["overrides"] = [
        override("/^limit/", {"color": red, "custom.lineStyle": {"fill": "dash"}, "custom.fillOpacity": 0}),
        override("/in 6 h$/", {"custom.lineStyle": {"fill": "dot"}, "custom.fillOpacity": 0}),
        override("/floor/", {"custom.lineWidth": 1, "custom.fillOpacity": 0}),
    ]
    return made


def _spread() -> Panel:
    made = panel("heatmap", "How memory is spread over instances", PROMETHEUS, "bytes", (), (24, 8))
    buckets = f"memleak_process_rss_distribution_bytes_bucket{{{SERVICE}}}"
    asked = query(f"sum by (le) (increase({buckets}[$__rate_interval]))", "{{le}}")
    made["targets"] = [{**asked, "format": "heatmap"}]
    made["options"] = {"calculate": False, "yAxis": {"unit": "bytes"}, "color": {"scheme": "Oranges"}}
    return made


def alerts() -> list[Panel | str]:
    """What was said, and the way to the traces."""
    return [
        "Alerts and suspects",
        logs("Alerts", '| event_name=~"memleak.leak|memleak.rss|memleak.resolved"'),
        logs("Suspects: what grows, who holds it, where it is made", '| event_name="memleak.diagnosis"'),
        _spans(),
        _traces(),
    ]


def _spans() -> Panel:
    counted = 'sum by (service_name) (memleak_received_calls_total{service_name=~"$job"})'
    note = "Spans of alerts since the Collector started; each dot is one of them and leads to its trace."
    made = lines("Alert spans", {"{{service_name}}": counted}, "none", note=note)
    made["targets"][0]["exemplar"] = True
    return made


def _traces() -> Panel:
    made = panel("table", "Traces of alerts", TEMPO, "none", (), (12, 8))
    traceql = (
        '{ name =~ "memleak[.].*" && resource.service.name =~ "$job" }'
        " | select(span.memleak.alert.severity, span.memleak.alert.reason)"
    )
    asked = {"refId": "A", "datasource": TEMPO, "queryType": "traceql", "query": traceql, "limit": 20}
    made["targets"] = [asked]
    made["description"] = "The links of a span lead to the requests in flight when the alert was raised."
    return made


def watcher() -> list[Panel | str]:
    """Whether the watcher and its telemetry are in order."""
    errors = f"sum by (job) (increase(memleak_overhead_errors_total{{{SERVICE}}}[1h]))"
    path = {
        "sent by processes": f"sum(memleak_alerts_total{{{SERVICE}, {LEAKS}}})",
        "records at the Collector": f"sum(memleak_received_leak_records_total{{{SERVICE}}})",
        "spans at the Collector": f"sum(memleak_received_leak_spans_total{{{SERVICE}}})",
    }
    cpu = f"instance:memleak_overhead_cpu:rate15m{{{ONE}}}"
    return [
        "The watcher itself",
        lines("CPU used by otel-memleak", {"{{instance}}": cpu}, "percentunit", CPU),
        lines("Failures swallowed", {"{{job}}": errors}, "none", ANY),
        lines("Alerts on their way", path, "none", note="Fewer spans than records: heads are sampled."),
    ]


def variables() -> list[dict[str, Any]]:
    """Data sources and the choice of services."""
    kinds = ("prometheus", "loki", "tempo")
    sources = [{"name": kind, "label": kind.title(), "type": "datasource", "query": kind} for kind in kinds]
    rss = "memleak_process_rss_bytes"
    return [
        *sources,
        _label("job", "Service", f"label_values({rss}, job)"),
        _label("version", "Version", f'label_values({rss}{{job=~"$job"}}, service_version)'),
        _label("instance", "Instance", f"label_values({rss}{{{SERVICE}}}, instance)"),
    ]


def _label(name: str, label: str, values: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": PROMETHEUS,
        "query": values,
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def annotation() -> dict[str, Any]:
    """A mark on every curve where a process has raised an alert."""
    return {
        "name": "Alerts",
        "enable": True,
        "iconColor": "red",
        "datasource": PROMETHEUS,
        "expr": f"changes(memleak_alerts_total{{{ONE}, {LEAKS}}}[1m]) > 0",
        "titleFormat": "{{memleak_alert_severity}} ({{memleak_alert_reason}})",
        "textFormat": "{{job}} {{instance}}",
    }


def text() -> str:
    """The dashboard as Grafana imports it."""
    made = {
        "uid": "otel-memleak",
        "title": "Memory leaks",
        "description": "What processes say about their own memory: otel-memleak",
        "tags": ["opentelemetry", "memory", "otel-memleak"],
        "schemaVersion": 41,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables()},
        "annotations": {"list": [annotation()]},
        "panels": placed([*fleet(), *instances(), *memory(), *alerts(), *watcher()]),
    }
    return json.dumps(made, indent=1) + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv:
        TARGET.write_text(text(), encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text():
        sys.exit(f"{TARGET} is not what this source makes: run it with --write")
