"""The dashboard's Prometheus panels as a page, for looking at them where there is no Grafana.

python collector/programs.py preview
python collector/grafana/preview.py http://localhost:9090 page.html [--minutes 60]

The panels are drawn by Grafana's own component library with the units, thresholds and overrides of the
generated JSON, from what a real Prometheus answers. State timeline, heat map, logs and traces are not in that
library; their places stay empty.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import programs  # noqa: E402

CHOSEN = {"$job": ".*", "$version": ".*", "$instance": ".*", "$__rate_interval": "1m", "$__range": "1h"}
POINTS = 200
LOADERS = {".svg": "dataurl", ".woff": "empty", ".woff2": "empty", ".ttf": "empty", ".png": "dataurl"}
PAGE = """<!doctype html>
<meta charset="utf-8">
<style>%s</style>
<body style="margin: 0; background: #f4f5f5; font-family: sans-serif">
<div id="dashboard" style="position: relative; width: 1440px"></div>
<script>window.preview = %s</script>
<script>%s</script>
"""


def answers(dashboard: dict[str, Any], url: str, start: float, end: float) -> dict[int, list[Any]]:
    """What Prometheus answers to each query of each panel, by the panel's id."""
    return {
        panel["id"]: [_range(url, target["expr"], start, end) for target in panel["targets"]]
        for panel in dashboard["panels"]
        if panel.get("datasource", {}).get("type") == "prometheus"
    }


def _range(url: str, expression: str, start: float, end: float) -> Any:
    for variable, value in CHOSEN.items():
        expression = expression.replace(variable, value)
    step = max(1.0, (end - start) / POINTS)
    asked = urllib.parse.urlencode({"query": expression, "start": start, "end": end, "step": step})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{asked}", timeout=30) as answer:
        return json.loads(answer.read())["data"]["result"]


def bundle(packages: Path) -> tuple[str, str]:
    """The program of the page and its style, made of ``preview.jsx`` and Grafana's library."""
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "preview.js"
        command = [
            str(packages / "node_modules" / ".bin" / "esbuild"),
            str(HERE / "preview.jsx"),
            f"--outfile={made}",
            "--bundle",
            "--minify",
            "--log-level=error",
            "--define:global=window",
            '--define:process.env.NODE_ENV="production"',
            *(f"--loader:{suffix}={loader}" for suffix, loader in LOADERS.items()),
        ]
        subprocess.run(command, env={**os.environ, "NODE_PATH": str(packages / "node_modules")}, check=True)
        style = made.with_suffix(".css")
        return made.read_text(encoding="utf-8"), style.read_text(encoding="utf-8") if style.exists() else ""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("prometheus")
    parser.add_argument("page", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    chosen = parser.parse_args()
    dashboard = json.loads((HERE / "dashboards" / "memleak.json").read_text(encoding="utf-8"))
    end = time.time()
    start = end - 60 * chosen.minutes
    found = answers(dashboard, chosen.prometheus.rstrip("/"), start, end)
    data = {"dashboard": dashboard, "answers": found, "from": start * 1000, "to": end * 1000}
    script, style = bundle(programs.build("preview"))
    embedded = json.dumps(data).replace("</", "<\\/")
    chosen.page.write_text(
        PAGE % (style, embedded, script.replace("</script", "<\\/script")), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
