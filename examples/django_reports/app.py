"""A reporting service that never lets go of its listeners.

    DJANGO_SETTINGS_MODULE=settings opentelemetry-instrument gunicorn --threads 8 app:application

Every report connects a receiver to a signal, with ``weak=False`` because it would be collected at once
otherwise, and never disconnects it: the signal holds the receiver, the receiver its report. With ``FIXED=1``
in the environment it is disconnected when the report is done.
"""

from __future__ import annotations

import os
from functools import lru_cache

from django.core.wsgi import get_wsgi_application
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse
from django.urls import path

REPORT_BYTES = 16 * 1024
FIXED = os.environ.get("FIXED") == "1"

report_done = Signal()


def report(request: HttpRequest, name: str) -> HttpResponse:
    document = os.urandom(REPORT_BYTES)

    def mail(sender: object, **kwargs: object) -> int:
        return len(document)

    report_done.connect(mail, weak=False)
    if FIXED:
        report_done.send(report)
        report_done.disconnect(mail)
    return HttpResponse(f"{name} is on its way")


@lru_cache(maxsize=100)
def render(name: str) -> str:
    """Render a page of 8 KB, and remember the last hundred."""
    return name + " " * 8192


def dashboard(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(render(name))


def search(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{len([bytearray(1024) for _ in range(100)])} found")


def health(request: HttpRequest) -> HttpResponse:
    return HttpResponse("fine")


urlpatterns = [
    path("reports/<str:name>/", report),
    path("dashboards/<str:name>/", dashboard),
    path("search/", search),
    path("health/", health),
]

application = get_wsgi_application()
