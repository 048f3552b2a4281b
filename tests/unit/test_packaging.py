"""What an installer, a launcher and a type checker see."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata, resources

import otel_memleak


def test_the_public_names_are_exactly_these() -> None:
    """The contract's names can be imported from the package, and nothing else is promised."""
    expected = [
        "LeakAlert",
        "LeakDetector",
        "MemLeakInstrumentor",
        "MemoryMonitor",
        "MonitoringTier",
        "__version__",
    ]

    assert sorted(otel_memleak.__all__) == expected
    assert all(getattr(otel_memleak, name) is not None for name in expected)
    assert set(expected) <= set(dir(otel_memleak))


def test_a_missing_name_is_an_attribute_error() -> None:
    """Lazy imports must fail like eager ones."""
    assert not hasattr(otel_memleak, "LeekDetector")


def test_the_entry_points_are_where_opentelemetry_looks() -> None:
    """Found by the launcher under the name that OTEL_PYTHON_DISABLED_INSTRUMENTATIONS takes."""
    for group, value in {
        "opentelemetry_instrumentor": "otel_memleak.instrumentor:MemLeakInstrumentor",
        "opentelemetry_environment_variables": "otel_memleak.environment_variables",
        "pytest11": "otel_memleak.testing.pytest_plugin",
    }.items():
        (found,) = [e for e in metadata.entry_points(group=group) if e.name == "memleak"]
        assert found.value == value
        assert found.load() is not None


def test_the_console_script_exists() -> None:
    """``otel-memleak`` and ``python -m otel_memleak`` are the same program."""
    (script,) = [e for e in metadata.entry_points(group="console_scripts") if e.name == "otel-memleak"]

    assert script.value == "otel_memleak.cli:main"


def test_requirements_are_lower_bounds_only() -> None:
    """A pinned OpenTelemetry package breaks every user whose others are one patch apart."""
    required = [r for r in metadata.requires("otel-memleak") or [] if "extra ==" not in r]
    names = {r.split(">")[0].strip() for r in required}

    assert names == {"psutil", "opentelemetry-api", "opentelemetry-sdk", "opentelemetry-instrumentation",
                     "opentelemetry-exporter-otlp"}  # fmt: skip
    assert not any("==" in r or "<" in r or "~=" in r for r in required)


def test_the_package_is_typed() -> None:
    """Without the marker a type checker ignores every annotation."""
    assert resources.files("otel_memleak").joinpath("py.typed").is_file()


def test_importing_the_package_imports_almost_nothing() -> None:
    """The launcher imports it in every process, also where it is switched off."""
    code = (
        "import sys, otel_memleak; prefixes = ('otel_memleak', 'opentelemetry', 'psutil', 'threading', 'logging');"
        "print(sorted(name for name in sys.modules if name.startswith(prefixes)))"
    )

    # Isolated from the site, so that nothing but the package itself is seen.
    env = {"PYTHONPATH": os.path.dirname(os.path.dirname(otel_memleak.__file__))}
    out = subprocess.run(
        [sys.executable, "-S", "-c", code], env=env, capture_output=True, text=True, check=True
    )

    assert out.stdout.strip() == "['otel_memleak', 'otel_memleak.version']"
