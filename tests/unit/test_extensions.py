"""Which extension modules are named where nobody has recorded what native code allocates."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from otel_memleak.diagnosis import extensions
from otel_memleak.diagnosis.extensions import extension_modules

SUFFIX = ".cpython-311-x86_64-linux-gnu.so"


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    extensions._telemetry_packages.cache_clear()
    yield
    extensions._telemetry_packages.cache_clear()


class Lazy(types.ModuleType):
    """Loads itself when first asked for anything."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__file__":
            raise AssertionError("application code ran")
        return super().__getattribute__(name)


def load(monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    """Modules as they stand in `sys.modules`, and no others with a library of their own."""
    for name in [name for name, module in sys.modules.items() if extensions._extension_file(module)]:
        monkeypatch.delitem(sys.modules, name)
    for name, filename in files.items():
        module = types.ModuleType(name)
        module.__file__ = filename
        monkeypatch.setitem(sys.modules, name.replace("__", "."), module)


def test_modules_of_others_are_named_the_last_imported_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidates are told; Python's own and the recorder's are none, and no module's code is run."""
    library = os.path.join(os.path.dirname(os.__file__), "lib-dynload")
    load(
        monkeypatch,
        first="/srv/first.so",
        shop__codec="/srv/shop/codec" + SUFFIX,
        shop__views="/srv/shop/views.py",
        _sha512x=os.path.join(library, "_sha512x.so"),
        memray___memray="/venv/memray/_memray.so",
    )
    monkeypatch.setitem(sys.modules, "lazy", Lazy("lazy"))
    monkeypatch.setitem(sys.modules, "nothing", None)  # type: ignore[arg-type]

    assert extension_modules(9) == ["shop.codec", "first"]
    assert extension_modules(1) == ["shop.codec"]


def test_a_package_is_said_once_and_an_alias_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six modules of one package would leave no room for the one that leaks."""
    load(monkeypatch, grid__a="/g/a.so", grid__b="/g/b.so", codec="/c.so", vendored__codec="/c.so")

    assert extension_modules(9) == ["codec", "grid (2 extension modules)"]


def test_what_telemetry_brought_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process under OpenTelemetry has these; they may leak as well, but what is the application's is likelier."""
    load(monkeypatch, shop="/srv/shop.so", google___upb="/g/_upb.so", psutil___linux="/p/_linux.so")

    assert extension_modules(9)[0] == "shop"
    assert sorted(extension_modules(9)[1:]) == ["google._upb", "psutil._linux"]


def test_a_package_that_others_share_with_telemetry_is_the_applications(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A namespace holds distributions of many: one that we do not need is enough."""
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", lambda: {"google": ["protobuf", "google-cloud-x"]}
    )

    assert extensions._telemetry_packages() == frozenset()


def test_damaged_metadata_costs_the_order_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A diagnosis must not fail for a broken installation of something else."""

    def fail() -> Any:
        raise ValueError("no name")

    monkeypatch.setattr(importlib.metadata, "packages_distributions", fail)
    load(monkeypatch, shop="/srv/shop.so")

    assert extension_modules(9) == ["shop"]
