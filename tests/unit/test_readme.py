"""The README says what the code does."""

from __future__ import annotations

import re

import pytest

from tables import README, with_tables

TEXT = README.read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_code() -> None:
    """`python tests/tables.py --write` after a change; a drift would send users to names that do not exist."""
    assert with_tables(TEXT) == TEXT


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z-]+)`", TEXT))))
def test_every_make_target_it_names_exists(target: str) -> None:
    """A newcomer types what the README says."""
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")

    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(((?!http)[^)#]+)\)", TEXT))))
def test_every_local_link_leads_somewhere(path: str) -> None:
    """No dead links within the repository."""
    assert (README.parent / path).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"OTEL_PYTHON_MEMLEAK_[A-Z_]+[A-Z]", TEXT))))
def test_every_variable_it_names_exists(name: str) -> None:
    """A misspelt variable would be silently without effect."""
    from otel_memleak import environment_variables

    assert hasattr(environment_variables, name)
