"""Counting without tracing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from otel_memleak.routes.middleware import CountingASGIMiddleware, CountingWSGIMiddleware
from otel_memleak.routes.tally import RouteTally, shared_tally


def environ(method: str, path: str, **more: Any) -> dict[str, Any]:
    return {"REQUEST_METHOD": method, "PATH_INFO": path, **more}


def scope(method: str, path: str, kind: str = "http") -> dict[str, Any]:
    return {"type": kind, "method": method, "path": path}


async def nothing(*_: Any) -> Any:
    return None


def test_wsgi_requests_are_counted_by_method_and_path() -> None:
    """Without a framework's help, identifiers in the path are collapsed; the body passes untouched."""
    tally = RouteTally()
    body = [b"hello"]
    wrapped = CountingWSGIMiddleware(lambda environ, start_response: body, tally)

    for number in range(5):
        assert wrapped(environ("GET", f"/users/{number}"), lambda *_: None) is body
    wrapped(environ("POST", "/users", SCRIPT_NAME="/shop"), lambda *_: None)

    assert tally.counts() == {"GET /users/{id}": 5, "POST /shop/users": 1}


def test_wsgi_routes_are_taken_from_the_framework() -> None:
    """Werkzeug and Bottle leave the matched rule in the environment."""
    tally = RouteTally()

    def framework(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        rule = SimpleNamespace(rule="/u/<name>")
        environ[environ["framework"]] = (
            rule if environ["framework"] == "bottle.route" else (SimpleNamespace(url_rule=rule))
        )
        return []

    wrapped = CountingWSGIMiddleware(framework, tally)
    for name in ("werkzeug.request", "bottle.route"):
        wrapped(environ("GET", "/u/ann", framework=name), lambda *_: None)

    assert tally.counts() == {"GET /u/<name>": 2}


def test_a_route_is_read_while_the_response_starts() -> None:
    """Flask takes its request out of the environment before it returns; what it answers is passed on."""
    tally = RouteTally()
    started: list[Any] = []

    def flask_like(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["werkzeug.request"] = SimpleNamespace(url_rule=SimpleNamespace(rule="/u/<name>"))
        assert start_response("200 OK", []) == "write"
        environ["werkzeug.request"] = None
        return []

    def start_response(status: str, headers: list[Any]) -> str:
        started.append(status)
        return "write"

    CountingWSGIMiddleware(flask_like, tally)(environ("GET", "/u/ann"), start_response)

    assert started == ["200 OK"]
    assert tally.counts() == {"GET /u/<name>": 1}


def test_flask_s_rule_is_the_route() -> None:
    """The real framework, where it is installed."""
    flask = pytest.importorskip("flask")
    tally = RouteTally()
    app = flask.Flask(__name__)
    app.add_url_rule("/u/<name>", view_func=lambda name: name)
    app.wsgi_app = CountingWSGIMiddleware(app.wsgi_app, tally)
    client = app.test_client()

    assert client.get("/u/ann").text == "ann"
    client.get("/u/bob")

    assert tally.counts() == {"GET /u/<name>": 2}


class BrokenError(Exception):
    """What an application raises."""


def test_an_exception_passes_untouched_and_the_request_counts() -> None:
    """A request that fails may leak as well as one that does not; the very same exception comes out."""
    tally = RouteTally()
    error = BrokenError()

    def fails(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise error

    async def fails_too(scope: Any, receive: Any, send: Any) -> None:
        raise error

    with pytest.raises(BrokenError) as raised:
        CountingWSGIMiddleware(fails, tally)(environ("GET", "/a"), lambda *_: None)
    assert raised.value is error
    with pytest.raises(BrokenError) as raised:
        asyncio.run(CountingASGIMiddleware(fails_too, tally)(scope("GET", "/a"), nothing, nothing))
    assert raised.value is error

    assert tally.counts() == {"GET /a": 2}


def test_a_cancelled_request_counts() -> None:
    """Clients that hang up are where leaks hide."""
    tally = RouteTally()

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def cancelled() -> None:
        task = asyncio.ensure_future(
            CountingASGIMiddleware(hangs, tally)(scope("GET", "/slow"), nothing, nothing)
        )
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())

    assert tally.counts() == {"GET /slow": 1}


def test_only_requests_count_in_asgi() -> None:
    """Start-up and shutdown of the application are no calls; a WebSocket connection is."""
    tally = RouteTally()
    wrapped = CountingASGIMiddleware(nothing, tally)
    asyncio.run(wrapped({"type": "lifespan"}, nothing, nothing))
    asyncio.run(wrapped({"type": "websocket", "path": "/chat/7"}, nothing, nothing))

    assert tally.counts() == {"/chat/{id}": 1}


def test_starlette_s_parameters_make_the_template() -> None:
    """Starlette leaves the values of the parameters; the path with them taken out is the route."""
    tally = RouteTally()

    async def starlette(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope["path_params"] = {"name": "ann"}

    asyncio.run(CountingASGIMiddleware(starlette, tally)(scope("GET", "/u/ann"), nothing, nothing))

    assert tally.counts() == {"GET /u/{name}": 1}


@pytest.mark.parametrize("mounted", [False, True])
def test_fastapi_s_template_is_the_route(mounted: bool) -> None:
    """The real framework, also when the application is mounted below another."""
    fastapi = pytest.importorskip("fastapi")
    tally = RouteTally()
    app = fastapi.FastAPI()
    app.get("/u/{name}")(lambda name: name)
    if mounted:
        inner, app = app, fastapi.FastAPI()
        app.mount("/shop", inner)
    wrapped = CountingASGIMiddleware(app, tally)
    prefix = "/shop" if mounted else ""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    for name in ("ann", "bob"):
        request = {**scope("GET", f"{prefix}/u/{name}"), "headers": [], "query_string": b"", "root_path": ""}
        asyncio.run(wrapped(request, receive, nothing))

    assert tally.counts() == {f"GET {prefix}/u/{{name}}": 2}


def test_counting_that_fails_is_not_the_application_s_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken environment is answered by the application alone; the failure is noted."""
    monkeypatch.setattr("otel_memleak.guard.reraise", False)
    tally = RouteTally()
    wrapped = CountingWSGIMiddleware(lambda environ, start_response: [b"ok"], tally)
    bad: Any = {"werkzeug.request": SimpleNamespace(url_rule=SimpleNamespace(rule=Unprintable()))}

    assert wrapped(bad, lambda *_: None) == [b"ok"]
    assert wrapped._guard.errors == 1
    assert tally.counts() == {"(unnamed)": 1}


class Unprintable:
    def __format__(self, spec: str) -> str:
        raise BrokenError


def test_middlewares_share_the_tally_of_the_process() -> None:
    """Unless told otherwise, everything that counts in a process counts in one place."""
    name = "PROBE /shared-by-default"
    before = shared_tally().counts().get(name, 0)
    wrapped = CountingWSGIMiddleware(lambda environ, start_response: [])
    wrapped(environ("PROBE", "/shared-by-default"), lambda *_: None)

    assert shared_tally().counts()[name] == before + 1
