"""The whole way with the real programs: example service, Collector, Jaeger, Tempo, Prometheus, through what is shipped.

A backend that has not been built on this machine skips its own tests, loudly, and no others.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from ops.stack import (
    COLLECTOR,
    REPOSITORY,
    Collector,
    Jaeger,
    Loki,
    Prometheus,
    Running,
    Tempo,
    VictoriaLogs,
    answers,
    eventually,
    free_port,
    get_json,
    programs,
)
from processes import LAUNCHER, QUICK, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLE = REPOSITORY / "examples" / "fastapi_cache"
VERSION = "2.4.1"
LEAK_FOUND_WITHIN_S = 150.0
SEEN_WITHIN_S = 90.0


class Stack:
    """Everything that runs, the backends of this machine only, and the two services."""

    def __init__(self, directory: Path, end: ExitStack) -> None:
        self.directory = directory
        self.log_file = directory / "logs.jsonl"
        self.jaeger = self._backend(Jaeger, "jaeger", end)
        self.tempo = self._backend(Tempo, "tempo", end)
        self.prometheus = self._backend(Prometheus, "prometheus", end)
        self.loki = self._backend(Loki, "loki", end)
        self.victorialogs = self._backend(VictoriaLogs, "victoria-logs", end)
        self.collector = Collector(directory, *self._layers(), **self._addresses())
        end.callback(self.collector.stop)
        self.collector.start()
        for service, app in (("quotes", "app:app"), ("quotes-fixed", "fixed:app")):
            self._serve(service, app, end)

    def _backend(self, kind: Any, binary: str, end: ExitStack) -> Any:
        if programs.find(binary) is None:
            return None
        backend = kind(self.directory)
        end.callback(backend.running.stop)
        return backend

    def _layers(self) -> list[str]:
        known = ("jaeger", "tempo", "prometheus", "loki", "victorialogs")
        backends = [name for name in known if getattr(self, name) is not None]
        return ["base", "gateway", "alerts", "file", *backends, "extras"]

    def _addresses(self) -> dict[str, str]:
        found = {"LOG_FILE": str(self.log_file), "DECISION_WAIT": "2s", "TRACE_PERCENTAGE": "0"}
        if self.jaeger:
            found["JAEGER_ENDPOINT"] = self.jaeger.otlp
        if self.tempo:
            found["TEMPO_ENDPOINT"] = self.tempo.otlp
        if self.loki:
            found["LOKI_ENDPOINT"] = self.loki.url
        if self.victorialogs:
            found["VICTORIALOGS_ENDPOINT"] = self.victorialogs.url
        if self.prometheus:
            found.update(PROMETHEUS_ENDPOINT=self.prometheus.url, SELF_METRICS_INTERVAL_MS="2000")
            found["EXEMPLARS_INTERVAL"] = "2s"
        return found

    def _serve(self, service: str, app: str, end: ExitStack) -> None:
        port = free_port()
        command = [LAUNCHER, sys.executable, "-m", "uvicorn", app, "--port", str(port), "--no-access-log"]
        variables = {
            **QUICK,
            "OTEL_SERVICE_NAME": service,
            "OTEL_RESOURCE_ATTRIBUTES": f"service.version={VERSION},deployment.environment.name=test",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.http,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT": "512",
            "PYTHONPATH": os.pathsep.join([str(EXAMPLE), os.environ.get("PYTHONPATH", "")]).rstrip(
                os.pathsep
            ),
        }
        served = Running(command, self.directory, service, environment(**variables))
        end.callback(served.stop)
        url = f"http://127.0.0.1:{port}"
        served.wait_until(f"{url}/quotes/ACME?visitor=first")
        load = subprocess.Popen(
            [sys.executable, str(EXAMPLE.parent / "load.py"), url, "/quotes/ACME?visitor={n}"]
        )
        end.callback(_interrupt, load)

    def records(self, event: str) -> list[dict[str, Any]]:
        """Log records with that event name, flat, as the Collector has written them."""
        if not self.log_file.exists():
            return []
        found = []
        for line in self.log_file.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                found += list(_records(json.loads(line), event))
        return found

    def leak(self, service: str = "quotes") -> dict[str, Any]:
        """The record of the service's first leak, as soon as there is one."""

        def first() -> dict[str, Any] | None:
            return next((r for r in self.records("memleak.leak") if r["service.name"] == service), None)

        found = eventually(first, "a memleak.leak in the log file", LEAK_FOUND_WITHIN_S)
        assert found is not None
        return found


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()


def _records(batch: dict[str, Any], event: str) -> Iterator[dict[str, Any]]:
    for resource in batch["resourceLogs"]:
        for scope in resource["scopeLogs"]:
            for record in scope["logRecords"]:
                if record.get("eventName") == event:
                    yield {
                        **_flat(resource["resource"]["attributes"]),
                        **_flat(record.get("attributes", [])),
                        "trace_id": record.get("traceId", ""),
                        "severity": record["severityNumber"],
                        "body": record["body"]["stringValue"],
                    }


