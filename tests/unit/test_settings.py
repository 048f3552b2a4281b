"""Settings: where they come from, what they refuse, and that the contract's names exist."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_memleak import environment_variables
from otel_memleak.declarative import Declared, MemLeakConfig, split
from otel_memleak.settings import SETTINGS, resolve
from otel_memleak.types import MB, MonitoringTier

CONTRACT = {
    "tier": ("production", "production"),
    "sampling_interval": (60_000, 10_000),
    "baseline_window": (300_000, 60_000),
    "patience": ("auto", 300_000),
    "history_size": (1000, 1000),
    "growth_warning": (50, 10),
    "growth_critical": (100, 100),
    "rss_warning": ("auto", "auto"),
    "rss_critical": ("auto", "auto"),
    "memory_limit": ("auto", "auto"),
    "alert_interval": (3_600_000, 3_600_000),
    "tracemalloc": ("off", "on"),
    "tracemalloc_frames": (1, 1),
    "diagnosis": ("on", "on"),
    "state_file": (None, None),
    "alert_targets": ("log,span_event", "log,span_event"),
    "excluded_metrics": ((), ()),
}
SINCE = {"overhead_budget": (0.1, 0.1)}
"""Settings that came later."""

GARBAGE = {
    "tier": ["prod", "1"],
    "sampling_interval": ["x", "1.5", "-1", "0", "9", "10s", "1e99", "nan", str(2**31)],
    "baseline_window": ["x", "0", "-5"],
    "patience": ["never", "-1", "1.5"],
    "history_size": ["x", "9", "1.5", "1000001"],
    "growth_warning": ["x", "-1", "inf", "nan"],
    "growth_critical": ["x", "-0.1"],
    "rss_warning": ["x", "-1", "80%"],
    "rss_critical": ["x", "-1"],
    "memory_limit": ["x", "0", "-1"],
    "alert_interval": ["x", "-1"],
    "tracemalloc": ["yes", "1"],
    "tracemalloc_frames": ["x", "0", "65536"],
    "diagnosis": ["maybe", "1"],
    "state_file": ["a\0b"],
    "alert_targets": ["email", "log,email", ","],
    "excluded_metrics": [],
    "overhead_budget": ["x", "-1", "nan"],
}

ALL_GARBAGE = [(name, value) for name, values in GARBAGE.items() for value in values]


def test_the_table_has_the_contracts_names_and_defaults() -> None:
    """Users depend on these names and defaults: none is missing, none is different."""
    defaults = {s.name: (s.production, s.development) for s in SETTINGS if s.name != "tier"}

    assert {k: v for k, v in {**CONTRACT, **SINCE}.items() if k != "tier"} == defaults
    assert {*CONTRACT, *SINCE} == {s.name for s in SETTINGS}


def test_every_setting_has_a_documented_environment_variable() -> None:
    """Everything that can be set in code can be set in the environment, and the launcher lists it."""
    constants = {
        name: value for name, value in vars(environment_variables).items() if name.startswith("OTEL_")
    }

    assert constants == {s.variable: s.variable for s in SETTINGS}


def test_production_defaults() -> None:
    """Without any source the production tier's defaults hold, in the units of the field names."""
    settings = resolve()

    assert settings.tier is MonitoringTier.PRODUCTION
    assert settings.sampling_interval_seconds == 60
    assert settings.baseline_window_seconds == 300
    assert settings.patience_seconds is None
    assert settings.growth_warning_bytes_per_hour == 50 * MB
    assert settings.growth_critical_bytes_per_hour == 100 * MB
    assert settings.alert_interval_seconds == 3600
    assert settings.tracemalloc == "off"
    assert settings.alert_targets == ("log", "span_event")


def test_the_tier_decides_the_other_defaults() -> None:
    """Asking for the development tier alone changes what the contract says it changes."""
    settings = resolve({}, {"OTEL_PYTHON_MEMLEAK_TIER": " Development "})

    assert settings.sampling_interval_seconds == 10
    assert settings.baseline_window_seconds == 60
    assert settings.patience_seconds == 300
    assert settings.growth_warning_bytes_per_hour == 10 * MB
    assert settings.tracemalloc == "on"


def test_argument_beats_environment_beats_file_beats_default() -> None:
    """The precedence of the contract, peeled off source by source."""
    arguments = {"history_size": 11}
    environ = {"OTEL_PYTHON_MEMLEAK_HISTORY_SIZE": "12"}
    declared = {"history_size": 13}

    assert resolve(arguments, environ, declared).history_size == 11
    assert resolve({}, environ, declared).history_size == 12
    assert resolve({}, {}, declared).history_size == 13
    assert resolve().history_size == 1000


@pytest.mark.parametrize(("name", "value"), ALL_GARBAGE)
def test_garbage_in_the_environment_is_one_warning_and_the_default(name: str, value: str) -> None:
    """A typo in a deployment must neither stop a service nor go unnoticed."""
    warnings: list[str] = []
    variable = f"OTEL_PYTHON_MEMLEAK_{name.upper()}"

    settings = resolve({}, {variable: value}, {}, warnings.append)

    assert settings == resolve()
    assert len(warnings) == 1
    assert variable in warnings[0]
    assert repr(value) in warnings[0]


@pytest.mark.parametrize(("name", "value"), ALL_GARBAGE)
def test_garbage_as_an_argument_is_a_value_error_naming_it(name: str, value: str) -> None:
    """A mistake in code is loud, at once, and says which keyword."""
    with pytest.raises(ValueError, match=name):
        resolve({name: value})


