"""Names of places in code, short enough to read and free of where things are installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from otel_memleak.wording import shorten

_PARTS_KEPT: Final = 3


def short_path(filename: str, roots: Sequence[str] | None = None) -> str:
    """Return a source file's path relative to the import root it lies under, with ``/``.

    Args:
        filename: As in a code object.
        roots: Import roots; default ``sys.path``.

    Returns:
        ``shop/views.py`` for ``/srv/app/shop/views.py`` with ``/srv/app`` among the roots; the last
        three parts of a path under none of them; pseudo-files such as ``<string>`` as they are. At most
        200 characters.
    """
    if filename.startswith("<"):
        return shorten(filename)
    best = ""
    for root in sys.path if roots is None else roots:
        prefix = root if root.endswith(os.sep) else root + os.sep
        if root and len(prefix) > len(best) and filename.startswith(prefix):
            best = prefix
    if best:
        return shorten(filename[len(best) :].replace(os.sep, "/"))
    return shorten("/".join(filename.replace(os.sep, "/").split("/")[-_PARTS_KEPT:]).lstrip("/"))
