"""Settings from anywhere: the environment, a configuration file, arguments, in any state of disrepair."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_memleak.declarative import MemLeakConfig, split
from otel_memleak.detector import LeakDetector
from otel_memleak.engine import Engine, Surroundings
from otel_memleak.instrumentor import MemLeakInstrumentor
from otel_memleak.settings import SETTINGS, Settings, resolve
from otel_memleak.state.document import Document, decode, encode
from otel_memleak.state.owner import owner_of_this_process
from otel_memleak.testing import ManualClock
from otel_memleak.types import MB, MemoryLimit, MonitoringTier
from property.hostile import json_values, texts

owners = texts | st.builds("service.name={},a=%zz,=,".format, texts)
NAMES = [setting.name for setting in SETTINGS]
variables = st.dictionaries(st.sampled_from([setting.variable for setting in SETTINGS]), texts, max_size=6)
declared = st.dictionaries(st.sampled_from(NAMES), json_values, max_size=6)


def check(settings: Settings) -> None:
    """Every value is one that can be worked with, and the engine does."""
    assert isinstance(settings.tier, MonitoringTier)
    assert settings.sampling_interval_seconds >= 0.01
    assert settings.baseline_window_seconds >= 0.01
    assert 10 <= settings.history_size <= 1_000_000
    assert 1 <= settings.tracemalloc_frames <= 65_535
    assert 0 <= settings.overhead_budget_share <= 1
    for value in settings:
        assert not isinstance(value, float) or math.isfinite(value)
    clock = ManualClock()
    surroundings = Surroundings(
        clock=clock, read_rss_bytes=lambda: 100 * MB, read_limit=lambda configured: MemoryLimit(512 * MB, "cgroup"),
        make_kinds=None,
    )  # fmt: skip
    engine = Engine(
        settings._replace(state_file=None, diagnosis=False, tracemalloc="off"), surroundings=surroundings
    )
    for _ in range(7):
        engine.tick()
        clock.advance(settings.sampling_interval_seconds)
        assert engine.excludes("memleak.process.rss") in (True, False)
    assert engine.status is not None
    assert engine.swallowed_errors == 0


@given(variables)
@example({"OTEL_PYTHON_MEMLEAK_SAMPLING_INTERVAL": "9" * 5000})
def test_any_environment_is_lived_with(environ: dict[str, str]) -> None:
    """A bad variable is one warning with its name, and the default; never an exception."""
    warnings: list[str] = []

    settings = resolve({}, environ, warn=warnings.append)

    check(settings)
    ignored = [text for text in warnings if text.startswith("Ignoring")]
    assert len(ignored) == sum(any(name + "=" in text for text in ignored) for name in environ)
    assert all(len(text) < 500 for text in warnings)


@given(declared, variables)
def test_any_configuration_file_is_lived_with(options: dict[str, Any], environ: dict[str, str]) -> None:
    """Whatever YAML can hold in any of our keys: a warning and the default; the environment stays stronger."""
    arguments, found = split(vars(MemLeakConfig(**options)))
    warnings: list[str] = []

    settings = resolve({k: v for k, v in arguments.items() if v is not None}, environ, found, warnings.append)

    check(settings)
    assert all(len(text) < 500 for text in warnings)


@given(st.dictionaries(texts.filter(lambda name: name != "self"), json_values, max_size=4))
def test_unknown_keys_of_a_file_are_said_and_left_out(options: dict[str, Any]) -> None:
    """A key of a later version, or a slip of the pen, must not cost the configuration of everything else."""
    config = MemLeakConfig(**options)

    assert set(vars(config)) == set(NAMES)


@given(declared)
def test_a_bad_argument_is_a_value_error_that_names_it(arguments: dict[str, Any]) -> None:
    """In code a mistake is loud, and the only way to be loud is `ValueError`."""
    said = ""
    try:
        check(resolve(arguments))
    except ValueError as error:
        said = str(error)

    assert not said or any(f"{name}=" in said for name in arguments)


@given(json_values)
def test_a_callback_that_is_none_is_refused(value: Any) -> None:
    """``on_alert`` takes a callable; anything else is said at once, not at the first alert."""
    if value is None:
        return
    with pytest.raises(ValueError, match="on_alert"):
        MemLeakInstrumentor()._instrument(on_alert=value)


@given(
    st.dictionaries(st.sampled_from(["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"]), owners),
    st.lists(owners | st.sampled_from(["-m", "-c", "-W", "-X", "-", "--"]), max_size=6),
    st.booleans(),
)
def test_whoever_owns_a_state_file_can_be_written_and_read(
    environ: dict[str, str], arguments: list[str], forked: bool
) -> None:
    """Names of services and programs are chosen by others; the next process has to recognise them."""
    owner = owner_of_this_process(forked=forked, environ=environ, arguments=arguments)
    document = Document(saved_s=1.0, owner=owner, detector=LeakDetector().export_state(), last_words=None)

    assert decode(encode(document)).owner == owner
