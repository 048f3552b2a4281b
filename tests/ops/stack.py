"""Real programs on loopback: started with the configuration that is shipped, stopped by their process id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from processes import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
COLLECTOR = REPOSITORY / "collector"
sys.path.insert(0, str(COLLECTOR))

import programs  # noqa: E402

LONGEST_START_S = 60
T = TypeVar("T")


def program(binary: str) -> Path:
    """The path of a real program; the test is skipped, saying so, where it has not been built."""
    path = programs.find(binary)
    if path is None:
        pytest.skip(f"no {binary} on this machine: `python collector/programs.py` builds it")
    return path


def layers(*names: str) -> list[str]:
    """Arguments of a Collector for the configuration layers of these names; a path is taken as it is."""
    files = [name if name.endswith(".yaml") else str(COLLECTOR / "config" / f"{name}.yaml") for name in names]
    return [part for file in files for part in ("--config", file)]


def get_json(url: str, **query: str) -> Any:
    """What an HTTP API answers; None while it refuses or is not there."""
    if query:
        url += "?" + urllib.parse.urlencode(query)
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.loads(answer.read() or b"null")
    except (urllib.error.URLError, OSError, ValueError):
        return None


def answers(url: str) -> bool:
    """Whether a health endpoint is content."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def eventually(look: Callable[[], T], what: str, timeout_s: float) -> T:
    """The first truthy value of ``look``; fails naming ``what`` when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := look()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(0.5)
    return value


class Running:
    """A started program.

    Attributes:
        process: Its process.
        log: File with everything it has printed.
    """

    def __init__(self, command: list[str], directory: Path, name: str, environment: dict[str, str]) -> None:
        self.log = directory / f"{name}.log"
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                command, cwd=directory, stdout=sink, stderr=sink, env={**os.environ, **environment}
            )

    def wait_until(self, url: str) -> Running:
        """Wait until its health endpoint is content; fails with the end of its log when it dies before."""
        deadline = time.monotonic() + LONGEST_START_S
        while not answers(url):
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{self.process.args} did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.2)
        return self

    def stop(self) -> None:
        """End it, gently first."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it as the kernel's OOM killer would."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)


class Collector:
    """A Collector of ours, its ports and its queue; can be started and killed again and again.

    Args:
        directory: For its log and its queue.
        names: Configuration layers.
        prefix: Command that its own is made the arguments of.
        environment: Variables of the layers.
    """

    def __init__(self, directory: Path, *names: str, prefix: Sequence[str] = (), **environment: str) -> None:
        self.command = [*prefix, str(program("otelcol")), *layers(*names)]
        self.directory = directory
        self.grpc_port, self.http_port, self.health_port = free_port(), free_port(), free_port()
        self.http = f"http://127.0.0.1:{self.http_port}"
        self.environment = {
            "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{self.grpc_port}",
            "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{self.http_port}",
            "HEALTH_ENDPOINT": f"127.0.0.1:{self.health_port}",
            "QUEUE_DIRECTORY": str(directory / f"queue-{self.http_port}"),
            "SELF_METRICS_ENDPOINT": self.http,
            **environment,
        }
        self.running: Running | None = None

    def start(self) -> Running:
        """Start it and wait until it is healthy."""
        self.running = Running(self.command, self.directory, f"otelcol-{self.http_port}", self.environment)
        return self.running.wait_until(f"http://127.0.0.1:{self.health_port}")

    def stop(self) -> None:
        """End it if it runs."""
        if self.running is not None:
            self.running.stop()


