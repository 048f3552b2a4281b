"""``otel-memleak run``: watch your own program for leaks.

COMMAND is a script (app.py ...), a module (-m package ...) or any executable (python app.py, uvicorn app:app,
gunicorn app:app). It is started under opentelemetry-instrument with short intervals and exports to a
receiver inside this process; nothing leaves the machine. Input, output, signals and exit status are the
program's own; what is found is said on standard error. OTEL_* variables you have set stay in force, except
for those that say where telemetry goes.

Exit status: that of COMMAND (128 + n when signal n killed it), 2 when it cannot be started instrumented,
127 when it is not found.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from otel_memleak.cli import _launch, _signals, _text
from otel_memleak.cli._arguments import positive_number
from otel_memleak.cli._picture import Picture, pictures
from otel_memleak.cli._views import Lines, PlainView, View, can_be_live
from otel_memleak.cli.receiver import Capacity, OtlpReceiver

_VALUE_OPTIONS: Final = ("--report", "--interval")
_CAPACITY: Final = Capacity(series=1_000, points_per_series=400, logs=2_000, spans=2_000)
_LOOK_EVERY_S: Final = 0.25
_LINE_EVERY_S: Final = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``run``."""
    parser.usage = (
        "otel-memleak run [-h] [--report FILE.html] [--interval SECONDS] [--plain] [--] COMMAND ..."
    )
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="keep the picture in a file")
    parser.add_argument(
        "--interval",
        type=positive_number,
        default=0.25,
        metavar="SECONDS",
        help="between two samples; baseline window (20 of them) and patience (80) follow (default: 0.25)",
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, no live screen")


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divides what follows ``run`` into its own options and the program's command line.

    argparse cannot: it would take ``-m`` and every option of the program for its own.
    """
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        if argument == "--":
            return list(arguments[:index]), list(arguments[index + 1 :])
        if not argument.startswith("--") and argument != "-h":
            break
        index += 2 if argument in _VALUE_OPTIONS else 1
    return list(arguments[:index]), list(arguments[index:])


def run(options: argparse.Namespace) -> int:
    """Runs the program and says what was found.

    Returns:
        The exit status of the program, or 2 or 127 when it could not be started.
    """
    lines = Lines(sys.stderr, "otel-memleak: ")
    try:
        command = _launch.command(options.program)
        if options.report:
            check_writable(options.report)
        with OtlpReceiver(("http/protobuf",), capacity=_CAPACITY, prefix="memleak.") as receiver:
            status = _watch(command, options, receiver, lines)
            _conclude(pictures(receiver), options, receiver, lines)
    except _launch.LaunchError as error:
        lines.print(str(error))
        return error.status
    except OSError as error:
        lines.print(f"{error.filename or 'receiver'}: {error.strerror or error}")
        return 2
    return status


def check_writable(path: Path) -> None:
    """Finds out before a long run, not after it, that its report could not be written.

    Raises:
        OSError: It could not.
    """
    with path.open("a", encoding="utf-8"):
        return


def _watch(command: Sequence[str], options: argparse.Namespace, receiver: OtlpReceiver, lines: Lines) -> int:
    """Runs the command to its end; returns the exit status to pass on."""
    for name in _launch.ignored_variables(os.environ):
        lines.print(f"{name} is ignored: telemetry goes to this command")
    env = _launch.environment(
        os.environ,
        receiver,
        defaults=_launch.short_intervals(options.interval),
        service_name=service_name(options.program),
    )
    with _signals.relayed_signals() as relay, subprocess.Popen(command, env=env) as program:
        relay.attach(program)
        with closing(_view(options, lines)) as view:
            status = _follow(program, view, receiver)
    return status if status >= 0 else 128 - status


def _follow(program: subprocess.Popen[bytes], view: View, receiver: OtlpReceiver) -> int:
    while True:
        try:
            return program.wait(_LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            view.update(pictures(receiver))


def _view(options: argparse.Namespace, lines: Lines) -> View:
    # A live screen and a program that prints would overwrite each other on one terminal.
    if options.plain or sys.stdout.isatty() or not can_be_live(sys.stderr):
        return PlainView(lines, _LINE_EVERY_S)
    from otel_memleak.cli._live import LiveView

    return LiveView(sys.stderr, f"otel-memleak run {' '.join(options.program)}")


def service_name(program: Sequence[str]) -> str:
    """Returns what people call a program: its script, its module or its command, not the interpreter."""
    names = [Path(part).name for part in program if not part.startswith("-")]
    if len(names) > 1 and names[0].startswith("python"):
        names = names[1:]
    return names[0] if names else "program"


def _conclude(
    found: Sequence[Picture], options: argparse.Namespace, receiver: OtlpReceiver, lines: Lines
) -> None:
    for line in _text.summary(found) or _why_nothing(receiver):
        lines.print(line)
    if found:
        lines.print(_text.verdict(found))
    if options.report:
        from otel_memleak.cli._html import page

        title = " ".join(options.program)
        options.report.write_text(page(title, found), encoding="utf-8")
        lines.print(f"report: {options.report}")


def _why_nothing(receiver: OtlpReceiver) -> list[str]:
    reasons = _launch.silencing_variables(os.environ)
    if reasons:
        return [f"nothing was received: {', '.join(reasons)} is set"]
    if receiver.requests:
        return [
            "telemetry was received, but none about memory: it ended in the moment before the first sample, "
            "or otel-memleak is not installed for that Python"
        ]
    return [
        "nothing was received: the program ended too early, is not Python, "
        "or runs on a Python without otel-memleak"
    ]
