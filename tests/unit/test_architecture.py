"""The layers of the package, read from its imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import otel_memleak

ROOT = Path(otel_memleak.__file__).parent

# Lowest first. A module may import from its own package and from lower layers only.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("version", "records", "vocabulary", "types", "verdicts", "guard", "environment_variables", "median", "frames",
     "wording", "imports", "threads", "parsing"),
    ("semconv", "clock", "settings", "declarative", "history", "messages", "overhead", "status", "detector",
     "probes"),
    ("kinds", "sampler", "tracing", "forks", "callbacks", "per_provider", "errands", "last_words", "loading",
     "parts", "surroundings", "tuning"),
    ("entry_spans",),
    ("diagnosis", "routes", "state"),
    ("ticker", "emission"),
    ("epilogue",),
    ("responder",),
    ("engine",),
    ("standby",),
    ("aio", "instrumentor", "testing"),
    ("cli",),
    ("__main__", ""),
)  # fmt: skip
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}

# Within a layer, who may know whom.
SIDEWAYS = {
    ("guard", "wording"), ("types", "records"), ("types", "vocabulary"), ("types", "verdicts"), ("verdicts", "records"), ("verdicts", "types"), ("sampler", "kinds"), ("surroundings", "kinds"), ("settings", "semconv"), ("parsing", "vocabulary"),
    ("declarative", "settings"),
}  # fmt: skip

PURE = ("types", "median", "detector", "history", "messages", "settings", "parsing", "last_words")
PURE_MAY_IMPORT = {
    "__future__", "abc", "array", "bisect", "collections", "dataclasses", "enum", "functools", "heapq",
    "itertools", "math", "operator", "statistics", "typing", "uuid",
}  # fmt: skip
ONLY_HERE_OPENTELEMETRY = {"emission", "instrumentor", "cli", "aio", "routes", "entry_spans"}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def part(path: Path) -> str:
    """The module or package directly below ``otel_memleak`` that a file belongs to."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "otel_memleak"}
    return found


def ours(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("otel_memleak.")}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_from_a_higher_layer(path: Path) -> None:
    """Detection can be used without threads, probes without OpenTelemetry: nothing below knows what is above."""
    me = part(path)
    assert me in LAYER_OF, f"{me} has no layer: give it one here"

    for other in ours(path) - {me}:
        allowed = LAYER_OF[other] < LAYER_OF[me] or (me, other) in SIDEWAYS or me == ""
        assert allowed, f"{me} imports {other}"


@pytest.mark.parametrize("path", [p for p in modules() if part(p) in PURE], ids=lambda p: p.name)
def test_the_core_is_pure(path: Path) -> None:
    """No clock, thread, operating system or OpenTelemetry where things are decided."""
    foreign = {name.split(".")[0] for name in imports(path) if not name.startswith("otel_memleak")}

    assert foreign <= PURE_MAY_IMPORT


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_outer_layers_know_opentelemetry(path: Path) -> None:
    """A change of its API is a change in a few files."""
    knows = any(name == "opentelemetry" or name.startswith("opentelemetry.") for name in imports(path))

    assert not knows or part(path) in ONLY_HERE_OPENTELEMETRY


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    """A library that prints or exits inside somebody's service is a nuisance."""
    if part(path) in {"cli", "__main__"}:
        return
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert calls.isdisjoint({"print", "exit", "quit", "input", "breakpoint"})


# The first sleeps in the middle of a fork only if nothing has been replaced; the second mends locks of the SDK's.
ALLOWED = {"imports.py", "emission/fork_locks.py"}
REPLACED = {
    ("threading", "Thread"), ("threading", "Event"), ("threading", "Condition"), ("threading", "Semaphore"),
    ("threading", "Timer"), ("threading", "Lock"), ("threading", "RLock"), ("time", "sleep"),
}  # fmt: skip


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_gevent_replaces_is_not_looked_up_again(path: Path) -> None:
    """A thread from before that waits with what comes after dies with the process, and of it."""
    if part(path) in {"threads", "cli", "testing"} or str(path.relative_to(ROOT)) in ALLOWED:
        return
    used = {
        (node.value.id, node.attr)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }

    assert used.isdisjoint(REPLACED)
    assert imports(path).isdisjoint({"threading.Thread", "threading.Event", "time.sleep"})


def test_every_file_has_a_docstring() -> None:
    """Each module says in a sentence what it is for."""
    without = [str(p) for p in modules() if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))]

    assert without == []
