"""Which extension modules could be leaking, where nobody has recorded what native code allocates.

Those the application brought come first, the last imported before all, and those that only telemetry needs
come last: nearly every process under OpenTelemetry has protobuf, psutil and an HTTP client's codecs loaded.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Final

_OURS: Final = "otel-memleak"
_NEVER: Final = "memray."
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def extension_modules(most: int) -> list[str]:
    """Name the loaded extension modules that are not Python's own, the likeliest first.

    Args:
        most: How many names at most.

    Returns:
        A module's name, or for a package with several ``numpy (17 extension modules)``.
    """
    library = os.path.join(os.path.dirname(os.__file__), "lib-dynload")
    packages: dict[str, list[str]] = {}
    seen: set[str] = set()
    for name, module in list(sys.modules.items()):
        filename = _extension_file(module)
        if not filename or filename.startswith(library) or filename in seen or name.startswith(_NEVER):
            continue
        seen.add(filename)
        packages.setdefault(name.partition(".")[0], []).append(name)
    telemetry = _telemetry_packages()
    latest = list(reversed(packages.items()))
    latest.sort(key=lambda item: item[0] in telemetry)
    return [_said(package, names) for package, names in latest[:most]]


def _said(package: str, names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{package} ({len(names)} extension modules)"


def _extension_file(module: object) -> str:
    """The shared library a module came from, or an empty string."""
    try:
        # Not getattr: modules that load themselves on first use run code in it.
        filename = object.__getattribute__(module, "__dict__").get("__file__")
    except Exception:  # anything may be put into sys.modules, with a __dict__ that raises what it likes
        return ""
    if type(filename) is str and filename.endswith((*EXTENSION_SUFFIXES, ".so", ".pyd")):
        return filename
    return ""


@functools.cache
def _telemetry_packages() -> frozenset[str]:
    """Import names of packages that are there because this one is."""
    try:
        needed = _closure(_OURS)
        providers = importlib.metadata.packages_distributions()
    except Exception:
        # Damaged metadata of anything installed: then the order is only less telling.
        return frozenset()
    return frozenset(
        package
        for package, distributions in providers.items()
        if all(_normal(one) in needed for one in distributions)
    )


def _closure(distribution: str) -> set[str]:
    """A distribution and all it requires, extras aside."""
    found = {_normal(distribution)}
    queue = [distribution]
    for name in queue:
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in requirements:
            match = _NAME.match(requirement)
            if match is None or "extra ==" in requirement or _normal(match.group()) in found:
                continue
            found.add(_normal(match.group()))
            queue.append(match.group())
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
