"""Real servers, leaky and healthy side by side: every worker speaks for itself, and only for itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from deployments.servers import SERVERS, Deployment
from otel_memleak.types import MB

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

START_S = 120
LEAK_S = 180


def instances(deployment: Deployment) -> dict[str, int]:
    """The identity under which every worker that has answered exports, with the RSS it last saw itself."""
    return {str(a["instance"]): int(a["rss"]) for a in deployment.answers.values()}


def measured(deployment: Deployment, name: str) -> Counter[str]:
    """The latest value of a metric by identity, series added up."""
    series = {point.series: point for point in deployment.service.receiver.metrics(name)}
    total: Counter[str] = Counter()
    for point in series.values():
        total[point.process.instance_id] += int(point.value or 0)
    return total


def wait_until_every_worker_exports(deployment: Deployment) -> None:
    def done() -> bool:
        known, rss = instances(deployment), measured(deployment, "memleak.process.rss")
        return len(known) >= workers(deployment) and all(abs(rss[i] - known[i]) < 30 * MB for i in known)

    deployment.service.receiver.wait_for(done, START_S)
    assert len(instances(deployment)) == len(deployment.answers), "two workers share an identity"


def workers(deployment: Deployment) -> int:
    return 1 if "-P threads" in deployment.server.command else 2


def assert_nothing_is_told_twice(deployment: Deployment) -> None:
    """One alert, one log record and one root span; counted by who sent it, by nobody who inherited it."""
    receiver = deployment.service.receiver
    for name in ("memleak.leak", "memleak.rss"):
        for told in (receiver.logs(name), receiver.spans(name)):
            copies = Counter(
                (item.attributes["memleak.alert.id"], item.attributes["memleak.alert.severity"])
                for item in told
            )
            assert set(copies.values()) <= {1}, copies
    points = receiver.metrics("memleak.process.rss")
    assert len({(point.series, point.time_unix_ns) for point in points}) == len(points)


def wait_until_alerts_are_counted(deployment: Deployment) -> None:
    """By the process that sent them; what a parent or an earlier worker has sent is not inherited."""
    receiver = deployment.service.receiver

    def done() -> bool:
        logs = receiver.logs("memleak.leak") + receiver.logs("memleak.rss")
        return +measured(deployment, "memleak.alerts") == Counter(log.process.instance_id for log in logs)

    receiver.wait_for(done, START_S)


def assert_it_ends(deployment: Deployment) -> None:
    status = deployment.stop()
    assert status in (0, -deployment.server.stop, 128 + deployment.server.stop), deployment.service.output
    assert "otel_memleak failed" not in deployment.service.output
    # Nor a traceback through our code. The SDK has some of its own at the end of a process.
    assert "src/otel_memleak/" not in deployment.service.output


@pytest.mark.parametrize("name", SERVERS)
def test_every_worker_speaks_for_itself(name: str, tmp_path: Path) -> None:
    """Metrics, log records and spans of each worker under its own identity; the healthy twin says nothing.

    A worker's gauge shows the worker's own resident memory, which differs from the master's by 60 MB.
    """
    with (
        Deployment(SERVERS[name], tmp_path / "leaky", leaky=SERVERS[name].leaks) as leaky,
        Deployment(SERVERS[name], tmp_path / "healthy", leaky=False) as healthy,
    ):
        for deployment in (leaky, healthy):
            wait_until_every_worker_exports(deployment)
        receiver = leaky.service.receiver
        if leaky.server.leaks:
            accused = lambda told: {item.process.instance_id for item in told("memleak.leak")}  # noqa: E731
            for told in (receiver.logs, receiver.spans):
                receiver.wait_for(lambda told=told: set(instances(leaky)) <= accused(told), LEAK_S)
            assert accused(receiver.logs) == set(instances(leaky)), "a process that does not leak is accused"
        else:
            receiver.wait_for(lambda: len(leaky.answers) > 2 * workers(leaky), LEAK_S)
        for deployment in (leaky, healthy):
            if leaky.server.leaks:
                wait_until_alerts_are_counted(deployment)
            assert_it_ends(deployment)
            assert_nothing_is_told_twice(deployment)
        assert healthy.service.receiver.logs("memleak.leak") == []
        assert healthy.service.receiver.spans("memleak.leak") == []
