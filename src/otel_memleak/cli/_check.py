"""``otel-memleak check``: say what this host lets a process measure about itself.

Also says which OpenTelemetry packages are installed, and whether opentelemetry-instrument would find and
start this instrumentation.

Exit status: 0, or 1 when resident memory cannot be read here or the zero-code start is not possible.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Final

from otel_memleak.cli import _launch

if TYPE_CHECKING:
    from otel_memleak.probes import Capability

_PACKAGES: Final = (
    "otel-memleak",
    "psutil",
    "rich",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation",
    "opentelemetry-distro",
    "opentelemetry-configuration",
    "opentelemetry-exporter-otlp",
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-instrumentation-system-metrics",
)
_ESSENTIAL: Final = "rss"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``check``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


@dataclass(frozen=True, slots=True)
class Installation:
    """How this environment would start the instrumentation.

    Attributes:
        python: Version and implementation.
        platform: Operating system and machine.
        packages: Versions of the packages that matter; None where one is not installed.
        entry_points: Whether each entry point of this package is visible.
        distros: Names of the installed distributions that configure an SDK.
        zero_code: ``ready``, or the sentence that says what to do.
    """

    python: str
    platform: str
    packages: dict[str, str | None]
    entry_points: dict[str, bool]
    distros: list[str]
    zero_code: str


def run(options: argparse.Namespace) -> int:
    """Prints what this host and this environment offer.

    Returns:
        0, or 1 when resident memory cannot be read here or the zero-code start is not possible.
    """
    from otel_memleak.probes import describe_host

    capabilities = describe_host()
    installation = describe_installation()
    if options.json:
        found = {**asdict(installation), "capabilities": [asdict(c) for c in capabilities]}
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(in_words(installation, capabilities)))
    readable = any(c.available for c in capabilities if c.name == _ESSENTIAL)
    return 0 if readable and installation.zero_code == "ready" else 1


def describe_installation() -> Installation:
    """Finds out what is installed in the environment of this interpreter."""
    return Installation(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        packages={name: _version(name) for name in _PACKAGES},
        entry_points={
            group: any(point.name == "memleak" for point in metadata.entry_points(group=group))
            for group in ("opentelemetry_instrumentor", "opentelemetry_environment_variables")
        },
        distros=sorted({point.name for point in metadata.entry_points(group="opentelemetry_distro")}),
        zero_code=_zero_code(),
    )


def in_words(installation: Installation, capabilities: Sequence[Capability]) -> Iterable[str]:
    """Yields the lines of the report for people."""
    yield f"{installation.python} on {installation.platform}"
    yield ""
    yield "What this host lets a process measure about itself:"
    for capability in capabilities:
        yield _capability_line(capability)
    yield ""
    yield "Packages:"
    for name, version in installation.packages.items():
        yield f"  {name:<46} {version or 'not installed'}"
    yield ""
    yield "Zero-code start (opentelemetry-instrument):"
    for group, visible in installation.entry_points.items():
        yield f"  entry point in {group:<37} {'visible' if visible else 'NOT visible'}"
    yield f"  distro that configures an SDK{'':<23} {', '.join(installation.distros) or 'none'}"
    yield f"  verdict: {installation.zero_code}"


def _capability_line(capability: Capability) -> str:
    if capability.available:
        return f"  yes  {capability.name:<18} {capability.value}  [{capability.method}]"
    return f"  no   {capability.name:<18} {capability.reason}"


def _zero_code() -> str:
    try:
        _launch.launcher()
    except _launch.LaunchError as error:
        return str(error)
    return "ready"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
