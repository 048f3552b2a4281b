"""Names of entry points that stay few: route templates, methods, destinations, never identifiers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_CREDENTIALS: Final = r"(?<=//)[^/@ ]*@"
_IDENTIFIER: Final = re.compile(
    r"(?<=[/:=.\-_ ])(?:"
    r"\d+"  # 42
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"  # a UUID
    r"|(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}"  # a digest
    r"|(?=[\w~\-]{0,63}\d)[\w~\-]{20,}"  # a token; an unbounded search for its digit would be quadratic
    r")(?=[/:=.?\-_ ]|$)"
)
_MAX_LENGTH: Final = 120
LONGEST: Final = 512
"""Of a name, nothing beyond this is looked at or kept: whoever sends requests decides how long a path is."""


def collapse(name: str) -> str:
    """The name with everything that looks like an identifier as ``{id}``; no query, no credentials."""
    name = name[:LONGEST].partition("?")[0].partition(";")[0]
    if "@" in name:
        name = re.sub(_CREDENTIALS, "", name)
    return _IDENTIFIER.sub("{id}", name)[:_MAX_LENGTH]


def of_span(name: str, attributes: Mapping[str, object], is_server: bool) -> str:
    """What to call the entry point a span stands for, by the semantic conventions of old and new.

    Args:
        name: Of the span.
        attributes: Of the span, as far as they are known.
        is_server: Whether its kind is SERVER: only then do HTTP attributes tell of a route of this process.

    Returns:
        Method and route, ``service/method``, ``run/task``, operation and destination, or the span's name.
    """
    get = attributes.get
    method = get("http.request.method") or get("http.method")
    route = get("http.route")
    if method is not None:
        if route:
            return f"{method} {route}"
        path = (get("url.path") or get("http.target")) if is_server and "/" not in name else None
        return f"{method} {path}" if path else name
    if route:
        return str(route)
    # Celery also says which queue the task came through; the task says more.
    if task := get("celery.task_name"):
        return f"run/{task}"
    if method := get("rpc.method"):
        service = get("rpc.service")
        return f"{service}/{method}" if service else str(method)
    if destination := get("messaging.destination.name") or get("messaging.destination"):
        operation = get("messaging.operation.name") or get("messaging.operation") or "process"
        return f"{operation} {destination}"
    return name
