"""The roles of a Collector on a fleet: nothing that belongs to an alert is lost between agent, gateway and backend."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops import otlp
from ops.stack import Collector, Jaeger, eventually, free_port
from otel_memleak import semconv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ARRIVED_WITHIN_S = 90.0
EVENT = semconv.EVENT_LEAK


def with_spans(directory: Path, name: str) -> tuple[str, Path]:
    """A configuration layer that writes spans to a file, and that file."""
    path, layer = directory / f"{name}.jsonl", directory / f"{name}.yaml"
    layer.write_text(
        f"exporters: {{file/spans: {{path: '{path}', flush_interval: 200ms}}}}\n"
        "service: {pipelines: {traces/spans: {receivers: [forward], exporters: [file/spans]}}}\n"
    )
    return str(layer), path


def spans(path: Path) -> list[tuple[str, str]]:
    """Trace id and name of the spans in a file that a Collector writes; a line that is being written is left out."""
    if not path.exists():
        return []
    batches = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [
        (span["traceId"], span["name"])
        for batch in batches
        for resource in batch["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


class Traffic:
    """Sends spans to a Collector and remembers those that have to arrive."""

    def __init__(self, collector: Collector) -> None:
        self._url = f"{collector.http}/v1/traces"
        self.expected: list[tuple[str, str]] = []

    def send(self, trace_id: bytes, name: str, kept: bool, event: str = "", error: bool = False) -> None:
        """Send one span that is to be kept or not."""
        otlp.send(self._url, otlp.span(name, trace_id, event=event, error=error))
        if kept:
            self.expected.append((trace_id.hex(), name))

    def wait_for_decisions(self, path: Path) -> None:
        """Until the gateway has decided about what was sent before: the clock is a trace that is always kept."""
        tick = os.urandom(16)
        self.send(tick, "tick", kept=True, error=True)
        eventually(lambda: (tick.hex(), "tick") in spans(path), "the gateway's decision", ARRIVED_WITHIN_S)


def test_no_span_of_an_alert_is_sampled_away(directory: Path, end: ExitStack) -> None:
    """At 0 %, alert spans arrive, once, with their traces; also those that end long after their trace was dropped."""
    layer, path = with_spans(directory, "spans")
    gateway = Collector(directory, "base", "gateway", layer, DECISION_WAIT="1s", TRACE_PERCENTAGE="0")
    end.callback(gateway.stop)
    gateway.start()
    traffic = Traffic(gateway)
    slow, quick, innocent = ([os.urandom(16) for _ in range(50)] for _ in range(3))
    for trace_id in (*slow, *innocent):
        traffic.send(trace_id, "SELECT", kept=False)
    traffic.wait_for_decisions(path)
    for trace_id in slow:
        traffic.send(trace_id, "GET /slow", kept=True, event=EVENT)
        traffic.send(os.urandom(16), EVENT, kept=True, event=EVENT)
    for trace_id in quick:
        traffic.send(trace_id, "GET /quick", kept=True, event=EVENT)
        traffic.send(trace_id, "SELECT", kept=True)
    for trace_id in innocent:
        traffic.send(trace_id, "GET /innocent", kept=False, event="exception")
    traffic.wait_for_decisions(path)
    expected = Counter(traffic.expected)
    eventually(lambda: Counter(spans(path)) == expected, "exactly these spans", ARRIVED_WITHIN_S)


@pytest.mark.parametrize("ending", ["killed", "restarted"])
def test_gateway_goes_while_jaeger_is_away(directory: Path, end: ExitStack, ending: str) -> None:
    """Alert spans that a gateway has taken outlive it, kill or restart, and arrive when Jaeger is back."""
    port = free_port()
    layers = ("base", "gateway", "jaeger")
    gateway = Collector(directory, *layers, JAEGER_ENDPOINT=f"127.0.0.1:{port}", DECISION_WAIT="60s")
    end.callback(gateway.stop)
    running = gateway.start()
    sent = {os.urandom(16) for _ in range(50)}
    for trace_id in sent:
        otlp.send(f"{gateway.http}/v1/traces", otlp.leak_span(trace_id.hex(), trace_id))
    (running.kill if ending == "killed" else running.stop)()
    gateway.start()
    jaeger = Jaeger(directory, port)
    end.callback(jaeger.running.stop)

    def arrived() -> bool:
        traces = jaeger.traces("fleet", operation=EVENT)
        return {trace["traceID"] for trace in traces} == {trace_id.hex() for trace_id in sent}

    eventually(arrived, "every alert in Jaeger", ARRIVED_WITHIN_S)


class OwnNames:
    """A Collector that knows names of its own: it sees another /etc/hosts, which may change under it.

    Args:
        hosts: File that it sees instead.
    """

    def __init__(self, hosts: Path) -> None:
        self._hosts = hosts
        self.prefix = ["unshare", "-rm", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]

    def point(self, name: str, *addresses: str) -> None:
        """Let a name stand for these addresses from now on."""
        self._hosts.write_text("".join(f"{address} {name}\n" for address in addresses))

    def available(self) -> bool:
        """Whether this machine allows it."""
        if shutil.which("unshare") is None:
            return False
        self.point("gateways", "127.0.0.2", "127.0.0.3")
        done = subprocess.run([*self.prefix, "cat", "/etc/hosts"], capture_output=True, text=True)
        return done.stdout == self._hosts.read_text()


def test_agent_spreads_traces_over_gateways(directory: Path, end: ExitStack) -> None:
    """By DNS, an agent finds all gateways; each trace meets in one of them, and one that goes away costs nothing."""
    names = OwnNames(directory / "hosts")
    if not names.available():
        pytest.skip(
            "this machine does not let a process see another /etc/hosts: two gateways cannot be found by name"
        )
    port, gateways, paths = free_port(), [], []
    for address in ("127.0.0.2", "127.0.0.3"):
        layer, path = with_spans(directory, address)
        settings = {"DECISION_WAIT": "1s", "TRACE_PERCENTAGE": "100"}
        gateway = Collector(
            directory, "base", "gateway", layer, OTLP_GRPC_ENDPOINT=f"{address}:{port}", **settings
        )
        end.callback(gateway.stop)
        gateway.start()
        gateways.append(gateway)
        paths.append(path)
    where = {"GATEWAY_HOST": "gateways", "GATEWAY_PORT": str(port), "GATEWAY_LOOKUP_INTERVAL": "1s"}
    agent = Collector(directory, "base", "agent", prefix=names.prefix, **where)
    end.callback(agent.stop)
    agent.start()
    traffic = Traffic(agent)
    for trace_id in [os.urandom(16) for _ in range(50)]:
        for name in ("GET", "SELECT", "SELECT"):
            traffic.send(trace_id, name, kept=True, event=EVENT if name == "GET" else "")

    def everything() -> bool:
        return Counter(span for path in paths for span in spans(path)) == Counter(traffic.expected)

    eventually(everything, "every span at a gateway", ARRIVED_WITHIN_S)
    first, second = ({trace_id for trace_id, _name in spans(path)} for path in paths)
    assert first, "one gateway has got nothing"
    assert second, "the other has got nothing"
    assert not first & second, "a trace is torn apart"

    gateways[1].stop()
    names.point("gateways", "127.0.0.2")
    for _ in range(50):
        traffic.send(os.urandom(16), EVENT, kept=True, event=EVENT)
    eventually(everything, "every span, though a gateway has gone", ARRIVED_WITHIN_S)
