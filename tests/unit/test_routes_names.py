"""What an entry point is called."""

from __future__ import annotations

import pytest

from otel_memleak.routes.names import collapse, of_span


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("GET", {"http.request.method": "GET", "http.route": "/u/{id}"}, "GET /u/{id}"),
        ("GET /u/7", {"http.method": "GET", "http.route": "/u/{id}"}, "GET /u/{id}"),
        ("GET /u/7", {"http.method": "GET"}, "GET /u/7"),
        ("GET", {"http.request.method": "GET", "url.path": "/u/7"}, "GET /u/7"),
        ("HTTP GET", {"http.method": "GET", "http.target": "/u/7?q=1"}, "GET /u/7?q=1"),
        ("/ws/{room}", {"http.route": "/ws/{room}"}, "/ws/{room}"),
        ("/shop.Cart/Add", {"rpc.service": "shop.Cart", "rpc.method": "Add"}, "shop.Cart/Add"),
        ("shop.Cart/Add", {"rpc.system.name": "grpc", "rpc.method": "shop.Cart/Add"}, "shop.Cart/Add"),
        ("run/t.add", {"celery.task_name": "t.add", "messaging.destination": "celery"}, "run/t.add"),
        ("x", {"messaging.operation.name": "process", "messaging.destination.name": "o"}, "process o"),
        ("orders receive", {"messaging.operation": "receive", "messaging.destination": "o"}, "receive o"),
        ("orders", {"messaging.destination.name": "orders"}, "process orders"),
        ("nightly report", {}, "nightly report"),
    ],
)
def test_a_span_is_called_by_the_conventions(name: str, attributes: dict[str, object], expected: str) -> None:
    """Route, method, task or destination, in the names of old and new semantic conventions."""
    assert of_span(name, attributes, is_server=True) == expected


def test_a_client_s_url_is_no_route_of_ours() -> None:
    """A background job that calls another service is called by its span, not by the other's path."""
    attributes = {"http.request.method": "GET", "url.path": "/theirs/7"}

    assert of_span("GET", attributes, is_server=False) == "GET"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GET /u/42", "GET /u/{id}"),
        ("GET /u/42/orders/7?page=3", "GET /u/{id}/orders/{id}"),
        ("GET /f/123e4567-e89b-12d3-a456-426614174000.png", "GET /f/{id}.png"),
        ("DELETE /blob/9f86d081884c7d65", "DELETE /blob/{id}"),
        ("GET /t/eyJhbGciOiJIUzI1NiIsInR5cCI6", "GET /t/{id}"),
        ("process order-4711", "process order-{id}"),
        ("GET /api/v1/users", "GET /api/v1/users"),
        ("GET /users/{id}", "GET /users/{id}"),
        ("GET /facade/decade", "GET /facade/decade"),
        ("run/shop.tasks.rebuild_recommendations", "run/shop.tasks.rebuild_recommendations"),
        ("shop.v2.Cart/AddItem", "shop.v2.Cart/AddItem"),
    ],
)
def test_only_what_looks_like_an_identifier_is_collapsed(name: str, expected: str) -> None:
    """Numbers, UUIDs, digests and tokens go; words, versions and templates stay."""
    assert collapse(name) == expected


def test_a_name_without_end_is_cut() -> None:
    """Whatever comes in, a name takes bounded room."""
    assert len(collapse("GET /" + "x" * 10_000)) == 120


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GET https://alice:hunter2@shop.test/cart", "GET https://shop.test/cart"),
        ("GET //alice@shop.test/cart", "GET //shop.test/cart"),
        ("GET /cart;jsessionid=hunter2?x=1", "GET /cart"),
        ("send alice@shop.test", "send alice@shop.test"),
    ],
)
def test_credentials_and_parameters_are_no_part_of_a_name(name: str, expected: str) -> None:
    """What a URL holds beside its path is the caller's, and may be secret."""
    assert collapse(name) == expected


@pytest.mark.parametrize("text", ["a-", "-", "_a1", "0-", "a1-!", "//", "//a@", "a" * 19 + "/"])
def test_no_path_keeps_us_busy(text: str) -> None:
    """Without a bound these took minutes: whatever is repeated, the beginning decides."""
    assert collapse("GET /" + text * 100_000) == collapse("GET /" + text * 1_000)