def _flat(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in attributes}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Everything, once for all tests of this module."""
    if programs.find("otelcol") is None:
        pytest.skip("no Collector on this machine: `python collector/programs.py` builds it")
    with tempfile.TemporaryDirectory() as directory, ExitStack() as end:
        yield Stack(Path(directory), end)


def _needs(backend: Any, name: str) -> Any:
    if backend is None:
        pytest.skip(f"no {name} on this machine: `python collector/programs.py` builds it")
    return backend


def test_log_record(stack: Stack) -> None:
    """The alert arrives as a log record with its event name, severity, sentence and the ids of its trace."""
    leak = stack.leak()
    assert leak["severity"] in (13, 17)
    assert leak["memleak.alert.severity"] == {13: "warning", 17: "critical"}[leak["severity"]]
    assert leak["body"].startswith("RSS grew ")
    assert len(leak["trace_id"]) == 32
    assert leak["service.version"] == VERSION


def test_jaeger_finds_the_alert(stack: Stack) -> None:
    """Jaeger's search by service and operation finds the trace whose id the log record carries, with its event."""
    jaeger = _needs(stack.jaeger, "jaeger")
    leak = stack.leak()

    def found() -> dict[str, Any] | None:
        traces = jaeger.traces("quotes", operation="memleak.leak")
        return next((trace for trace in traces if trace["traceID"] == leak["trace_id"]), None)

    trace = eventually(found, "the trace of the alert in Jaeger", SEEN_WITHIN_S)
    assert trace is not None
    (span,) = trace["spans"]
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    assert tags["memleak.alert.id"] == leak["memleak.alert.id"]
    event = {field["key"]: field["value"] for field in span["logs"][0]["fields"]}
    assert event["event"] == "memleak.leak"
    assert event["memleak.alert.id"] == leak["memleak.alert.id"]


def test_jaeger_finds_the_alert_by_tag(stack: Stack) -> None:
    """The id of an incident is enough to find it: Jaeger's search by tags."""
    jaeger = _needs(stack.jaeger, "jaeger")
    tags = json.dumps({"memleak.alert.id": stack.leak()["memleak.alert.id"]})
    eventually(lambda: jaeger.traces("quotes", tags=tags), "the alert by its id", SEEN_WITHIN_S)


def test_tail_sampling_keeps_what_belongs_to_an_alert(stack: Stack) -> None:
    """Of the application's requests, the gateway keeps those that carry the event, and (at 0 %) no others."""
    jaeger = _needs(stack.jaeger, "jaeger")
    stack.leak()
    operation = "GET /quotes/{symbol}"
    marked = json.dumps({"memleak.event": "memleak.leak"})
    eventually(
        lambda: jaeger.traces("quotes", operation=operation, tags=marked),
        "requests in flight during the alert",
        SEEN_WITHIN_S,
    )
    for trace in jaeger.traces("quotes", operation=operation):
        events = [
            field["value"] for span in trace["spans"] for log in span["logs"] for field in log["fields"]
        ]
        assert any(str(value).startswith("memleak.") for value in events)
    assert jaeger.traces("quotes-fixed", operation=operation) == []


def test_tempo_finds_the_alert(stack: Stack) -> None:
    """TraceQL finds the alert by the span's name, by the event's name and by severity, as the README says."""
    tempo = _needs(stack.tempo, "tempo")
    leak = stack.leak()
    for query in (
        '{ resource.service.name = "quotes" && name = "memleak.leak" }',
        '{ event:name = "memleak.leak" && name = "memleak.leak" }',
        f'{{ span.memleak.alert.severity = "{leak["memleak.alert.severity"]}" && name = "memleak.leak" }}',
        f'{{ span.memleak.alert.id = "{leak["memleak.alert.id"]}" }}',
    ):

        def found(query: str = query) -> bool:
            ids = [trace["traceID"].zfill(32) for trace in tempo.search(query)]
            return leak["trace_id"] in ids

        eventually(found, f"the alert in Tempo by {query}", SEEN_WITHIN_S)


def test_loki_finds_the_alert(stack: Stack) -> None:
    """LogQL finds the alert's log record by service and event name, with severity, incident and trace to follow."""
    loki = _needs(stack.loki, "loki")
    leak = stack.leak()
    query = '{service_name="quotes"} | event_name="memleak.leak"'
    found = eventually(lambda: loki.query(query), "the alert in Loki", SEEN_WITHIN_S)
    stream = found[0]["stream"]
    assert stream["memleak_alert_id"] == leak["memleak.alert.id"]
    assert stream["memleak_alert_severity"] == leak["memleak.alert.severity"]
    assert stream["trace_id"] == leak["trace_id"]
    assert found[0]["values"][0][1] == leak["body"]


