"""``python -m otel_memleak`` is ``otel-memleak``."""

from __future__ import annotations

import sys

from otel_memleak.cli import main

if __name__ == "__main__":
    sys.exit(main())