class Prometheus:
    """A Prometheus with the shipped configuration and rules.

    Args:
        directory: For its log and its data.
        port: To listen at; 0 for a free one.
    """

    def __init__(self, directory: Path, port: int = 0) -> None:
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            str(program("prometheus")),
            f"--config.file={COLLECTOR / 'prometheus' / 'prometheus.yaml'}",
            f"--storage.tsdb.path={directory / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-otlp-receiver",
            "--web.enable-remote-write-receiver",
            "--enable-feature=exemplar-storage",
        ]
        self.running = Running(command, directory, "prometheus", {}).wait_until(f"{self.url}/-/ready")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of an expression: ``metric`` and ``value`` of each series."""
        answer = get_json(f"{self.url}/api/v1/query", query=expression)
        return answer["data"]["result"] if answer else []

    def exemplars(self, expression: str) -> set[str]:
        """Ids of the traces that the exemplars of these series lead to."""
        window = {"start": str(time.time() - 3600), "end": str(time.time() + 60)}
        answer = get_json(f"{self.url}/api/v1/query_exemplars", query=expression, **window)
        found = [one for series in (answer or {"data": []})["data"] for one in series["exemplars"]]
        return {one["labels"]["trace_id"] for one in found}

    def series(self, selector: str) -> set[frozenset[tuple[str, str]]]:
        """Labels, name included, of every series that is selected."""
        answer = get_json(f"{self.url}/api/v1/series", **{"match[]": selector}) or {"data": []}
        return {frozenset(labels.items()) for labels in answer["data"]}

    def firing(self, **labels: str) -> set[str]:
        """Names of the alerts that fire with these labels."""
        answer = get_json(f"{self.url}/api/v1/alerts") or {"data": {"alerts": []}}
        return {
            alert["labels"]["alertname"]
            for alert in answer["data"]["alerts"]
            if alert["state"] == "firing" and labels.items() <= alert["labels"].items()
        }


class Jaeger:
    """A Jaeger with the shipped configuration.

    Args:
        directory: For its log.
        otlp_port: Where it takes traces; 0 for a free one.
    """

    def __init__(self, directory: Path, otlp_port: int = 0) -> None:
        ports = [free_port(), otlp_port or free_port(), free_port(), free_port()]
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.otlp = f"127.0.0.1:{ports[1]}"
        environment = {
            "JAEGER_HTTP_ENDPOINT": f"127.0.0.1:{ports[0]}",
            "JAEGER_OTLP_ENDPOINT": self.otlp,
            "JAEGER_GRPC_ENDPOINT": f"127.0.0.1:{ports[2]}",
            "JAEGER_HEALTH_ENDPOINT": f"127.0.0.1:{ports[3]}",
        }
        command = [str(program("jaeger")), "--config", str(COLLECTOR / "jaeger" / "jaeger.yaml")]
        self.running = Running(command, directory, "jaeger", environment)
        self.running.wait_until(f"http://127.0.0.1:{ports[3]}/status")

    def traces(self, service: str, **search: str) -> list[dict[str, Any]]:
        """Traces as the search of Jaeger's own pages finds them."""
        answer = get_json(f"{self.url}/api/traces", service=service, limit="200", lookback="1h", **search)
        return (answer or {}).get("data") or []


class Tempo:
    """A Tempo with the shipped configuration."""

    def __init__(self, directory: Path) -> None:
        http, grpc, otlp = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{http}"
        self.otlp = f"127.0.0.1:{otlp}"
        environment = {
            "TEMPO_ADDRESS": "127.0.0.1",
            "TEMPO_HTTP_PORT": str(http),
            "TEMPO_GRPC_PORT": str(grpc),
            "TEMPO_OTLP_ENDPOINT": self.otlp,
            "TEMPO_DIRECTORY": str(directory / "tempo"),
        }
        config = str(COLLECTOR / "tempo" / "tempo.yaml")
        command = [str(program("tempo")), f"-config.file={config}", "-config.expand-env=true"]
        self.running = Running(command, directory, "tempo", environment).wait_until(f"{self.url}/ready")

    def search(self, query: str) -> list[dict[str, Any]]:
        """Traces that a TraceQL query finds."""
        return (get_json(f"{self.url}/api/search", q=query) or {}).get("traces") or []


class VictoriaLogs:
    """A VictoriaLogs; it needs no configuration."""

    def __init__(self, directory: Path) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = [
            str(program("victoria-logs")),
            f"-storageDataPath={directory / 'victorialogs'}",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-loggerLevel=WARN",
        ]
        self.running = Running(command, directory, "victorialogs", {}).wait_until(f"{self.url}/health")

    def query(self, expression: str) -> list[dict[str, str]]:
        """Records that a LogsQL query finds, each with its fields."""
        answer = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"{self.url}/select/logsql/query?{answer}", timeout=10) as lines:
                return [json.loads(line) for line in lines]
        except (urllib.error.URLError, OSError):
            return []


class Loki:
    """A Loki with the shipped configuration."""

    def __init__(self, directory: Path) -> None:
        http, grpc = free_port(), free_port()
        self.url = f"http://127.0.0.1:{http}"
        environment = {
            "LOKI_ADDRESS": "127.0.0.1",
            "LOKI_HTTP_PORT": str(http),
            "LOKI_GRPC_PORT": str(grpc),
            "LOKI_DIRECTORY": str(directory / "loki"),
        }
        config = str(COLLECTOR / "loki" / "loki.yaml")
        command = [str(program("loki")), f"-config.file={config}", "-config.expand-env=true"]
        self.running = Running(command, directory, "loki", environment).wait_until(f"{self.url}/ready")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Streams of the last hour that a LogQL query finds: ``stream`` (labels) and ``values`` (lines)."""
        answer = get_json(f"{self.url}/loki/api/v1/query_range", query=expression)
        return answer["data"]["result"] if answer else []
