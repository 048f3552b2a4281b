"""Counting for services without tracing: a WSGI and an ASGI middleware that count and do nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final

from otel_memleak.guard import Guard
from otel_memleak.routes.names import LONGEST
from otel_memleak.routes.tally import RouteTally, shared_tally

_UNNAMED: Final = "(unnamed)"

Environ = dict[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
WSGIApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class CountingWSGIMiddleware:
    """Counts the requests of a WSGI application by method and route.

    The route is the template where the framework leaves it in the environment (Flask, Bottle), else the path
    with what looks like an identifier collapsed. A request counts when the application has returned or
    raised; what it returned or raised passes untouched. Not beside a tracing of the same requests: each would
    be counted twice.

    Args:
        app: The application.
        tally: Where to count; None for the one of this process.
    """

    def __init__(self, app: WSGIApp, tally: RouteTally | None = None) -> None:
        self.app = app
        self._tally = tally or shared_tally()
        self._guard = Guard()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Pass the request on, then count it."""
        route: list[str] = []

        def responding(*args: Any, **kwargs: Any) -> Any:
            # Flask has matched its rule by now, and takes it out of the environment before it returns.
            if not route:
                route.append(self._route(environ))
            return start_response(*args, **kwargs)

        try:
            return self.app(environ, responding)
        finally:
            self._tally.count(route[0] if route else self._route(environ))

    def _route(self, environ: Environ) -> str:
        try:
            return _wsgi_route(environ)[:LONGEST]
        except Exception as error:
            self._guard.swallow("naming a request", error)
            return _UNNAMED


class CountingASGIMiddleware:
    """Counts the requests and WebSocket connections of an ASGI application by method and route.

    The route is the template where the framework leaves it in the scope (FastAPI), else the path with the
    values of its parameters (Starlette) or what looks like an identifier collapsed. A request counts when the
    application has returned, raised or been cancelled, all of which passes untouched. Not beside a tracing of
    the same requests: each would be counted twice.

    Args:
        app: The application.
        tally: Where to count; None for the one of this process.
    """

    def __init__(self, app: ASGIApp, tally: RouteTally | None = None) -> None:
        self.app = app
        self._tally = tally or shared_tally()
        self._guard = Guard()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, then count it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        # Mounted applications rewrite it on the way.
        path = scope.get("path", "")
        try:
            await self.app(scope, receive, send)
        finally:
            self._tally.count(self._route(scope, path))

    def _route(self, scope: Scope, path: str) -> str:
        try:
            return _asgi_route(scope, path)[:LONGEST]
        except Exception as error:
            self._guard.swallow("naming a request", error)
            return _UNNAMED


def _wsgi_route(environ: Mapping[str, Any]) -> str:
    method = environ.get("REQUEST_METHOD", "")
    rule = getattr(getattr(environ.get("werkzeug.request"), "url_rule", None), "rule", None)
    rule = rule or getattr(environ.get("bottle.route"), "rule", None)
    if rule:
        return f"{method} {environ.get('SCRIPT_NAME', '')}{rule}"
    return f"{method} {environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"


def _asgi_route(scope: Scope, path: str) -> str:
    template = getattr(scope.get("route"), "path_format", None) or getattr(scope.get("route"), "path", None)
    # Inside a mounted application the template is only the last part of the way.
    if not template or scope.get("root_path"):
        template = _template(path, scope.get("path_params") or {})
    method = scope.get("method")
    return f"{method} {template}" if method else template


def _template(path: str, parameters: Mapping[str, Any]) -> str:
    """The path with the values of its parameters put back to their names."""
    names = {str(value): f"{{{name}}}" for name, value in parameters.items()}
    return "/".join(names.get(segment, segment) for segment in path.split("/"))
