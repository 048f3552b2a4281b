"""Configurations and rules are accepted by the real programs, and agree with the names of this package."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.stack import COLLECTOR, layers, program
from otel_memleak import semconv

BACKENDS = ("jaeger", "tempo", "prometheus", "prometheus_remote_write", "loki", "victorialogs", "file")
COMBINATIONS = [
    ("base",),
    ("base", "extras"),
    *[("base", backend) for backend in BACKENDS],
    ("base", "alerts", *BACKENDS, "extras"),
    ("base", "gateway", "alerts", *BACKENDS, "extras"),
    ("base", "agent", "extras"),
    ("base", "secured", "gateway", "jaeger"),
]
UNITS = {"By": "_bytes", "By/h": "_bytes_per_hour", "s": "_seconds", "1": "_ratio"}
RULES = sorted((COLLECTOR / "prometheus" / "rules").glob("*.yaml"))
RULE_TESTS = sorted((COLLECTOR / "prometheus" / "tests").glob("*.yaml"))


def prometheus_names() -> set[str]:
    """Names of our metrics as Prometheus stores them; the end-to-end test shows that it really does."""
    names = set()
    for metric in semconv.METRICS:
        name = metric.name.replace(".", "_") + UNITS.get(metric.unit, "")
        counter = metric.instrument == "ObservableCounter"
        histogram = metric.instrument == "Histogram"
        suffixes = ["_total"] if counter else ["_bucket", "_sum", "_count"] if histogram else [""]
        names |= {name + suffix for suffix in suffixes}
    return names


def read(path: Path) -> Any:
    """A YAML file as Python values."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules(kind: str) -> list[dict[str, Any]]:
    """Every rule of one kind, ``alert`` or ``record``."""
    return [
        rule for path in RULES for group in read(path)["groups"] for rule in group["rules"] if kind in rule
    ]


@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
def test_collector_accepts(names: tuple[str, ...], tmp_path: Path) -> None:
    """The real Collector accepts every combination of layers that the README offers."""
    (tmp_path / "token").write_text("token")
    done = subprocess.run(
        [program("otelcol"), "validate", *layers(*names)],
        env={"QUEUE_DIRECTORY": str(tmp_path / "queue"), "TOKEN_FILE": str(tmp_path / "token")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_collector_refuses_a_typing_error(tmp_path: Path) -> None:
    """Validation means something: a misspelt setting is refused."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("processors: {memory_limiter: {check_intervall: 1s}}")
    done = subprocess.run(
        [program("otelcol"), "validate", *layers("base"), "--config", str(wrong)],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "check_intervall" in done.stderr


def test_every_component_of_the_manifest_is_used() -> None:
    """The Collector is made of what the configurations use, and of nothing else."""
    built = {re.sub(r"(receiver|processor|connector|exporter|extension)?$", "", module.rsplit("/", 1)[-1])
             for module in re.findall(r"gomod: (\S+) ", (COLLECTOR / "builder.yaml").read_text())
             if "provider" not in module}  # fmt: skip
    used = set()
    for path in (COLLECTOR / "config").glob("*.yaml"):
        for section in ("receivers", "processors", "connectors", "exporters", "extensions"):
            used |= {name.split("/")[0].replace("_", "") for name in (read(path).get(section) or {})}
    aliases = {"otlpgrpc": "otlp"}
    assert {name.replace("_", "") for name in built} == {aliases.get(name, name) for name in used} | {"otlp"}


def test_promtool_accepts_configuration_and_rules() -> None:
    """The real Prometheus accepts its configuration and every rule file it names."""
    config = COLLECTOR / "prometheus" / "prometheus.yaml"
    done = subprocess.run([program("promtool"), "check", "config", config], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("rules found") == len(RULES)


def test_rules_fire_and_stay_silent() -> None:
    """The rules' own unit tests pass in the real promtool."""
    done = subprocess.run([program("promtool"), "test", "rules", *RULE_TESTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_for_firing_and_for_silence() -> None:
    """No alert without a case in which it fires and one in which it must not."""
    firing, silent = set(), set()
    for path in RULE_TESTS:
        for case in read(path)["tests"]:
            for check in case["alert_rule_test"]:
                (firing if check.get("exp_alerts") else silent).add(check["alertname"])
    names = {rule["alert"] for rule in rules("alert")}
    assert firing == names
    assert silent == names


def test_every_alert_has_its_runbook() -> None:
    """Each alert says what, which values and where to read on, and that section is there."""
    headings = re.findall(r"^#+ (\w+)$", (COLLECTOR / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    for rule in rules("alert"):
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert rule["annotations"]["runbook"] == f"collector/README.md#{rule['alert'].lower()}"
        assert "{{ $value" in rule["annotations"]["description"] + rule["annotations"]["summary"] or (
            rule["alert"] in {"MemleakLostWhileLeaking", "MemleakNeverResolved", "MemleakAlertLost"}
        )
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["alert"] in headings


def test_rules_use_only_metrics_that_exist() -> None:
    """A metric that is renamed in the code cannot stay behind in a rule."""
    recorded = {rule["record"] for rule in rules("record")}
    collectors = {"memleak_received_leak_records_total"}
    for rule in [*rules("alert"), *rules("record")]:
        used = set(
            re.findall(
                r"(?<![\w:$.\"])memleak_\w+(?=[\[{)\s]|$)", re.sub(r"(by|on) \([^)]*\)", "", rule["expr"])
            )
        )
        assert used <= prometheus_names() | collectors, rule
        assert set(re.findall(r"\b(?:instance|service|version|fleet):\w+:\w+", rule["expr"])) <= recorded, (
            rule
        )


def test_counted_metrics_are_those_of_the_collector_layer() -> None:
    """What MemleakAlertLost compares with is what alerts.yaml counts."""
    config = read(COLLECTOR / "config" / "alerts.yaml")["connectors"]["signal_to_metrics"]
    names = {metric["name"] for metric in [*config["logs"], *config["spans"]]}
    assert "memleak.received.leak_records" in names
    text = str(config)
    assert semconv.EVENT_LEAK in text
    assert semconv.ALERT_SEVERITY in text
