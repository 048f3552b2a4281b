"""Configuration files as released versions have documented them: read for ever, with the same meaning."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_memleak.declarative import MemLeakConfig, split
from otel_memleak.settings import SETTINGS, resolve
from otel_memleak.version import __version__

FILES = sorted((Path(__file__).parents[1] / "data" / "declarative").glob("*.yaml"))


def section(path: Path) -> dict[str, Any]:
    """Our part of a configuration file."""
    document = yaml.safe_load(path.read_text())
    return dict(document["instrumentation/development"]["python"]["memleak"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_every_released_version_means_what_it_meant(path: Path) -> None:
    """These files are never changed; a setting that is renamed or gone goes on being understood here."""
    warnings: list[str] = []
    declared = split(vars(MemLeakConfig(**section(path))))[1]

    settings = resolve({}, {}, declared, warnings.append)

    assert warnings == []
    expected = json.loads(path.with_suffix(".json").read_text())
    found = json.loads(json.dumps(settings._asdict()))
    assert {name: found[name] for name in expected} == expected


def test_every_setting_is_in_a_file_of_its_version() -> None:
    """Whoever adds a setting adds a file in which it is set, under the number of the version that brings it."""
    assert {name for path in FILES for name in section(path)} == {setting.name for setting in SETTINGS}
    newest = max(tuple(map(int, path.name.split("-")[0].split("."))) for path in FILES)
    assert newest <= tuple(map(int, __version__.split(".")[:2]))


@pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.configuration") is None, reason="this SDK reads no file"
)
def test_the_real_configurator_gives_us_the_same() -> None:
    """Through OpenTelemetry's own reading of such a file, in a process that it configures."""
    path = next(path for path in FILES if path.stem == "0.1-every-setting")
    program = (
        "from otel_memleak import MemLeakInstrumentor as M; import json; e = M()._standby;"
        "print(json.dumps(e.settings._asdict()))"
    )
    environment = {n: v for n, v in os.environ.items() if not n.startswith("OTEL_")}
    # The folder for the state does not exist: said, and nothing is kept.
    result = subprocess.run(
        [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable, "-c", program],
        env={**environment, "OTEL_CONFIG_FILE": str(path)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == {
        **json.loads(path.with_suffix(".json").read_text()),
    }