@pytest.mark.parametrize("name", [s.name for s in SETTINGS])
@pytest.mark.parametrize("value", ["", "   "])
def test_an_empty_variable_is_an_unset_one(name: str, value: str) -> None:
    """The OpenTelemetry specification treats empty as unset, without a warning."""
    warnings: list[str] = []

    settings = resolve({}, {f"OTEL_PYTHON_MEMLEAK_{name.upper()}": value}, {}, warnings.append)

    assert (settings, warnings) == (resolve(), [])


def test_a_bad_variable_does_not_hide_a_good_file() -> None:
    """An unusable value is as good as none: the next source in line is used."""
    settings = resolve({}, {"OTEL_PYTHON_MEMLEAK_HISTORY_SIZE": "many"}, {"history_size": 77})

    assert settings.history_size == 77


def test_an_unknown_argument_is_named() -> None:
    """A misspelt keyword must not be silently without effect."""
    with pytest.raises(ValueError, match="'samplng_interval'"):
        resolve({"samplng_interval": 1})


@pytest.mark.parametrize("value", [True, None, object(), [1], float("nan"), float("inf")])
def test_arguments_of_the_wrong_type_are_refused(value: object) -> None:
    """A boolean is not an interval, and neither is anything else that happens to be an int."""
    with pytest.raises(ValueError, match="sampling_interval"):
        resolve({"sampling_interval": value})


@pytest.mark.parametrize("value", [True, "on", "ON"])
def test_switches_take_yaml_booleans(value: object) -> None:
    """YAML reads ``on`` as true: both spellings of the file mean the same."""
    assert resolve({}, {}, {"diagnosis": value}).diagnosis is True
    assert resolve({}, {}, {"tracemalloc": value}).tracemalloc == "on"


def test_auto_and_zero_keep_their_meaning() -> None:
    """``auto`` is to be worked out (None); 0 switches a threshold off and is not ``auto``."""
    settings = resolve({"rss_warning": 0, "rss_critical": "AUTO", "patience": "auto", "memory_limit": "512"})

    assert settings.rss_warning_bytes == 0
    assert settings.rss_critical_bytes is None
    assert settings.patience_seconds is None
    assert settings.memory_limit_bytes == 512 * MB


def test_lists_are_taken_as_text_and_as_lists() -> None:
    """The environment gives text, code and YAML give lists; blanks and repetitions do not count."""
    settings = resolve({"alert_targets": ["LOG"], "excluded_metrics": " a , ,b,a"})

    assert settings.alert_targets == ("log",)
    assert settings.excluded_metrics == ("a", "b")
    assert resolve({"alert_targets": "none"}).alert_targets == ()


def test_a_critical_threshold_is_never_below_its_warning() -> None:
    """Raising only the warning must not make every alert critical."""
    warnings: list[str] = []

    settings = resolve({"growth_warning": 300, "rss_warning": 900, "rss_critical": 800}, warn=warnings.append)

    assert settings.growth_critical_bytes_per_hour == 300 * MB
    assert settings.rss_critical_bytes == 900 * MB
    assert len(warnings) == 2


def test_growth_rates_may_be_automatic() -> None:
    """From an argument and from the environment; an automatic rate has no order with a fixed one."""
    warnings: list[str] = []
    environ = {"OTEL_PYTHON_MEMLEAK_GROWTH_WARNING": "auto", "OTEL_PYTHON_MEMLEAK_GROWTH_CRITICAL": "0.5"}

    from_environment = resolve(environ=environ, warn=warnings.append)
    from_argument = resolve({"growth_critical": "AUTO", "growth_warning": 300}, warn=warnings.append)

    assert from_environment.growth_warning_bytes_per_hour is None
    assert from_environment.growth_critical_bytes_per_hour == 0.5 * MB
    assert from_argument.growth_critical_bytes_per_hour is None
    assert warnings == []


def test_values_of_the_file_are_told_from_arguments() -> None:
    """The configurator turns the file into keywords: they must stay weaker than the environment."""
    config = MemLeakConfig(history_size=13, tier=None)
    options = {name: value for name, value in vars(config).items() if value is not None}

    assert options == {"history_size": Declared(13)}
    assert split({**options, "tier": "disabled"}) == ({"tier": "disabled"}, {"history_size": 13})


def test_an_unknown_key_of_the_file_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """A misspelt key costs a warning, not the whole configuration."""
    MemLeakConfig(histroy_size=13)

    assert "'histroy_size'" in caplog.text


@given(st.dictionaries(st.sampled_from([s.variable for s in SETTINGS]), st.text()))
def test_no_environment_ever_raises(environ: dict[str, str]) -> None:
    """Whatever the environment holds, a service starts."""
    resolve({}, environ)


@given(
    st.sampled_from([s.name for s in SETTINGS]),
    st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.integers())),
)
def test_an_argument_either_works_or_raises_value_error(name: str, value: object) -> None:
    """No argument leads to any other exception, and what is refused is named."""
    refused = ""
    try:
        resolve({name: value})
    except ValueError as error:
        refused = str(error)

    assert not refused or name in refused


@given(
    st.sampled_from([s.name for s in SETTINGS]),
    st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.lists(st.integers()), st.binary()),
)
def test_no_file_ever_raises(name: str, value: object) -> None:
    """The file is parsed by others into anything YAML knows; none of it may stop a service."""
    resolve({}, {}, {name: value})
