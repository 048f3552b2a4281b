"""The command line: ``otel-memleak demo | run | replay | check``.

Every subcommand is one module with ``add_arguments`` and ``run``; nothing else in this package prints or
decides an exit status. Exit statuses: 0 fine, 1 a leak was found (or the demo failed), 2 the input or the
installation is unusable; ``run`` passes on its program's.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from otel_memleak.cli import _check, _demo, _replay, _run
from otel_memleak.version import __version__


class _Command(Protocol):
    """What a subcommand's module offers. Its docstring is its help: a title line, then the description."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace) -> int: ...


_COMMANDS: Final[Mapping[str, _Command]] = {
    "demo": _demo,
    "run": _run,
    "replay": _replay,
    "check": _check,
}
_INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; None means ``sys.argv[1:]``.

    Returns:
        The exit status.

    Raises:
        SystemExit: Wrong usage (status 2), ``--help`` or ``--version`` (status 0).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output once more at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE


def _dispatch(arguments: list[str]) -> int:
    program: list[str] = []
    if arguments[:1] == ["run"]:
        own, program = _run.split_arguments(arguments[1:])
        arguments = ["run", *own]
    options = _parser().parse_args(arguments)
    options.program = program
    command = _COMMANDS[options.command]
    status = command.run(options)
    sys.stdout.flush()
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otel-memleak", description="Find memory leaks of Python processes with OpenTelemetry."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        text = (command.__doc__ or "").strip()
        subparser = subparsers.add_parser(
            name,
            help=text.partition("\n")[0].partition(": ")[2].rstrip("."),
            description=text.partition("\n\n")[2],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
    return parser
