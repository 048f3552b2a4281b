"""An order service that sets up OpenTelemetry itself and asks to be watched.

Every order subscribes to price changes and never unsubscribes: the exchange holds on to the callback, the
callback to the order, the order to its document. ``--fixed`` unsubscribes.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from contextlib import ExitStack

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_memleak import LeakAlert, MemLeakInstrumentor

ORDERS_PER_SECOND = 20
DOCUMENT_BYTES = 16 * 1024


class Exchange:
    """Tells whoever has subscribed about prices."""

    def __init__(self) -> None:
        self.subscribers: list[Callable[[float], None]] = []

    def publish(self, price: float) -> None:
        for subscriber in self.subscribers[-10:]:
            subscriber(price)


class Order:
    """An order with its document."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.document = os.urandom(DOCUMENT_BYTES)
        self.price = 0.0

    def on_price(self, price: float) -> None:
        self.price = price


def providers() -> tuple[TracerProvider, MeterProvider, LoggerProvider]:
    """Make SDK providers that export as the OTEL_EXPORTER_OTLP_ variables say."""
    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "orders")})
    tracer_provider = TracerProvider(resource=resource)
    tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    logger_provider = LoggerProvider(resource=resource)
    logger_provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    meter_provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource)
    return tracer_provider, meter_provider, logger_provider


def tell(alert: LeakAlert) -> None:
    """Do something of your own with an alert; called on a thread of its own."""
    rate = (alert.growth_bytes_per_hour or 0) / 2**20
    print(f"{alert.severity}: {alert.event}, {rate:,.0f} MB/h, {alert.reason}", flush=True)


def trade(tracer_provider: TracerProvider, seconds: float, fixed: bool) -> None:
    """Handle orders, one after the other, each in a span of its own."""
    exchange = Exchange()
    tracer = tracer_provider.get_tracer("orders")
    end_s = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end_s:
        number += 1
        with tracer.start_as_current_span("order"):
            order = Order(number)
            exchange.subscribers.append(order.on_price)
            time.sleep(1 / ORDERS_PER_SECOND)
            exchange.publish(float(number))
            if fixed:
                exchange.subscribers.remove(order.on_price)


def main() -> None:
    """Trade for a while, watched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=90.0, help="how long to trade")
    parser.add_argument("--fixed", action="store_true", help="unsubscribe when an order is done")
    options = parser.parse_args()
    tracer_provider, meter_provider, logger_provider = providers()
    instrumentor = MemLeakInstrumentor()
    with ExitStack() as stack:
        for provider in (tracer_provider, meter_provider, logger_provider):
            stack.callback(provider.shutdown)
        instrumentor.instrument(
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            logger_provider=logger_provider,
            memory_limit=512,
            on_alert=tell,
        )
        stack.callback(instrumentor.uninstrument)
        trade(tracer_provider, options.seconds, options.fixed)


if __name__ == "__main__":
    main()
