"""A part of the path is away for minutes, or out of memory: what a queue can hold comes through, to the last point."""

from __future__ import annotations

import re
import sys
import urllib.error
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops import otlp
from ops.stack import Collector, Prometheus, Running, eventually
from ops.test_gateway import spans, with_spans
from ops.test_robustness import delivered
from otel_memleak import semconv
from processes import APPS, LAUNCHER, QUICK, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

AWAY_S = 130.0
ARRIVED_WITHIN_S = 120.0


def taken(log: Path, signal: str) -> int:
    """How many exports of a signal a Collector's console has counted."""
    return len(re.findall(rf"debug.*\b{signal}\b.*resource ", log.read_text(), re.IGNORECASE))


def test_gateway_is_away_for_minutes(directory: Path, end: ExitStack) -> None:
    """From the start of a service, an agent holds all it is given for two minutes; then every point is delivered."""
    prometheus = Prometheus(directory)
    end.callback(prometheus.running.stop)
    layer, span_file = with_spans(directory, "spans")
    log_file = directory / "logs.jsonl"
    gateway = Collector(
        directory, "base", "gateway", "prometheus", "file", layer,
        PROMETHEUS_ENDPOINT=prometheus.url, LOG_FILE=str(log_file), TRACE_PERCENTAGE="0", DECISION_WAIT="1s",
    )  # fmt: skip
    end.callback(gateway.stop)
    agent = Collector(
        directory, "base", "agent", GATEWAY_HOST="127.0.0.1", GATEWAY_PORT=str(gateway.grpc_port)
    )
    end.callback(agent.stop)
    agent_log = agent.start().log
    variables = {
        **QUICK,
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_ENDPOINT": agent.http,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_LOGS_EXPORTER": "otlp,console",
        "OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT": "512",
    }
    command = [LAUNCHER, sys.executable, "-u", str(APPS / "service.py"), "leaky", str(AWAY_S)]
    service = Running(command, directory, "service", environment(**variables))
    end.callback(service.kill)
    eventually(lambda: service.process.poll() is not None, "the end of the service", 3 * AWAY_S)
    text = service.log.read_text()
    alerts = set(re.findall(rf'"{re.escape(semconv.ALERT_ID)}": "(\w[\w-]*)"', text))
    assert alerts, text[-2000:]
    exports = taken(agent_log, "metrics")
    assert exports > 10

    gateway.start()
    eventually(lambda: delivered(log_file) == alerts, "the records of every alert", ARRIVED_WITHIN_S)
    eventually(
        lambda: any(name == semconv.EVENT_LEAK for _trace, name in spans(span_file)), "spans of alerts", 60
    )
    samples = 'count_over_time(memleak_process_rss_bytes{job="shop"}[30m])'

    def arrived() -> list[float]:
        return [float(found["value"][1]) for found in prometheus.query(samples)]

    eventually(lambda: arrived() == [exports], f"{exports} samples, now {arrived()}", ARRIVED_WITHIN_S)


def test_collector_out_of_memory_says_try_again(directory: Path, end: ExitStack) -> None:
    """A Collector at its memory limit refuses with an answer that OTLP clients retry, and takes it later."""
    small = directory / "small.yaml"
    small.write_text("processors: {memory_limiter: {limit_mib: 3, spike_limit_mib: 2}}\n")
    path = directory / "logs.jsonl"
    collector = Collector(directory, "base", "file", str(small), LOG_FILE=str(path))
    end.callback(collector.stop)
    collector.start()

    def refusal() -> int:
        try:
            otlp.send(f"{collector.http}/v1/logs", otlp.leak_record("early"))
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code
        return 0

    assert eventually(refusal, "a refusal", ARRIVED_WITHIN_S) in (429, 502, 503, 504)
    collector.stop()
    small.write_text("{}\n")
    collector.start()
    otlp.send(f"{collector.http}/v1/logs", otlp.leak_record("again"))
    eventually(lambda: "again" in delivered(path), "the record", ARRIVED_WITHIN_S)
