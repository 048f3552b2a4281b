"""The two doors of the receiver: OTLP over HTTP (protobuf) and OTLP over gRPC, on loopback only.

Each is handed one function per signal that takes the request's bytes; decoding is not their business.
"""

from __future__ import annotations

import importlib
import socket
import threading
import zlib
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, cast

LOOPBACK: Final = "127.0.0.1"
MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
"""Largest export request taken, after decompression; an SDK's batch is hundreds of times smaller."""

Signal = str
"""``traces``, ``metrics`` or ``logs``."""
Sink = Callable[[bytes], None]
"""Takes one serialized export request; raises ValueError when it cannot be decoded."""

_GRPC_SERVICES: Final[Mapping[Signal, str]] = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}
_WINDOW_BITS: Final = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


class RequestError(Exception):
    """A request that is answered with an HTTP error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status: Final = status


def decompress(body: bytes, encoding: str) -> bytes:
    """Undoes a content encoding without ever producing more than `MAX_REQUEST_BYTES`.

    Raises:
        RequestError: Unknown encoding (415), broken stream (400) or too large (413).
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOW_BITS:
        raise RequestError(415, f"unsupported content encoding {encoding!r}")
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = inflater.decompress(body, MAX_REQUEST_BYTES)
    except zlib.error as error:
        raise RequestError(400, f"broken {encoding} body: {error}") from None
    if inflater.unconsumed_tail:
        raise RequestError(413, "request too large")
    if not inflater.eof:
        raise RequestError(400, f"truncated {encoding} body")
    return plain


class _HttpHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # exporters keep their connection

    def do_POST(self) -> None:
        try:
            status, message = self._receive()
        except RequestError as error:
            status, message = error.status, str(error)
        # The body of a refused request may be unread; it must not be taken for the next request.
        self.close_connection = self.close_connection or status != 200
        self._answer(status, message)

    def _receive(self) -> tuple[int, str]:
        sink = cast("_HttpServer", self.server).sinks.get(self.path)
        if sink is None:
            return 404, "not an OTLP path; expected /v1/traces, /v1/metrics or /v1/logs"
        if self.headers.get_content_type() != "application/x-protobuf":
            return 415, "only application/x-protobuf is understood"
        body = self.rfile.read(self._content_length())
        try:
            sink(decompress(body, self.headers.get("Content-Encoding", "").strip().lower()))
        except ValueError as error:
            return 400, f"not an export request: {error}"
        return 200, ""

    def _content_length(self) -> int:
        header = self.headers.get("Content-Length", "")
        if not header.isdecimal():
            raise RequestError(411, "Content-Length is required")
        if int(header) > MAX_REQUEST_BYTES:
            raise RequestError(413, "request too large")
        return int(header)

    def _answer(self, status: int, message: str) -> None:
        # An export response without a partial success is the empty message: zero bytes.
        payload = message.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf" if status == 200 else "text/plain")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Says nothing: standard error belongs to the program being watched."""


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, sinks: Mapping[Signal, Sink]) -> None:
        self.sinks: Final = {f"/v1/{signal}": sink for signal, sink in sinks.items()}
        self._connections: Final[set[socket.socket]] = set()
        super().__init__((LOOPBACK, 0), _HttpHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Ends the kept-alive connections, whose threads would otherwise wait for ever."""
        for connection in tuple(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the client was faster

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: an exporter that was killed in the middle of a request is an everyday event."""


class HttpDoor:
    """OTLP/HTTP with binary protobuf, plain, gzip or deflate, on a free loopback port."""

    def __init__(self, sinks: Mapping[Signal, Sink]) -> None:
        self._server: Final = _HttpServer(sinks)
        self.port: Final[int] = self._server.server_address[1]
        self._thread: Final = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="otlp-http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stops listening and ends every connection."""
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()


class GrpcDoor:
    """OTLP/gRPC on a free loopback port. grpcio is imported only when one is opened."""

    def __init__(self, sinks: Mapping[Signal, Sink]) -> None:
        # grpcio carries no type information, so it is deliberately imported as an untyped module.
        grpc: Any = importlib.import_module("grpc")
        futures: Any = importlib.import_module("concurrent.futures")
        self._workers: Final = futures.ThreadPoolExecutor(max_workers=4, thread_name_prefix="otlp-grpc")
        self._server: Final = grpc.server(
            self._workers,
            options=[("grpc.max_receive_message_length", MAX_REQUEST_BYTES), ("grpc.so_reuseport", 0)],
        )
        self._server.add_generic_rpc_handlers(
            tuple(_grpc_handler(grpc, _GRPC_SERVICES[signal], sink) for signal, sink in sinks.items())
        )
        self.port: Final[int] = self._server.add_insecure_port(f"{LOOPBACK}:0")
        self._server.start()

    def close(self) -> None:
        """Stops listening and cancels what is in flight."""
        self._server.stop(grace=None).wait()
        self._workers.shutdown()


def _grpc_handler(grpc: Any, service: str, sink: Sink) -> Any:
    def export(body: bytes, context: Any) -> bytes:
        try:
            sink(body)
        except ValueError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not an export request: {error}")
        return b""

    return grpc.method_handlers_generic_handler(
        service, {"Export": grpc.unary_unary_rpc_method_handler(export)}
    )
