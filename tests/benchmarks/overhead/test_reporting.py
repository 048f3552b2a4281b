"""The gate on instructions shuts when it must; drawings are well-formed."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from benchmarks.overhead.chart import bars, lines
from benchmarks.overhead.instructions import build, verdict
from benchmarks.overhead.pairs import Spread, rounds, spread


@pytest.mark.parametrize(("sample", "status"), [(104_900.0, 0), (105_100.0, 1), (90_000.0, 0)])
def test_a_sample_that_has_become_dearer_fails(sample: float, status: int) -> None:
    """Five percent is what two builds of the same source differ by at most; more is a change of ours."""
    assert verdict(sample, {"sample": 100_000, "build": build()}) == status


def test_another_build_is_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    """Its figure is another figure; silence would look like approval, so it says so."""
    assert verdict(1e9, {"sample": 100_000, "build": {"python": "another"}}) == 0
    assert verdict(1e9, None) == 0
    assert capsys.readouterr().out.count("not judged") == 2


def test_rounds_alternate() -> None:
    """A machine that gets busier during a round must not favour the tool that comes first."""
    assert list(rounds(["a", "b"], 2)) == [(0, "a"), (0, "b"), (1, "b"), (1, "a")]


def test_spread_is_the_middle_half() -> None:
    """One outlier moves neither the median nor the quartiles far."""
    assert spread([1.0, 2.0, 3.0, 4.0, 1000.0]) == Spread(2.0, 3.0, 4.0)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0)


def test_drawings_are_well_formed() -> None:
    """A picture that does not parse is a broken image in the README; names may hold anything."""
    for text in (
        bars("a < b", {"x & y": Spread(0.9, 1.0, 1.1), "otel-memleak": Spread(1, 40, 50)}),
        lines("cost", {"threads": [(10, 100.0), (1000, 110.0)], "objects": [(10, 90.0), (100, 95.0)]}, "µs"),
    ):
        root = ET.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert float(root.attrib["viewBox"].split()[3]) > 0
