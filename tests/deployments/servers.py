"""How each server is started, and how it is kept busy until it is told to stop."""

from __future__ import annotations

import http.client
import json
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from processes import Service, free_port

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
VARIABLES = {
    "OTEL_METRIC_EXPORT_INTERVAL": "2000",
    "PYTHONPATH": str(HERE),
}
CLIENTS = 4


@dataclass(frozen=True, slots=True)
class Server:
    """One way to run the application with two workers.

    Attributes:
        command: Its words; ``{port}`` is replaced.
        stop: The signal that ends it.
        leaks: False where workers do not live long enough to be accused.
        environment: Variables on top of the launcher's.
    """

    command: str
    stop: int = signal.SIGTERM
    leaks: bool = True
    environment: tuple[tuple[str, str], ...] = ()


GUNICORN = "gunicorn app:wsgi -b 127.0.0.1:{port} -w 2 --graceful-timeout 5"
UWSGI = (
    f"uwsgi --http-socket 127.0.0.1:{{port}} --module app:wsgi --master --processes 2 --enable-threads --disable-logging "
    f"--virtualenv {BIN.parent} --pythonpath {HERE} --worker-reload-mercy 5"
)
CALM = (
    ("OTEL_METRIC_EXPORT_INTERVAL", "8000"),
    ("OTEL_BSP_SCHEDULE_DELAY", "8000"),
    ("OTEL_BLRP_SCHEDULE_DELAY", "8000"),
    ("OTEL_PYTHON_MEMLEAK_SAMPLING_INTERVAL", "1000"),
    ("OTEL_PYTHON_MEMLEAK_BASELINE_WINDOW", "8000"),
    ("OTEL_PYTHON_MEMLEAK_PATIENCE", "20000"),
)
"""uWSGI forks without holding the GIL unless it is told to (``py-call-uwsgi-fork-hooks``): a worker forked while
any thread of the master is running Python waits for ever. The threads must be asleep then, as they are at the
default intervals."""
GEVENT = (("OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH", "patch_all"),)
"""Before the SDK starts threads, not after, when the worker does it."""
UVICORN = "uvicorn app:asgi --port {port} --workers 2 --timeout-worker-healthcheck 60"
CELERY = "celery -A app:celery worker -c 2 --without-mingle --without-gossip"

SERVERS = {
    "gunicorn-sync": Server(GUNICORN),
    "gunicorn-sync-preload": Server(f"{GUNICORN} --preload"),
    "gunicorn-gthread": Server(f"{GUNICORN} -k gthread --threads 4"),
    "gunicorn-gthread-preload": Server(f"{GUNICORN} -k gthread --threads 4 --preload"),
    "gunicorn-uvicorn": Server(f"{GUNICORN.replace('wsgi', 'asgi')} -k uvicorn.workers.UvicornWorker"),
    "gunicorn-uvicorn-preload": Server(
        f"{GUNICORN.replace('wsgi', 'asgi')} -k uvicorn.workers.UvicornWorker --preload"
    ),
    "gunicorn-gevent": Server(f"{GUNICORN} -k gevent", environment=GEVENT),
    "gunicorn-max-requests": Server(f"{GUNICORN} --max-requests 150", leaks=False),
    "gunicorn-max-requests-preload": Server(f"{GUNICORN} --max-requests 150 --preload", leaks=False),
    "uvicorn-workers": Server(UVICORN),
    "uvicorn-uvloop-workers": Server(f"{UVICORN} --loop uvloop"),
    "hypercorn": Server("hypercorn app:asgi -b 127.0.0.1:{port} -w 2"),
    "granian": Server("granian app:asgi --interface asgi --port {port} --workers 2"),
    "uwsgi": Server(UWSGI, signal.SIGINT, environment=CALM),
    "uwsgi-lazy-apps": Server(f"{UWSGI} --lazy-apps", signal.SIGINT, environment=CALM),
    "uwsgi-threads": Server(f"{UWSGI} --threads 4", signal.SIGINT, environment=CALM),
    "uwsgi-osafterfork": Server(f"{UWSGI} --py-call-osafterfork", signal.SIGINT, environment=CALM),
    "uwsgi-fork-hooks": Server(f"{UWSGI} --py-call-uwsgi-fork-hooks", signal.SIGINT),
    "celery-prefork": Server(f"{CELERY} -P prefork"),
    "celery-threads": Server(f"{CELERY} -P threads"),
}

SHORT_LIVES = {
    "gunicorn-max-requests": Server(f"{GUNICORN} -w 1 --max-requests 1000"),
    "celery-max-tasks": Server(f"{CELERY} -c 1 -P prefork --max-tasks-per-child 25"),
}
"""One worker at a time that lives for some twenty seconds: the last `-w` and `-c` count."""


class Deployment:
    """A server under the launcher, with traffic, and what its workers say of themselves.

    Attributes:
        answers: The latest answer of every worker, by pid.
    """

    def __init__(self, server: Server, folder: Path, *, leaky: bool, **environment: str) -> None:
        self.server = server
        self.answers: dict[int, dict[str, Any]] = {}
        self._stop = threading.Event()
        self._folder = folder
        folder.mkdir()
        port = free_port()
        words = self.server.command.format(port=port).split()
        variables = {**VARIABLES, "LEAKY": str(int(leaky)), "CELERY_FOLDER": str(folder)}
        command = [str(BIN / words[0]), *words[1:]]
        self.service = Service(
            command=command, **{**variables, **dict(self.server.environment), **environment}
        )
        ask = self._task_asker() if words[0] == "celery" else lambda: _get(port)
        self._clients = [threading.Thread(target=self._keep_asking, args=(ask,)) for _ in range(CLIENTS)]
        for client in self._clients:
            client.start()

    def _keep_asking(self, ask: Callable[[], bytes]) -> None:
        while not self._stop.wait(0.05):
            try:
                answer = json.loads(ask())
            except Exception:  # not up yet, or recycling its workers
                continue
            self.answers[answer["pid"]] = answer

    def _task_asker(self) -> Callable[[], bytes]:
        from celery import Celery

        client = Celery("client", broker="filesystem://", backend=f"file://{self._folder}")
        paths = {"data_folder_in": self._folder, "data_folder_out": self._folder}
        client.conf.broker_transport_options = {**paths, "control_folder": self._folder}
        return lambda: client.send_task("respond").get(timeout=5, interval=0.05).encode()

    def stop(self) -> int:
        """End the traffic, then the server, and give its exit status."""
        self._stop.set()
        for client in self._clients:
            client.join()
        return self.service.finish(self.server.stop, timeout_s=60)

    def __enter__(self) -> Deployment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for client in self._clients:
            client.join()
        if error is not None:
            print(self.service.output[-5000:], self.service.receiver.summary(), self.answers)
        self.service.close()


def _get(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/item", headers={"Connection": "close"})
        return connection.getresponse().read()
    finally:
        connection.close()