def test_victorialogs_finds_the_alert(stack: Stack) -> None:
    """LogsQL finds the alert's log record by event name, with severity, incident and trace to follow."""
    victorialogs = _needs(stack.victorialogs, "victorialogs")
    leak = stack.leak()
    query = 'event_name:="memleak.leak" service.name:="quotes"'
    found = eventually(lambda: victorialogs.query(query), "the alert in VictoriaLogs", SEEN_WITHIN_S)
    record = found[0]
    assert record["memleak.alert.id"] == leak["memleak.alert.id"]
    assert record["memleak.alert.severity"] == leak["memleak.alert.severity"]
    assert record["trace_id"] == leak["trace_id"]
    assert record["_msg"] == leak["body"]
    assert victorialogs.query('event_name:="memleak.leak" service.name:="quotes-fixed"') == []


def test_prometheus_has_the_metrics(stack: Stack) -> None:
    """Every name that rules and dashboards use exists after translation, with job, instance and version."""
    prometheus = _needs(stack.prometheus, "prometheus")
    stack.leak()
    for name in (
        "memleak_process_rss_bytes",
        "memleak_process_limit_bytes",
        "memleak_growth_rate_bytes_per_hour",
        "memleak_time_to_limit_seconds",
        "memleak_state_ratio",
        "memleak_alerts_total",
        "memleak_python_allocated_blocks",
        "memleak_overhead_cpu_time_seconds_total",
        "memleak_overhead_errors_total",
        "memleak_process_rss_distribution_bytes_bucket",
    ):
        series = f'{name}{{job="quotes", service_version="{VERSION}", instance!=""}}'
        eventually(lambda series=series: prometheus.query(series), series, SEEN_WITHIN_S)


def test_prometheus_fires_for_the_leak(stack: Stack) -> None:
    """The shipped rules fire for the service that leaks and stay silent for its healthy twin."""
    prometheus = _needs(stack.prometheus, "prometheus")
    eventually(
        lambda: "MemleakLeak" in prometheus.firing(job="quotes", service_version=VERSION),
        "MemleakLeak firing",
        SEEN_WITHIN_S,
    )
    assert prometheus.query('memleak_process_rss_bytes{job="quotes-fixed"}')
    assert prometheus.firing(job="quotes-fixed") == set()


def test_prometheus_answers_every_panel(stack: Stack) -> None:
    """Every query of the dashboard is understood by the real Prometheus, and all of the first row have an answer."""
    prometheus = _needs(stack.prometheus, "prometheus")
    stack.leak()
    dashboard = json.loads(
        (COLLECTOR / "grafana" / "dashboards" / "memleak.json").read_text(encoding="utf-8")
    )
    chosen = {"$__rate_interval": "1m", "$__range": "1h", "$job": ".*", "$version": ".*", "$instance": ".*"}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            if panel["datasource"]["type"] != "prometheus":
                continue
            expression = target["expr"]
            for variable, value in chosen.items():
                expression = expression.replace(variable, value)
            title = panel["title"]
            answer = get_json(f"{prometheus.url}/api/v1/query", query=expression)
            assert answer, f"{title}: {expression}"
            if panel["type"] == "stat":
                eventually(
                    lambda text=expression: prometheus.query(text), f"{title}: {expression}", SEEN_WITHIN_S
                )


def test_alert_is_counted_on_its_way(stack: Stack) -> None:
    """The Collector counts the alert as record and as span, under the process that sent it: nothing is lost."""
    prometheus = _needs(stack.prometheus, "prometheus")
    instance = stack.leak()["service.instance.id"]
    for name in ("memleak_received_leak_records_total", "memleak_received_leak_spans_total"):
        series = f'{name}{{job="quotes", instance="{instance}", service_version="{VERSION}"}}'
        found = eventually(lambda series=series: prometheus.query(series), series, SEEN_WITHIN_S)
        assert float(found[0]["value"][1]) >= 1


def test_exemplar_leads_to_the_alert(stack: Stack) -> None:
    """The dashboard's dot for an alert, an exemplar in Prometheus, carries the id of the alert's trace."""
    prometheus = _needs(stack.prometheus, "prometheus")
    leak = stack.leak()
    query = 'memleak_received_calls_total{service_name="quotes"}'
    eventually(
        lambda: leak["trace_id"] in prometheus.exemplars(query),
        f"the trace in exemplars of {query}",
        SEEN_WITHIN_S,
    )


def test_collector_reports_its_queues(stack: Stack) -> None:
    """The Collector's own metrics have the names that MemleakTelemetryBacklog uses."""
    prometheus = _needs(stack.prometheus, "prometheus")
    ratio = "otelcol_exporter_queue_size / otelcol_exporter_queue_capacity"
    found = eventually(lambda: prometheus.query(ratio), ratio, SEEN_WITHIN_S)
    assert {"exporter", "data_type"} <= set(found[0]["metric"])


def test_healthy_twin_raises_nothing(stack: Stack) -> None:
    """The service with the bounded cache has sent no alert of a leak all the while."""
    stack.leak()
    assert not [r for r in stack.records("memleak.leak") if r["service.name"] == "quotes-fixed"]
    health = stack.collector
    assert answers(f"http://127.0.0.1:{health.health_port}")
