"""Every setting in one table, and the one function that resolves it.

Precedence: argument, then environment, then declarative configuration file, then the default of the tier.
An argument that cannot be used raises `ValueError` naming it; a value from the environment or from a file
is reported once and treated as if it were not there, because telemetry must not keep a service from starting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, cast

from otel_memleak.environment_variables import PREFIX
from otel_memleak.parsing import (
    alert_targets,
    auto_or,
    file_path,
    integer,
    megabytes,
    memory_limit,
    milliseconds,
    monitoring_tier,
    percent,
    switch,
    texts,
    tracemalloc_mode,
)
from otel_memleak.records import NamedTuple
from otel_memleak.vocabulary import MonitoringTier

AlertTarget = Literal["log", "span_event"]
TracemallocMode = Literal["off", "on", "diagnosis"]

_LONGEST_QUOTE: Final = 200


class Settings(NamedTuple):
    """Validated settings, in the units the code works with.

    Attributes:
        tier: How much the process looks at itself.
        sampling_interval_seconds: Time between two samples.
        baseline_window_seconds: Span of the samples whose median is the baseline.
        patience_seconds: How long growth is watched before it is a leak; None adapts it to the headroom.
        history_size: Samples kept at full resolution.
        growth_warning_bytes_per_hour: Rate from which growth matters by itself; None adapts it.
        growth_critical_bytes_per_hour: Rate from which a leak is critical; None adapts it.
        rss_warning_bytes: Resident memory that warns; None derives it from the limit, 0 switches it off.
        rss_critical_bytes: Resident memory that is critical; None and 0 as above.
        memory_limit_bytes: Configured limit; None finds it out.
        alert_interval_seconds: At most one alert of a kind and severity in this time.
        tracemalloc: Whether Python allocations are traced.
        tracemalloc_frames: Frames kept per traced allocation.
        diagnosis: Whether a suspected leak is looked into.
        state_file: Where baseline and history are kept across restarts; None keeps nothing.
        alert_targets: Signals an alert is sent as.
        excluded_metrics: Shell patterns of metrics not to export.
        overhead_budget_share: Share of one core that watching may cost; 0 is no limit.
    """

    tier: MonitoringTier
    sampling_interval_seconds: float
    baseline_window_seconds: float
    patience_seconds: float | None
    history_size: int
    growth_warning_bytes_per_hour: float | None
    growth_critical_bytes_per_hour: float | None
    rss_warning_bytes: float | None
    rss_critical_bytes: float | None
    memory_limit_bytes: int | None
    alert_interval_seconds: float
    tracemalloc: TracemallocMode
    tracemalloc_frames: int
    diagnosis: bool
    state_file: str | None
    alert_targets: tuple[AlertTarget, ...]
    excluded_metrics: tuple[str, ...]
    overhead_budget_share: float


class Setting(NamedTuple):
    """One row of the table.

    Attributes:
        name: Keyword of ``instrument()`` and key in the declarative file.
        field: The attribute of `Settings` it ends in, which carries the unit.
        parse: From an argument or a text to the field's value; raises `ValueError` saying what is allowed.
        production: Default in the production tier, as a user would write it.
        development: Default in the development tier.
        meaning: One sentence with the unit, shown to users.
    """

    name: str
    field: str
    parse: Callable[[object], Any]
    production: object
    development: object
    meaning: str

    @property
    def variable(self) -> str:
        """The environment variable of this setting."""
        return PREFIX + self.name.upper()


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("tier", "tier", monitoring_tier, "production", "development",
            "production, development or disabled"),
    Setting("sampling_interval", "sampling_interval_seconds", milliseconds(10), 60_000, 10_000,
            "ms between two samples"),
    Setting("baseline_window", "baseline_window_seconds", milliseconds(10), 300_000, 60_000,
            "ms; the median of its samples, at least 5, spanning it, is the baseline"),
    Setting("patience", "patience_seconds", auto_or(milliseconds(10)), "auto", 300_000,
            "ms growth is watched before it is called a leak; auto: the less time is left to the limit, "
            "the shorter, at most 12 h, longer only for growth that is in doubt; a number: never less, and "
            "longer while the rise is below a tenth of the memory"),
    Setting("history_size", "history_size", integer(10, 1_000_000), 1000, 1000,
            "samples kept at full resolution"),
    Setting("growth_warning", "growth_warning_bytes_per_hour", auto_or(megabytes()), 50, 10,
            "MB/h from which growth matters by itself; auto: what would use up the headroom in a day, above "
            "the noise"),
    Setting("growth_critical", "growth_critical_bytes_per_hour", auto_or(megabytes()), 100, 100,
            "MB/h from which a leak is critical; auto: what would use up the headroom in four hours"),
    Setting("rss_warning", "rss_warning_bytes", auto_or(megabytes()), "auto", "auto",
            "MB of resident memory that warn; 0: off; auto: 80 % of the limit, 256 where there is none "
            "but the host's"),
    Setting("rss_critical", "rss_critical_bytes", auto_or(megabytes()), "auto", "auto",
            "MB of resident memory that are critical; 0: off; auto: 90 % of the limit, 512 where there is "
            "none but the host's"),
    Setting("memory_limit", "memory_limit_bytes", auto_or(memory_limit), "auto", "auto",
            "MB at which the process is killed; auto: the smaller of cgroup and rlimit, else the host's"),
    Setting("alert_interval", "alert_interval_seconds", milliseconds(0), 3_600_000, 3_600_000,
            "ms in which at most one alert of a kind and severity is sent; an escalation always passes"),
    Setting("tracemalloc", "tracemalloc", tracemalloc_mode, "off", "on", "off, on or diagnosis"),
    Setting("tracemalloc_frames", "tracemalloc_frames", integer(1, 65_535), 1, 1,
            "frames kept per traced allocation"),
    Setting("diagnosis", "diagnosis", switch, "on", "on", "on or off"),
    Setting("state_file", "state_file", file_path, None, None,
            "file that keeps baseline and history across restarts"),
    Setting("alert_targets", "alert_targets", alert_targets, "log,span_event", "log,span_event",
            "signals an alert is sent as: log, span_event; or none"),
    Setting("excluded_metrics", "excluded_metrics", texts, (), (),
            "names or shell patterns of metrics not to export"),
    Setting("overhead_budget", "overhead_budget_share", percent, 0.1, 0.1,
            "% of one core that watching may use, in proportion more at sampling intervals below 10 s "
            "(up to 1 %); above it diagnosis is postponed and sampling slowed; 0: no limit"),
)  # fmt: skip

_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


def resolve(
    arguments: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    declared: Mapping[str, object] | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> Settings:
    """Settle every setting from its sources.

    Args:
        arguments: Keywords given in code, by setting name; strongest.
        environ: The environment, by variable name; an empty value is an unset one.
        declared: Keys of the declarative configuration file; weaker than the environment.
        warn: Told once of every value that was ignored, with its name and value.

    Returns:
        The settings, complete.

    Raises:
        ValueError: An argument has an unknown name or an unusable value; the message names it.
    """
    arguments, environ, declared = arguments or {}, environ or {}, declared or {}
    for unknown in sorted(set(arguments) - set(_BY_NAME)):
        raise ValueError(f"unknown setting {unknown!r}; known are {', '.join(_BY_NAME)}")
    for unknown in sorted(set(declared) - set(_BY_NAME)):
        warn(f"Ignoring unknown setting {unknown!r} in the configuration file")
    tier = cast(MonitoringTier, _settle(_BY_NAME["tier"], False, arguments, environ, declared, warn))
    development = tier is MonitoringTier.DEVELOPMENT
    values = {
        setting.field: _settle(setting, development, arguments, environ, declared, warn)
        for setting in SETTINGS
        if setting.name != "tier"
    }
    return _in_order(Settings(tier=tier, **values), warn)


def _settle(
    setting: Setting,
    development: bool,
    arguments: Mapping[str, object],
    environ: Mapping[str, str],
    declared: Mapping[str, object],
    warn: Callable[[str], None],
) -> Any:
    if setting.name in arguments:
        try:
            return setting.parse(arguments[setting.name])
        except ValueError as error:
            raise ValueError(f"{setting.name}={arguments[setting.name]!r}: {error}") from None
    sources: list[tuple[str, object]] = []
    if environ.get(setting.variable, "").strip():
        sources.append((setting.variable, environ[setting.variable]))
    if declared.get(setting.name) is not None:
        sources.append((f"{setting.name} in the configuration file", declared[setting.name]))
    for origin, value in sources:
        try:
            return setting.parse(value)
        except ValueError as error:
            warn(f"Ignoring {origin}={_quoted(value)}: {error}")
    return setting.parse(setting.development if development else setting.production)


def _quoted(value: object) -> str:
    """The value as a warning shows it: a certificate in the wrong variable need not be in it whole."""
    text = repr(value)
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"


def _in_order(settings: Settings, warn: Callable[[str], None]) -> Settings:
    """A critical threshold below its warning could never be told apart from it: lift it."""
    warning, critical = settings.growth_warning_bytes_per_hour, settings.growth_critical_bytes_per_hour
    if warning is not None and critical is not None and critical < warning:
        warn("growth_critical is below growth_warning; using growth_warning for both")
        settings = settings._replace(growth_critical_bytes_per_hour=warning)
    if settings.rss_critical_bytes and settings.rss_critical_bytes < (settings.rss_warning_bytes or 0):
        warn("rss_critical is below rss_warning; using rss_warning for both")
        settings = settings._replace(rss_critical_bytes=settings.rss_warning_bytes)
    return settings
