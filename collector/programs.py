"""The real programs that our configurations are proven with, built from source and kept.

python collector/programs.py [--within-minutes M] [NAME ...]

Builds what is missing of the programs in ``programs.json``, at the versions pinned there, with Go and a
module proxy; nothing else is needed, no container engine and no root. They are kept in
``${XDG_CACHE_HOME:-~/.cache}/otel-memleak/programs``, one directory per pin. What cannot be had on a machine
is one loud line; the exit status is 1 only when nothing could be had.

Programs that are marked ``on_request`` are built only when they are named: not every place lets their licence
in, and nothing but their own tests needs them.

A module is built inside Go's module cache, so that its own go.mod, with its replacements, and its own go.sum
are in force: ``go install module@version`` refuses modules with replacements.
"""

from __future__ import annotations

import argparse
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
LONGEST_BUILD_S = 2 * 3600.0


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


def build(name: str, within_s: float = LONGEST_BUILD_S) -> Path:
    """Build one program unless it is there.

    Args:
        name: Of its pin.
        within_s: Seconds it may take; what the compiler has done until then is kept by its own cache.

    Returns:
        The directory of its binaries.

    Raises:
        BuildError: Without Go, or when the registry or the compiler refuses, or takes too long.
    """
    target = directory(name)
    if target.exists():
        return target
    pin = pins()[name]
    tool = "npm" if "npm" in pin else "go"
    if shutil.which(tool) is None:
        raise BuildError(f"there is no {tool} on this machine")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as scratch:
        out = Path(scratch) / "bin"
        out.mkdir()
        make = {"npm": _install_packages, "builder": _build_collector, "module": _build_module}
        kind = next(kind for kind in make if kind in pin)
        make[kind](pin, Path(scratch), out, _Runner(within_s))
        out.rename(target)
    return target


def _install_packages(pin: dict[str, Any], scratch: Path, out: Path, run: _Runner) -> None:
    """Packages of a JavaScript registry, without running anything of theirs."""
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--no-package-lock"]
    run(["npm", "install", *quiet, "--prefix", str(out), *pin["npm"]], scratch)


def _build_module(pin: dict[str, Any], scratch: Path, out: Path, run: _Runner) -> None:
    """A main package of a published module, where Go keeps the module."""
    module = f"{pin['module']}@{pin['version']}"
    if "sums" in pin:
        # Checked against these; without them Go asks a checksum database, which may not know the version.
        # From Go 1.17 on, a go.mod that says its version is spared the graph of everybody's requirements.
        requirement = f"module pinned\ngo 1.24\nrequire {pin['module']} {pin['version']}\n"
        (scratch / "go.mod").write_text(requirement)
        (scratch / "go.sum").write_text("\n".join(pin["sums"]) + "\n")
        module = pin["module"]
    source = json.loads(run(["go", "mod", "download", "-json", module], scratch))["Dir"]
    flags = ["-mod=readonly", *_LDFLAGS]
    if "tags" in pin:
        flags += ["-tags", pin["tags"]]
    if "drop_replace" in pin:
        flags += ["-modfile", str(_published_requirements(pin, Path(source), scratch, run))]
    run(["go", "build", *flags, "-o", f"{out}/", *pin["packages"]], Path(source))


def _published_requirements(pin: dict[str, Any], source: Path, scratch: Path, run: _Runner) -> Path:
    """The module's go.mod without replacements by directories that are not part of what is published."""
    changed = scratch / "published.mod"
    changed.write_text((source / "go.mod").read_text())
    changed.with_suffix(".sum").write_text(
        (source / "go.sum").read_text() + "\n".join(pin["more_sums"]) + "\n"
    )
    for replaced in pin["drop_replace"]:
        run(["go", "mod", "edit", f"-dropreplace={replaced}", str(changed)], scratch)
    return changed


def _build_collector(pin: dict[str, Any], scratch: Path, out: Path, run: _Runner) -> None:
    """A Collector of the components in a manifest, by the Collector's own builder."""
    builder = f"go.opentelemetry.io/collector/cmd/builder@{pin['builder']}"
    run(["go", "install", builder], scratch, GOBIN=str(scratch))
    sources = scratch / "sources"
    manifest = str(HERE / pin["manifest"])
    run(
        [str(scratch / "builder"), "--config", manifest, "--output-path", str(sources), "--skip-compilation"],
        scratch,
    )
    run(["go", "build", *_LDFLAGS, "-o", str(out / pin["binaries"][0]), "."], sources)


_LDFLAGS = ["-trimpath", "-ldflags=-s -w"]


class _Runner:
    """Runs the commands of one build, all of them within its time."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._deadline = time.monotonic() + within_s

    def __call__(self, command: list[str], where: Path, **more: str) -> str:
        """What the command prints; raises :class:`BuildError` when it fails."""
        environment = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOFLAGS": f"-buildvcs=false -p={os.cpu_count() or 1}",
            "GOWORK": "off",
            "GOTOOLCHAIN": "local",
            **more,
        }
        polite = ["nice", "-n", "5"] if shutil.which("nice") else []
        try:
            done = subprocess.run(
                [*polite, *command],
                cwd=where,
                env=environment,
                text=True,
                capture_output=True,
                timeout=max(1.0, self._deadline - time.monotonic()),
            )
        except subprocess.TimeoutExpired as error:
            raise BuildError(
                f"`{command[0]}` was not done within {self._within_s / 60:.0f} minutes"
            ) from error
        if done.returncode != 0:
            raise BuildError(_reason(done.stdout + done.stderr))
        return done.stdout


def _reason(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip() and "downloading" not in line]
    return " ".join(lines[-3:])[:400] or "no output"


def main(arguments: list[str]) -> int:
    """Build the named programs, or all that need no request, and say what there is."""
    parser = argparse.ArgumentParser(
        description="Build the programs that our configurations are proven with."
    )
    parser.add_argument("names", nargs="*", choices=[[], *pins()], metavar="NAME", help=", ".join(pins()))
    parser.add_argument("--within-minutes", type=float, default=LONGEST_BUILD_S / 60, help="for all together")
    chosen = parser.parse_args(arguments)
    deadline = time.monotonic() + 60 * chosen.within_minutes
    results = [_report(name, deadline, requested=bool(chosen.names)) for name in chosen.names or pins()]
    return 0 if any(results) else 1


def _report(name: str, deadline: float, requested: bool) -> bool:
    start = time.monotonic()
    reason = pins()[name].get("on_request")
    if reason and not requested and not directory(name).exists():
        print(f"!!! SKIPPED: {name} is built only when it is named: {reason}", flush=True)
        return False
    try:
        path = build(name, deadline - start)
    except BuildError as error:
        print(f"!!! SKIPPED: {name} cannot be built here: {error}", flush=True)
        return False
    print(f"{name}: {path} ({time.monotonic() - start:.0f} s)", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
