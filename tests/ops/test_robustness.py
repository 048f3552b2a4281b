"""What becomes of telemetry when a part of the path is away: nothing is lost that a queue can hold."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from ops import otlp
from ops.stack import Collector, Prometheus, Running, eventually, free_port
from processes import APPS, LAUNCHER, QUICK, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DELIVERED_WITHIN_S = 90.0


@pytest.fixture
def end() -> Iterator[ExitStack]:
    """What is registered here is stopped, whatever happens."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of its own, short enough for anybody's path limit."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def delivered(path: Path) -> set[str]:
    """Alert ids in a file that a Collector has written."""
    if not path.exists():
        return set()
    ids = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        ids |= set(otlp.alert_ids(json.loads(line))) if line.endswith("}") else set()
    return ids


def sink(directory: Path) -> tuple[Collector, Path]:
    """A Collector that plays the log backend, and the file it writes."""
    path = directory / "sink.jsonl"
    return Collector(directory, "base", "file", LOG_FILE=str(path)), path


def test_backend_away_and_collector_killed(directory: Path, end: ExitStack) -> None:
    """Alerts taken while the backend is away survive a SIGKILL of the Collector and arrive when both are back."""
    backend, path = sink(directory)
    end.callback(backend.stop)
    # The sink has OTLP at its root; Loki's is one path deeper.
    root = directory / "root.yaml"
    root.write_text(f"exporters: {{otlp_http/loki: {{endpoint: '{backend.http}'}}}}\n")
    collector = Collector(directory, "base", "loki", str(root))
    end.callback(collector.stop)
    running = collector.start()
    sent = {f"alert-{number}" for number in range(500)}
    for alert_id in sorted(sent):
        otlp.send(f"{collector.http}/v1/logs", otlp.leak_record(alert_id))
    running.kill()
    collector.start()
    backend.start()
    eventually(lambda: delivered(path) == sent, "every alert at the backend", DELIVERED_WITHIN_S)


def test_agent_hands_everything_to_the_gateway(directory: Path, end: ExitStack) -> None:
    """Metrics, logs and traces of many processes go through an agent and a gateway, and none is lost."""
    prometheus = Prometheus(directory)
    end.callback(prometheus.running.stop)
    address = {"PROMETHEUS_ENDPOINT": prometheus.url, "DECISION_WAIT": "1s", "TRACE_PERCENTAGE": "0"}
    gateway = Collector(directory, "base", "gateway", "alerts", "prometheus", **address)
    end.callback(gateway.stop)
    gateway.start()
    port = str(gateway.grpc_port)
    agent = Collector(directory, "base", "agent", GATEWAY_HOST="127.0.0.1", GATEWAY_PORT=port)
    end.callback(agent.stop)
    agent.start()
    processes = 50
    for number in range(processes):
        name = f"process-{number}"
        otlp.send(f"{agent.http}/v1/metrics", otlp.metrics("fleet", name))
        otlp.send(f"{agent.http}/v1/logs", otlp.leak_record(name, instance=name))
        otlp.send(f"{agent.http}/v1/traces", otlp.leak_span(name, os.urandom(16), instance=name))
    for metric in (
        "memleak_process_rss_bytes",
        "memleak_received_leak_records_total",
        "memleak_received_leak_spans_total",
    ):
        everybody = f'count(count by (instance) ({metric}{{job="fleet"}})) == {processes}'
        eventually(lambda query=everybody: prometheus.query(query), everybody, DELIVERED_WITHIN_S)


