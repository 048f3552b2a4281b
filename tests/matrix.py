"""The suite's core against the oldest and the newest OpenTelemetry that pyproject.toml admits.

python tests/matrix.py [PYTHON ...]      default: python3.10 and python3.13, also where pyenv keeps them

Every combination has an environment of its own in ``.venv-matrix``. The oldest release is the lower bound of each
requirement, so that the bound is what is tested; the newest is what pip installs today.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".venv-matrix"
SUITE = (
    "tests/unit",
    "tests/integration/test_workers.py",
    "tests/integration/test_zero_code.py::test_a_leak_is_told_as_log_record_and_span_event_with_one_id",
)
ENDS = ("oldest", "newest")


def interpreters(names: list[str]) -> dict[str, str]:
    """Where each Python is, by name; what is not on this machine is said loudly and left out."""
    found: dict[str, str] = {}
    for name in names:
        kept = (Path.home() / ".pyenv/versions").glob(f"{name.removeprefix('python')}.*/bin/python")
        candidates = [
            path for path in (shutil.which(name), *map(str, sorted(kept))) if path and makes_venvs(path)
        ]
        if candidates:
            found[Path(name).name] = candidates[0]
        else:
            print(f"!!! SKIPPED: no {name} on this machine", flush=True)
    return found


def makes_venvs(python: str) -> bool:
    """Not every file of that name is a Python: pyenv leaves stubs."""
    return (
        subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True, check=False).returncode
        == 0
    )


def oldest() -> list[str]:
    """The lower bounds as constraints; OpenTelemetry's own packages have to be of one release."""
    lower: dict[str, str] = {}
    for text in requires("otel-memleak") or ():
        requirement = Requirement(text)
        bounds = [part.version for part in requirement.specifier if part.operator == ">="]
        if requirement.name.startswith("opentelemetry") or not requirement.marker:
            lower.setdefault(requirement.name, *bounds)
    beta = next(version for version in lower.values() if "b" in version)
    together = ("system-metrics", "fastapi", "asgi")
    siblings = [f"opentelemetry-instrumentation-{name}=={beta}" for name in together]
    return [f"{name}=={version}" for name, version in lower.items()] + siblings


def make(python: str, folder: Path, constraints: list[str]) -> Path:
    """An environment with the package, its launcher and what the suite needs."""
    if not (folder / ".done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        pinned = folder / "constraints.txt"
        pinned.write_text("\n".join(constraints), encoding="utf-8")
        pip = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
        subprocess.run([*pip, "pip >= 25.1"], check=True)
        subprocess.run(
            [*pip, "-e", f"{ROOT}[auto,tui]", "--group", f"{ROOT}/pyproject.toml:matrix", "-c", str(pinned)],
            check=True,
        )
        (folder / ".done").touch()
    return folder / "bin/python"


def main(names: list[str]) -> int:
    """Run every combination; the number of those that failed."""
    failed = []
    for name, path in interpreters(names or ["python3.10", "python3.13"]).items():
        for end in ENDS:
            case = f"{name}-{end}"
            python = make(path, ENVIRONMENTS / case, oldest() if end == "oldest" else [])
            show = (
                "import importlib.metadata as m; print(m.version('opentelemetry-sdk'), m.version('psutil'))"
            )
            version = subprocess.run([python, "-c", show], capture_output=True, text=True, check=True).stdout
            print(f"\n=== {case}: opentelemetry-sdk, psutil {version}", flush=True)
            cache = f"cache_dir={ENVIRONMENTS / case}/.cache"
            if subprocess.run(
                [python, "-m", "pytest", "-q", "-o", cache, *SUITE], cwd=ROOT, check=False
            ).returncode:
                failed.append(case)
    print(f"\nfailed: {', '.join(failed) or 'none'}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
