"""Every TraceQL and LogQL query of the README and of the dashboard is one to Grafana's own grammars.

Whether it finds something is for the end-to-end test, where Tempo and Loki have been built.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.stack import COLLECTOR, program
from ops.test_dashboards import DASHBOARD

LANGUAGES = {"tempo": "traceql", "loki": "logql"}
VARIABLES = {"${__field.labels.job}": "shop", "$job": "shop"}


def documented() -> list[tuple[str, str]]:
    """Language and text of the queries in the README's table."""
    table = re.findall(
        r"^\| (Tempo|Loki)[^|]*\| `(.+)` \|$", (COLLECTOR / "README.md").read_text(), re.MULTILINE
    )
    return [(LANGUAGES[backend.lower()], query.replace("\\|", "|")) for backend, query in table]


def shown() -> list[tuple[str, str]]:
    """Language and text of the queries in panels and in the links of panels, as a service called shop."""
    found = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            if panel["datasource"]["type"] in LANGUAGES:
                text = target.get("query") or target["expr"]
                found.append((LANGUAGES[panel["datasource"]["type"]], text))
        for link in panel.get("fieldConfig", {}).get("defaults", {}).get("links", []):
            (pane,) = json.loads(link["url"].split("panes=")[1]).values()
            found += [(LANGUAGES[query["datasource"]["type"]], query["query"]) for query in pane["queries"]]
    for variable, value in VARIABLES.items():
        found = [(language, text.replace(variable, value)) for language, text in found]
    return found


def stumbles(queries: list[tuple[str, str]]) -> list[list[int]]:
    """Positions of the errors that Grafana's grammars find in each query."""
    packages = program("node_modules/@grafana/lezer-traceql/package.json").parents[3]
    if shutil.which("node") is None:
        pytest.skip("no node on this machine to run Grafana's grammars with")
    script = Path(__file__).with_name("grammar.mjs")
    done = subprocess.run(
        ["node", script, packages], input=json.dumps(queries), capture_output=True, text=True, check=True
    )
    answers: list[list[int]] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("queries", [documented, shown])
def test_queries_are_of_their_language(queries: object) -> None:
    """No query of the README or of the dashboard has a syntax error."""
    asked = queries()  # type: ignore[operator]
    assert {language for language, _query in asked} == set(LANGUAGES.values())
    assert {query: errors for (_, query), errors in zip(asked, stumbles(asked), strict=True) if errors} == {}


@pytest.mark.parametrize(
    ("language", "wrong"),
    [("traceql", '{ name = "memleak.leak" && }'), ("logql", '{service_name="shop"} | event_name=')],
)
def test_grammar_refuses_a_typing_error(language: str, wrong: str) -> None:
    """The check means something: an unfinished query is refused."""
    assert stumbles([(language, wrong)]) != [[]]