def test_collector_away_when_the_alert_is_raised(directory: Path, end: ExitStack) -> None:
    """An alert raised without a Collector arrives when one comes within the exporter's timeout: the SDK retries."""
    backend, path = sink(directory)
    end.callback(backend.stop)
    variables = {
        **QUICK,
        "OTEL_EXPORTER_OTLP_ENDPOINT": backend.http,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        # Six attempts in about a minute; with the default of ten seconds it gives up after three.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "60000",
        "OTEL_LOGS_EXPORTER": "otlp,console",
        "OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT": "512",
    }
    command = [LAUNCHER, sys.executable, "-u", str(APPS / "service.py"), "leaky", "120"]
    service = Running(command, directory, "service", environment(**variables))
    end.callback(service.kill)
    eventually(
        lambda: "memleak.leak" in service.log.read_text(), "an alert on the console", DELIVERED_WITHIN_S
    )
    time.sleep(12)
    backend.start()
    eventually(lambda: delivered(path), "the alert, after the Collector came", DELIVERED_WITHIN_S)


def test_tls_and_token(directory: Path, end: ExitStack) -> None:
    """With secured.yaml, telemetry goes over TLS and needs a token, and the SDK's standard variables are enough."""
    key, certificate, token = directory / "tls.key", directory / "tls.crt", directory / "token"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    token.write_text("secret")
    path = directory / "logs.jsonl"
    collector = Collector(
        directory, "base", "file", "secured", LOG_FILE=str(path), TOKEN_FILE=str(token),
        TLS_CERT_FILE=str(certificate), TLS_KEY_FILE=str(key),
    )  # fmt: skip
    end.callback(collector.stop)
    collector.start()
    url = f"https://localhost:{collector.http_port}"
    trusting = ssl.create_default_context(cafile=str(certificate))
    with pytest.raises(urllib.error.HTTPError) as refused:
        otlp.send(f"{url}/v1/logs", otlp.leak_record("no-token"), context=trusting)
    assert refused.value.code == 401
    refused.value.close()
    variables = {
        **QUICK,
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificate),
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20secret",
        # The library under the exporter prefers these to the certificate it is given.
        "REQUESTS_CA_BUNDLE": "",
        "CURL_CA_BUNDLE": "",
        "OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT": "512",
    }
    command = [LAUNCHER, sys.executable, str(APPS / "service.py"), "leaky", "80"]
    service = Running(command, directory, "service", environment(**variables))
    end.callback(service.kill)
    eventually(lambda: delivered(path), "the alert, over TLS with the token", DELIVERED_WITHIN_S)
    assert "no-token" not in delivered(path)


def test_refusing_collector_costs_no_memory(directory: Path, end: ExitStack) -> None:
    """Once the SDK's queues are full, a service whose Collector never comes does not grow: its leaking twin does."""
    variables = {
        **QUICK,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50",
    }
    watched = {}
    for kind in ("healthy", "leaky"):
        command = [LAUNCHER, sys.executable, str(APPS / "service.py"), kind, "90"]
        service = Running(command, directory, kind, environment(**variables))
        end.callback(service.kill)
        watched[kind] = psutil.Process(service.process.pid)
    time.sleep(30)
    before = {kind: process.memory_info().rss for kind, process in watched.items()}
    time.sleep(30)
    grown = {kind: process.memory_info().rss - before[kind] for kind, process in watched.items()}
    assert 3 * grown["healthy"] < grown["leaky"], grown


def test_hanging_collector_does_not_delay_the_exit(directory: Path, end: ExitStack) -> None:
    """Where a Collector takes connections and never answers, a process ends as late with us as without us."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    end.callback(listener.close)
    variables = {
        **QUICK,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1000",
    }
    command = [LAUNCHER, sys.executable, str(APPS / "service.py"), "healthy", "5"]
    started = time.monotonic()
    ended: dict[str, float] = {}
    services = {}
    for without in ("none", "memleak"):
        variables["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = without
        services[without] = Running(command, directory, f"without-{without}", environment(**variables))
        end.callback(services[without].kill)
    while len(ended) < len(services):
        for without, service in services.items():
            if service.process.poll() is not None:
                ended.setdefault(without, time.monotonic() - started)
        time.sleep(0.1)
    assert ended["none"] < 1.5 * ended["memleak"]
