"""The property tests of the parsers, driven by what atheris has not covered yet instead of by chance.

    python tests/coverage_fuzz.py [--seconds 60]

Each test runs in a process of its own, because libFuzzer ends the one it runs in. Needs ``pip install atheris``
(Linux, CPython 3.11 to 3.13); tests that want a fixture of pytest's are left to ``make fuzz``, in a line each.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MODULES = (
    "unit.test_probes_fuzz",
    "unit.test_wording",
    "unit.test_hostile_names",
    "property.test_state_file",
    "property.test_fuzz_settings",
    "property.test_fuzz_recordings",
)


def property_tests(module: str) -> list[str]:
    """Names of the tests of a module that hypothesis drives."""
    found = vars(importlib.import_module(module)).items()
    return [name for name, test in found if getattr(test, "is_hypothesis_test", False)]


def wants_a_fixture(test: Any) -> bool:
    """Whether pytest has to give it something besides what hypothesis draws."""
    drawn = set(test.hypothesis.inner_test.__code__.co_varnames)
    return bool(set(inspect.signature(test).parameters) & drawn)


def plant(folder: str) -> None:
    """Something to begin with: hypothesis draws nothing from the few bytes that libFuzzer would begin with."""
    chance = random.Random(0)
    for number in range(32):
        Path(folder, str(number)).write_bytes(chance.randbytes(2 ** (6 + number % 7)))


def fuzz(module: str, name: str, seconds: int, corpus: str) -> None:
    """Run one test until the time is up; ends the process, with an error if the test failed."""
    import atheris

    with atheris.instrument_imports(include=["otel_memleak"]):
        test: Any = getattr(importlib.import_module(module), name)
    options = [f"-max_total_time={seconds}", "-len_control=0", corpus]
    atheris.Setup([sys.argv[0], *options], test.hypothesis.fuzz_one_input)
    atheris.Fuzz()


def main() -> int:
    """Fuzz them one after the other; returns how many failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=60, help="for each test (default: 60)")
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(HERE))
    if options.only:
        module, name, corpus = options.only
        fuzz(module, name, options.seconds, corpus)
        return 0
    failed = 0
    for module in MODULES:
        for name in property_tests(module):
            if wants_a_fixture(getattr(importlib.import_module(module), name)):
                print(f"{module}.{name}: left out, it wants a fixture", flush=True)
                continue
            command = [sys.executable, __file__, "--seconds", str(options.seconds), "--only", module, name]
            with tempfile.TemporaryDirectory() as corpus:
                plant(corpus)
                done = subprocess.run([*command, corpus], capture_output=True, text=True, check=False)
            last = [line for line in done.stderr.splitlines() if "DONE" in line or line.startswith("Done ")]
            said = " ".join(last) if done.returncode == 0 else done.stdout[-2000:] + done.stderr[-4000:]
            print(f"{module}.{name}: {said}", flush=True)
            failed += done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
