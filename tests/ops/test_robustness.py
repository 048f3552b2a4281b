"""What becomes of telemetry when a part of the path is away: nothing is lost that a queue can hold."""

from __future__ import annotations

import gzip
import json
import math
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from ops import otlp
from ops.stack import Collector, Prometheus, Running, eventually, free_port
from ops.test_configurations import rules
from processes import APPS, LAUNCHER, QUICK, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DELIVERED_WITHIN_S = 90.0
MB = 1 << 20


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


class FaultyBackend:
    """Takes OTLP over HTTP in a way of its own, until it is closed.

    Args:
        refusals: How many requests are refused first.
        status: What a refusal answers.
        pause_s: How long each request is kept waiting.
        port: To listen at; 0 for a free one.

    Attributes:
        url: Its address.
        taken: Incidents of the log records it has taken, with repetitions.
        refused: Incidents of those it has refused.
    """

    def __init__(self, refusals: float = 0, status: int = 503, pause_s: float = 0.0, port: int = 0) -> None:
        self.taken: list[str] = []
        self.refused: list[str] = []
        self._stopped = threading.Event()
        remaining = [refusals]
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                backend._stopped.wait(pause_s)
                remaining[0] -= 1
                answer, kept = (status, backend.refused) if remaining[0] >= 0 else (200, backend.taken)
                if self.path.endswith("/v1/logs"):
                    kept += incidents(body, self.headers.get("Content-Encoding"))
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()
                # A connection that is kept would keep its client from meeting whoever comes next.
                self.close_connection = backend._stopped.is_set()

            def log_message(self, *_arguments: object) -> None:
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Answer whoever waits, and go away."""
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()


def incidents(body: bytes, encoding: str | None) -> list[str]:
    """Alert ids in the body of a request with log records."""
    plain = gzip.decompress(body) if encoding == "gzip" else body
    return list(otlp.alert_ids(MessageToDict(ExportLogsServiceRequest.FromString(plain))))


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


@pytest.mark.parametrize(("status", "delivered_after"), [(503, 0), (400, 1)], ids=["for a while", "for good"])
def test_backend_refuses(directory: Path, end: ExitStack, status: int, delivered_after: int) -> None:
    """What a backend refuses for a while arrives later, once; what it calls wrong holds up nothing behind it."""
    backend = FaultyBackend(refusals=1, status=status)
    end.callback(backend.close)
    root = directory / "root.yaml"
    root.write_text(f"exporters: {{otlp_http/loki: {{endpoint: '{backend.url}'}}}}\n")
    collector = Collector(directory, "base", "loki", str(root))
    end.callback(collector.stop)
    collector.start()
    sent = [f"alert-{number}" for number in range(3)]
    otlp.send(f"{collector.http}/v1/logs", otlp.leak_record(sent[0]))
    eventually(lambda: backend.refused, "the backend's refusal", DELIVERED_WITHIN_S)
    for alert_id in sent[1:]:
        otlp.send(f"{collector.http}/v1/logs", otlp.leak_record(alert_id))
    expected = sent[delivered_after:]
    eventually(lambda: sorted(backend.taken) == expected, "the other alerts", DELIVERED_WITHIN_S)


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


def test_alert_that_was_lost_is_noticed(directory: Path, end: ExitStack) -> None:
    """Where the record of an alert is refused, its count arrives all the same, and MemleakAlertLost sees both."""
    prometheus = Prometheus(directory)
    end.callback(prometheus.running.stop)
    collector = Collector(directory, "base", "alerts", "prometheus", PROMETHEUS_ENDPOINT=prometheus.url)
    end.callback(collector.stop)
    before = FaultyBackend(refusals=math.inf, status=400, port=collector.http_port)
    end.callback(before.close)
    variables = {
        **QUICK,
        "OTEL_SERVICE_NAME": "late",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        # Critical at once, so that no second record follows.
        "OTEL_PYTHON_MEMLEAK_GROWTH_WARNING": "1",
        "OTEL_PYTHON_MEMLEAK_GROWTH_CRITICAL": "2",
    }
    command = [LAUNCHER, sys.executable, str(APPS / "service.py"), "leaky", "150"]
    service = Running(command, directory, "service", environment(**variables))
    end.callback(service.kill)
    eventually(lambda: before.refused, "an alert, refused", DELIVERED_WITHIN_S)
    before.close()
    collector.start()
    (expression,) = [rule["expr"] for rule in rules("alert") if rule["alert"] == "MemleakAlertLost"]
    eventually(
        lambda: [found["metric"]["job"] for found in prometheus.query(expression)] == ["late"],
        "the alert that did not arrive",
        DELIVERED_WITHIN_S,
    )


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_tls_and_token(directory: Path, end: ExitStack, protocol: str) -> None:
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
    port = collector.grpc_port if protocol == "grpc" else collector.http_port
    variables = {
        **QUICK,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://localhost:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
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


def faults(end: ExitStack) -> dict[str, str]:
    """Addresses of Collectors that are away, refuse, are slow, and never answer."""
    refusing = FaultyBackend(refusals=math.inf)
    slow = FaultyBackend(pause_s=0.8)
    hanging = socket.create_server(("127.0.0.1", 0), backlog=128)
    for one in (refusing, slow, hanging):
        end.callback(one.close)
    silent = f"http://127.0.0.1:{hanging.getsockname()[1]}"
    away = f"http://127.0.0.1:{free_port()}"
    return {"away": away, "refusing": refusing.url, "slow": slow.url, "hanging": silent}


@pytest.mark.timeout(800)
def test_faulty_collector_costs_no_memory(directory: Path, end: ExitStack) -> None:
    """Once the SDK's queues are full, no fault of a Collector makes a service grow: its leaking twin does."""
    variables = {
        **QUICK,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1000",
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50",
    }
    addresses = faults(end)
    watched = {}
    for name, address in {**addresses, "leaky": addresses["refusing"]}.items():
        kind = "leaky" if name == "leaky" else "healthy"
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = address
        command = [LAUNCHER, sys.executable, str(APPS / "service.py"), kind, "800"]
        service = Running(command, directory, name, environment(**variables))
        end.callback(service.kill)
        watched[name] = psutil.Process(service.process.pid)

    def until_leaked(bytes_: int) -> dict[str, int]:
        """What each has grown by when the leaking twin has by so much: the clock, as slow as the machine."""
        start = {name: process.memory_info().rss for name, process in watched.items()}

        def grown() -> dict[str, int]:
            return {name: process.memory_info().rss - start[name] for name, process in watched.items()}

        eventually(lambda: grown()["leaky"] > bytes_, "the leaking twin has grown", 360)
        return grown()

    until_leaked(70 * MB)  # start-up, queues, the first traceback of each kind, the first diagnosis
    growth = until_leaked(15 * MB)
    assert all(3 * growth[name] < growth["leaky"] for name in addresses), growth


@pytest.mark.parametrize("fault", ["away", "refusing", "slow", "hanging"])
def test_faulty_collector_does_not_delay_the_exit(directory: Path, end: ExitStack, fault: str) -> None:
    """Whatever is wrong with the Collector, a process ends as late with us as without us."""
    variables = {
        **QUICK,
        "OTEL_EXPORTER_OTLP_ENDPOINT": faults(end)[fault],
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1000",
    }
    command = [LAUNCHER, sys.executable, str(APPS / "service.py"), "healthy", "5"]
    started = time.monotonic()
    ended: dict[str, float] = {}
    services = {}
    for disabled in ("none", "memleak"):
        variables["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = disabled
        services[disabled] = Running(command, directory, f"without-{disabled}", environment(**variables))
        end.callback(services[disabled].kill)
    while len(ended) < len(services):
        for disabled, service in services.items():
            if service.process.poll() is not None:
                ended.setdefault(disabled, time.monotonic() - started)
        time.sleep(0.1)
    assert ended["none"] < 1.5 * ended["memleak"]
