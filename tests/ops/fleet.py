"""A fleet's worth of our OTLP through one gateway into a real Prometheus: what it sustains, costs and loses.

PYTHONPATH=src:tests python tests/ops/fleet.py [--processes 2000] [--rounds 5] [--paced-seconds 60]

First flat out: every simulated process exports its metrics as often as ``--rounds`` says and raises one alert. Then
at the pace of production, one export a minute and process. Prints one JSON object; exits with 1 if anything is lost.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from ops import otlp
from ops.stack import Collector, Prometheus, eventually, get_json

SENDERS = 2
EXPORT_INTERVAL_S = 60.0
SETTLED_WITHIN_S = 120.0


def send_all(port: int, sender: int, processes: int, rounds: int, alerts: bool, window_s: float) -> None:
    """Send for every SENDERS-th process, spread over a window for each round; 0 is flat out."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    mine = range(sender, processes, SENDERS)
    for _round in range(rounds):
        start = time.monotonic()
        for position, number in enumerate(mine):
            time.sleep(max(0.0, start + window_s * position / len(mine) - time.monotonic()))
            _post(connection, "/v1/metrics", otlp.metrics("fleet", f"process-{number}"))
    for number in mine if alerts else ():
        name = f"process-{number}"
        _post(connection, "/v1/logs", otlp.leak_record(name, instance=name))
        _post(connection, "/v1/traces", otlp.leak_span(name, os.urandom(16), instance=name))


def _post(connection: http.client.HTTPConnection, path: str, body: bytes) -> None:
    while True:
        connection.request("POST", path, body, {"Content-Type": "application/x-protobuf"})
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            return
        if answer.status not in (429, 502, 503, 504):
            raise SystemExit(f"{path}: {answer.status}")
        time.sleep(0.1)  # as the SDK does: refused is not lost


def run(processes: int, rounds: int, paced_s: float) -> dict[str, Any]:
    """Both phases, and what came of them."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as end:
        directory = Path(name)
        prometheus = Prometheus(directory)
        end.callback(prometheus.running.stop)
        gateway = Collector(
            directory, "base", "gateway", "alerts", "prometheus",
            PROMETHEUS_ENDPOINT=prometheus.url, DECISION_WAIT="2s", SELF_METRICS_INTERVAL_MS="5000",
        )  # fmt: skip
        end.callback(gateway.stop)
        watched = psutil.Process(gateway.start().process.pid)
        flat_out = _phase(watched, gateway.http_port, processes, rounds, True, 0.0)
        lost = _lost(prometheus, processes)
        share = paced_s / EXPORT_INTERVAL_S
        paced = (
            _phase(watched, gateway.http_port, int(processes * share), 1, False, paced_s) if paced_s else {}
        )
        return {
            "processes": processes,
            "points_per_export": otlp.points_per_export(),
            "bytes_per_export": len(otlp.metrics("fleet", "process-1")),
            "flat_out": flat_out,
            "production_pace": paced,
            "prometheus": _stored(prometheus),
            "lost": lost,
        }


def _phase(
    watched: psutil.Process, port: int, processes: int, rounds: int, alerts: bool, window_s: float
) -> dict[str, float]:
    cpu_before, start = sum(watched.cpu_times()[:2]), time.monotonic()
    senders = [
        multiprocessing.Process(target=send_all, args=(port, number, processes, rounds, alerts, window_s))
        for number in range(SENDERS)
    ]
    for sender in senders:
        sender.start()
    peak = 0
    while any(sender.is_alive() for sender in senders):
        peak = max(peak, watched.memory_info().rss)
        time.sleep(0.2)
    if any(sender.exitcode for sender in senders):
        raise SystemExit("a sender failed")
    wall_s, cpu_s = time.monotonic() - start, sum(watched.cpu_times()[:2]) - cpu_before
    points = processes * rounds * otlp.points_per_export()
    return {
        "exports_per_s": round(processes * rounds / wall_s, 1),
        "points_per_s": round(points / wall_s),
        "gateway_cores": round(cpu_s / wall_s, 3),
        "points_per_cpu_s": round(points / cpu_s),
        "gateway_peak_rss_mb": round(peak / 1024**2),
    }


def _stored(prometheus: Prometheus) -> dict[str, int]:
    head = get_json(f"{prometheus.url}/api/v1/status/tsdb")["data"]["headStats"]
    rss = psutil.Process(prometheus.running.process.pid).memory_info().rss
    return {"series": head["numSeries"], "rss_mb": round(rss / 1024**2)}


def _lost(prometheus: Prometheus, processes: int) -> dict[str, int]:
    expected = {
        'count(memleak_process_rss_bytes{job="fleet"})': processes,
        'count(memleak_state_ratio{job="fleet"})': 4 * processes,
        'count(count by (instance) (memleak_received_leak_records_total{job="fleet"}))': processes,
        'count(count by (instance) (memleak_received_leak_spans_total{job="fleet"}))': processes,
    }

    def seen(expression: str) -> int:
        found = prometheus.query(expression)
        return int(found[0]["value"][1]) if found else 0

    eventually(
        lambda: all(seen(expression) == count for expression, count in expected.items()) or None,
        f"{ {expression: seen(expression) for expression in expected} }, expected {expected}",
        SETTLED_WITHIN_S,
    )
    return {expression: count - seen(expression) for expression, count in expected.items()}


def main() -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--paced-seconds", type=float, default=60)
    chosen = parser.parse_args()
    figures = run(chosen.processes, chosen.rounds, chosen.paced_seconds)
    print(json.dumps(figures, indent=2))
    return int(any(figures["lost"].values()))


if __name__ == "__main__":
    sys.exit(main())
