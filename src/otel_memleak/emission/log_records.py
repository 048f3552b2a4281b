"""Handing a log record to whichever release of the logs API is installed.

Since 1.38 a logger takes the fields; before, it took a record, and the SDK only one of its own class, with
the resource in it. Applications pin old releases for years, and one of them is no reason to stay silent.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any, Final

from opentelemetry._logs import Logger, SeverityNumber
from opentelemetry.context import Context

from otel_memleak.emission.attributes import AttributeValue

_TAKES_FIELDS: Final = "event_name" in inspect.signature(Logger.emit).parameters


def emit(
    logger: Logger,
    *,
    timestamp_ns: int,
    context: Context,
    severity: SeverityNumber,
    body: str,
    attributes: dict[str, AttributeValue],
    event_name: str,
    takes_fields: bool = _TAKES_FIELDS,
) -> None:
    """Emit one event.

    Args:
        logger: Of the API or an SDK.
        timestamp_ns: When it happened, in Unix nanoseconds.
        context: Whose span's ids it carries.
        severity: Its severity.
        body: The sentence for people.
        attributes: Flat attributes.
        event_name: Its name.
        takes_fields: Whether ``logger.emit`` takes fields rather than a record; default as the API has it.
    """
    fields: dict[str, Any] = {
        "timestamp": timestamp_ns,
        "context": context,
        "severity_number": severity,
        "body": body,
        "attributes": attributes,
        "event_name": event_name,
    }
    if takes_fields:
        logger.emit(**fields)
    else:
        logger.emit(_record(logger, fields))


def _record(logger: Logger, fields: dict[str, Any]) -> Any:
    record: Any = importlib.import_module("opentelemetry.sdk._logs").LogRecord
    # A proxy of the API, until there is a provider, hides the logger that knows the resource.
    real = getattr(logger, "_logger", logger)
    return record(**fields, resource=getattr(real, "resource", None))
