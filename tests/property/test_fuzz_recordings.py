"""Recordings that `replay` is given: CSV, JSON lines, answers of Prometheus; and OTLP from anybody on loopback."""

from __future__ import annotations

import io
import json
import math
from contextlib import redirect_stderr, redirect_stdout
from typing import Any
from unittest.mock import patch

from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_memleak.cli import _decode, main
from otel_memleak.cli._servers import MAX_REQUEST_BYTES, RequestError, decompress
from otel_memleak.cli._store import Store
from property.hostile import damaged, json_values, numbers, texts

MATRIX = {
    "status": "success",
    "data": {
        "resultType": "matrix",
        "result": [
            {
                "metric": {"__name__": "memleak_process_rss_bytes", "pod": "a"},
                "values": [[1000.0 + 60 * i, str(10**8 + i)] for i in range(9)],
            },
            {"metric": {"pod": "b"}, "values": [[1000, "1"], [1060, "NaN"], [1120, "+Inf"]]},
        ],
    },
}
_cells = st.sampled_from(
    ["0", "60", "1e8", "nan", "-inf", "1e400", '"', '""', "'", " ", "x", "\0", "9" * 400, "\udcff"]
)
_delimiters = st.sampled_from([",", ";", "\t", "\n", "\r\n", "\r", "\n\n"])
_headers = st.sampled_from(
    [
        "time_s,rss_bytes\n",
        "rss_bytes;time_s\n",
        '"time_s"\t"rss_bytes"\n',
        "time_s\n",
        "\ufefftime_s,rss_bytes\n",
        "",
    ]
)
_csv = st.tuples(_headers, st.lists(_cells | _delimiters | numbers.map(str), max_size=60)).map(
    lambda parts: parts[0] + "".join(parts[1])
)
_rows = st.fixed_dictionaries({"time_s": numbers | texts, "rss_bytes": json_values}) | json_values
_json_lines = st.lists(_rows, max_size=12).map(lambda rows: "\n".join(json.dumps(row) for row in rows))
_prometheus = damaged(MATRIX).map(json.dumps)
_documents = (_csv | _json_lines | _prometheus).map(lambda text: text.encode("utf-8", "surrogatepass"))


@st.composite
def recordings(draw: st.DrawFn) -> bytes:
    """A recording, or what is left of one."""
    content = draw(_documents | st.binary(max_size=200))
    if draw(st.booleans()):
        start, stop = draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))
        content = content[:start] + draw(st.binary(max_size=4)) + content[stop:]
    return content


@given(recordings())
@example(b"time_s,rss_bytes\n" + b'"' * 70_000)
@example(b"[" * 100_000)
@example(b'{"status":"success","data":' + b"[" * 100_000)
@example(b'{"time_s": 1, "rss_bytes": ' + b"9" * 5000 + b"}")
def test_replay_answers_or_refuses(content: bytes) -> None:
    """Whatever it is given: 0, 1 or 2; alerts as strict JSON; an error as one clear line, never a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        status = main(["replay", "-"])

    assert status in (0, 1, 2)
    for line in out.getvalue().splitlines():
        alert = json.loads(line, parse_constant=int)
        assert alert["event"].startswith("memleak.")
        assert alert["rss_bytes"] is None or math.isfinite(alert["rss_bytes"])
    if status == 2:
        assert err.getvalue().startswith("otel-memleak replay: ")
        assert err.getvalue().count("\n") == 1
        assert len(err.getvalue()) < 1000


_SIGNALS: list[tuple[Any, Any, str]] = [
    (ExportTraceServiceRequest, _decode.spans, "spans"),
    (ExportMetricsServiceRequest, _decode.metric_points, "metrics"),
    (ExportLogsServiceRequest, _decode.log_records, "logs"),
]


def _example(kind: Any) -> bytes:
    """A request that has something in every place that is read."""
    message = kind()
    _fill(message, 0)
    content: bytes = message.SerializeToString()
    return content


def _fill(message: Any, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if depth > 7 or (
            field.containing_oneof is not None and field.containing_oneof.fields[0] is not field
        ):
            continue
        repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        if field.message_type is not None:
            inner = getattr(message, field.name)
            _fill(inner.add() if repeated else inner, depth + 1)
            if not repeated:
                inner.SetInParent()
        elif field.type == field.TYPE_STRING and not repeated:
            setattr(message, field.name, "memleak.x")
        elif field.type == field.TYPE_BYTES and not repeated:
            setattr(message, field.name, b"12345678")
        elif not repeated:
            setattr(message, field.name, 1)
        elif field.type != field.TYPE_STRING:
            getattr(message, field.name).append(1)


@given(st.sampled_from(_SIGNALS), st.data())
def test_otlp_from_anybody_is_read_or_refused(signal: tuple[Any, Any, str], data: st.DataObject) -> None:
    """The receiver listens on loopback, where anybody on the machine may send: ValueError, and nothing else."""
    kind, decode, name = signal
    content = _example(kind)
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(content) - 1))
        content = (
            content[:at] + data.draw(st.binary(max_size=6)) + content[at + data.draw(st.integers(0, 8)) :]
        )
    else:
        content = data.draw(st.binary(max_size=100))
    try:
        values = decode(content)
    except ValueError:
        return
    store = Store()
    store.add(**{name: values})
    assert store.summary()


@given(st.binary(max_size=300), st.sampled_from(["", "gzip", "deflate", "identity", "br", "GZIP", "\0"]))
def test_compressed_bodies_are_undone_or_refused(body: bytes, encoding: str) -> None:
    """A broken or unknown compression is an HTTP error; a bomb never grows beyond the bound."""
    try:
        size_bytes, status = len(decompress(body, encoding)), 200
    except RequestError as error:
        size_bytes, status = 0, error.status

    assert size_bytes <= MAX_REQUEST_BYTES
    assert status in (200, 400, 413, 415)
