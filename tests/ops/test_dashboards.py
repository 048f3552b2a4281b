"""The dashboard is what its source makes, lies on a grid, and asks only for what exists."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from typing import Any

from ops.stack import COLLECTOR
from ops.test_configurations import prometheus_names, read, rules

SOURCE = COLLECTOR / "grafana" / "dashboard.py"
DASHBOARD: dict[str, Any] = json.loads((COLLECTOR / "grafana" / "dashboards" / "memleak.json").read_text())
# Units of Grafana's unit picker that fit what our metrics are measured in.
UNITS = {"bytes", "s", "none", "percentunit"}


def test_generated_file_is_current() -> None:
    """The JSON is never edited by hand: it is what the source writes."""
    done = subprocess.run([sys.executable, SOURCE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_panels_do_not_overlap() -> None:
    """Every panel has its own place within the 24 columns, and an id of its own."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = set(itertools.product(range(place["x"], place["x"] + place["w"]),
                                      range(place["y"], place["y"] + place["h"])))  # fmt: skip
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_ask_only_for_metrics_that_exist() -> None:
    """A metric or a recording rule that is renamed cannot stay behind in a panel."""
    recorded = {rule["record"] for rule in rules("record")}
    collector = {
        "memleak_received_leak_records_total",
        "memleak_received_leak_spans_total",
        "memleak_received_calls_total",
    }
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])
                   if panel["datasource"]["type"] == "prometheus"]  # fmt: skip
    used: set[str] = set()
    for expression in expressions:
        used |= set(re.findall(r"(?<![\w:])memleak_\w+(?=\{)", expression))
        assert set(re.findall(r"\b(?:instance|service|version|fleet):\w+:\w+", expression)) <= recorded
    assert used <= prometheus_names() | collector
    # What processes export for the production tier is on the dashboard.
    assert {
        name for name in prometheus_names() if "tracemalloc" not in name and "asyncio" not in name
    } - used <= {
        "memleak_python_allocated_blocks",
        "memleak_process_rss_distribution_bytes_sum",
        "memleak_process_rss_distribution_bytes_count",
        "memleak_overhead_cpu_time_seconds_total",  # through its recording rule
    }


def test_every_panel_has_a_unit_and_ordered_thresholds() -> None:
    """Numbers are read with their unit, and thresholds rise from the base on."""
    for panel in DASHBOARD["panels"]:
        if panel["type"] == "row":
            continue
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in UNITS
        steps = [step["value"] for step in defaults.get("thresholds", {"steps": []})["steps"]]
        assert steps[:1] in ([], [None])
        assert steps[1:] == sorted(steps[1:])


def test_provisioned_sources_cover_the_dashboard() -> None:
    """Each kind of data source that a panel asks for is provisioned, with the uid that links use."""
    provisioned = read(COLLECTOR / "grafana" / "provisioning" / "datasources" / "datasources.yaml")[
        "datasources"
    ]
    needed = {panel["datasource"]["type"] for panel in DASHBOARD["panels"] if "datasource" in panel}
    assert needed <= {source["type"] for source in provisioned}
    uids = {source["uid"] for source in provisioned}
    assert set(re.findall(r"datasourceUid: (\w+)", json.dumps(provisioned).replace('"', ""))) <= uids
