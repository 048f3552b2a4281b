"""The real programs that our configurations are proven with, built from source and kept.

python collector/programs.py [NAME ...]

Builds what is missing of the programs in ``programs.json``, at the versions pinned there, with Go and a
module proxy; nothing else is needed, no container engine and no root. They are kept in
``${XDG_CACHE_HOME:-~/.cache}/otel-memleak/programs``, one directory per pin. What cannot be had on a machine
is one loud line; the exit status is 1 only when nothing could be had.

A module is built inside Go's module cache, so that its own go.mod, with its replacements, and its own go.sum
are in force: ``go install module@version`` refuses modules with replacements.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PINS = HERE / "programs.json"
LONGEST_BUILD_S = 40 * 60


class BuildError(Exception):
    """A program cannot be had on this machine; the message says why."""


def pins() -> dict[str, dict[str, Any]]:
    """What is pinned, by name of the program."""
    loaded: dict[str, dict[str, Any]] = json.loads(PINS.read_text())
    return loaded


def directory(name: str) -> Path:
    """Where a program is kept: another pin, manifest or platform is another directory."""
    pin = pins()[name]
    text = json.dumps(pin, sort_keys=True) + sys.platform + os.uname().machine
    if "manifest" in pin:
        text += (HERE / pin["manifest"]).read_text()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "otel-memleak" / "programs" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def find(binary: str) -> Path | None:
    """The path of a binary that has been built, or None."""
    for name, pin in pins().items():
        path = directory(name) / binary
        if binary in pin["binaries"] and path.exists():
            return path
    return None


def build(name: str) -> Path:
    """Build one program unless it is there.

    Returns:
        The directory of its binaries.

    Raises:
        BuildError: Without Go, or when the module proxy or the compiler refuses.
    """
    target = directory(name)
    if target.exists():
        return target
    if shutil.which("go") is None:
        raise BuildError("there is no Go on this machine")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as scratch:
        out = Path(scratch) / "bin"
        out.mkdir()
        pin = pins()[name]
        make = _build_collector if "builder" in pin else _build_module
        make(pin, Path(scratch), out)
        out.rename(target)
    return target


def _build_module(pin: dict[str, Any], scratch: Path, out: Path) -> None:
    """A main package of a published module, where Go keeps the module."""
    module = f"{pin['module']}@{pin['version']}"
    if "sums" in pin:
        # Checked against these; without them Go asks a checksum database, which may not know the version.
        # From Go 1.17 on, a go.mod that says its version is spared the graph of everybody's requirements.
        requirement = f"module pinned\ngo 1.24\nrequire {pin['module']} {pin['version']}\n"
        (scratch / "go.mod").write_text(requirement)
        (scratch / "go.sum").write_text("\n".join(pin["sums"]) + "\n")
        module = pin["module"]
    source = json.loads(_run(["go", "mod", "download", "-json", module], scratch))["Dir"]
    flags = ["-mod=readonly", *_LDFLAGS]
    if "tags" in pin:
        flags += ["-tags", pin["tags"]]
    if "drop_replace" in pin:
        flags += ["-modfile", str(_published_requirements(pin, Path(source), scratch))]
    _run(["go", "build", *flags, "-o", f"{out}/", *pin["packages"]], Path(source))


def _published_requirements(pin: dict[str, Any], source: Path, scratch: Path) -> Path:
    """The module's go.mod without replacements by directories that are not part of what is published."""
    changed = scratch / "published.mod"
    changed.write_text((source / "go.mod").read_text())
    changed.with_suffix(".sum").write_text(
        (source / "go.sum").read_text() + "\n".join(pin["more_sums"]) + "\n"
    )
    for replaced in pin["drop_replace"]:
        _run(["go", "mod", "edit", f"-dropreplace={replaced}", str(changed)], scratch)
    return changed


def _build_collector(pin: dict[str, Any], scratch: Path, out: Path) -> None:
    """A Collector of the components in a manifest, by the Collector's own builder."""
    builder = f"go.opentelemetry.io/collector/cmd/builder@{pin['builder']}"
    _run(["go", "install", builder], scratch, GOBIN=str(scratch))
    sources = scratch / "sources"
    manifest = str(HERE / pin["manifest"])
    _run(
        [str(scratch / "builder"), "--config", manifest, "--output-path", str(sources), "--skip-compilation"],
        scratch,
    )
    _run(["go", "build", *_LDFLAGS, "-o", str(out / pin["binaries"][0]), "."], sources)


_LDFLAGS = ["-trimpath", "-ldflags=-s -w"]


def _run(command: list[str], where: Path, **more: str) -> str:
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": f"-buildvcs=false -p={os.cpu_count() or 1}",
        "GOWORK": "off",
        "GOTOOLCHAIN": "local",
        **more,
    }
    polite = ["nice", "-n", "19"] if shutil.which("nice") else []
    try:
        done = subprocess.run(
            [*polite, *command],
            cwd=where,
            env=environment,
            text=True,
            capture_output=True,
            timeout=LONGEST_BUILD_S,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"`{command[0]}` took more than {LONGEST_BUILD_S // 60} minutes") from error
    if done.returncode != 0:
        raise BuildError(_reason(done.stdout + done.stderr))
    return done.stdout


def _reason(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip() and "downloading" not in line]
    return " ".join(lines[-3:])[:400] or "no output"


def main(names: list[str]) -> int:
    """Build the named programs, or all, and say what there is."""
    had = 0
    for name in names or pins():
        start = time.monotonic()
        try:
            path = build(name)
        except BuildError as error:
            print(f"!!! SKIPPED: {name} cannot be built here: {error}", flush=True)
            continue
        had += 1
        print(f"{name}: {path} ({time.monotonic() - start:.0f} s)", flush=True)
    return 0 if had else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
