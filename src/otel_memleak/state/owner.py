"""Whose record a state file is: service, program, and whether it is a forked worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from otel_memleak.state.document import Owner, tidy

_TAKES_A_VALUE = ("-W", "-X", "--check-hash-based-pycs")


def owner_of_this_process(
    *, forked: bool, environ: Mapping[str, str] | None = None, arguments: Sequence[str] | None = None
) -> Owner:
    """The owner of what this process keeps.

    Arguments of the program are left out: ports and names of instances change from start to start.

    Args:
        forked: Whether it was forked from a process that is watched.
        environ: Default the process's.
        arguments: Default ``sys.orig_argv``.
    """
    return Owner(
        tidy(_service(os.environ if environ is None else environ)),
        tidy(_program(sys.orig_argv if arguments is None else arguments)),
        "forked" if forked else "main",
    )


def _service(environ: Mapping[str, str]) -> str:
    name = environ.get("OTEL_SERVICE_NAME", "").strip()
    if name:
        return name
    for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, _, value = pair.partition("=")
        if key.strip() == "service.name":
            return unquote(value.strip())
    return ""


def _program(arguments: Sequence[str]) -> str:
    rest = iter(arguments[1:])
    for argument in rest:
        if argument == "-m":
            return next(rest, "")
        if argument == "-c" or argument == "-":
            return argument
        if argument in _TAKES_A_VALUE:
            next(rest, "")
        elif not argument.startswith("-"):
            return os.path.basename(argument)
    return ""
