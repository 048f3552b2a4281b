"""``otel-memleak run`` on real programs: it must be as good as invisible to them."""

from __future__ import annotations

import html.parser
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and terminals")

RUN = [sys.executable, "-m", "otel_memleak", "run"]
PATIENCE_S = 60.0

COUNTS_SIGNALS = """
import os, select, signal, sys
# Not printed by a handler: one that comes just before the program waits for input would run after the wait,
# and one that comes while another prints could not print.
told, tell = os.pipe()
os.set_blocking(tell, False)
signal.set_wakeup_fd(tell)
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"):
    signal.signal(getattr(signal, name), lambda number, frame: None)
print("ready", flush=True)
while True:
    ready, _, _ = select.select([sys.stdin, told], [], [])
    for number in os.read(told, 64) if told in ready else b"":
        print(signal.Signals(number).name, flush=True)
    if sys.stdin in ready:
        line = os.read(0, 1000).decode()
        if not line:
            sys.exit(5)
        print("line", line.strip(), flush=True)
"""


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def run(
    *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*RUN, *arguments],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, **(env or {})},
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pass", 0),
        ("import sys; sys.exit(7)", 7),
        ("raise ValueError('mine')", 1),
        ("import os; os.kill(os.getpid(), 15)", 128 + 15),
        ("import os; os.kill(os.getpid(), 9)", 128 + 9),
    ],
)
def test_the_exit_status_is_the_programs(tmp_path: Path, code: str, status: int) -> None:
    """Whatever the program ends with, a script around it sees the same."""
    done = run(write(tmp_path / "app.py", code))

    assert done.returncode == status
    assert (b"mine" in done.stderr) == ("mine" in code)


def test_input_and_output_pass_through_untouched(tmp_path: Path) -> None:
    """Every byte goes in and comes out; nothing of ours is on standard output."""
    app = write(
        tmp_path / "app.py",
        "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.stderr.write('own words\\n')",
    )
    data = bytes(range(256)) * 4096

    done = run(app, stdin=data)

    assert done.stdout == data
    assert b"own words\n" in done.stderr
    assert all(
        line == b"own words" or line.startswith(b"otel-memleak: ") for line in done.stderr.splitlines()
    )


@pytest.mark.parametrize("way", ["script", "module", "python", "after --", "executable"])
def test_every_way_of_naming_a_program(tmp_path: Path, way: str) -> None:
    """A script, a module, an interpreter with arguments and an executable all run, with their arguments."""
    code = "import sys; print(sys.argv[1:], 'OTEL_SERVICE_NAME' in __import__('os').environ)"
    script = write(tmp_path / "shop.py", code)
    executable = write(tmp_path / "shop", f"#!{sys.executable}\n{code}\n")
    Path(executable).chmod(0o755)
    command = {
        "script": [script],
        "module": ["-m", "shop"],
        "python": [sys.executable, script],
        "after --": ["--", script],
        "executable": [executable],
    }[way]

    done = run(*command, "--report", "-x", "--", "y", env={"PYTHONPATH": _with_path(tmp_path)})

    assert (done.returncode, done.stdout) == (0, b"['--report', '-x', '--', 'y'] True\n")


def _with_path(path: Path) -> str:
    return os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_the_users_settings_win_but_telemetry_comes_to_us(tmp_path: Path) -> None:
    """OTEL_ variables of the user stay in force, except for those that say where telemetry goes."""
    app = write(
        tmp_path / "app.py",
        "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.isupper()}))",
    )

    done = run(
        app,
        env={
            "OTEL_PYTHON_MEMLEAK_PATIENCE": "7777",
            "OTEL_METRIC_EXPORT_INTERVAL": "3000",
            "OTEL_SERVICE_NAME": "mine",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://example.invalid:1",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://example.invalid:2",
            "OTEL_EXPORTER_OTLP_HEADERS": "token=secret",
            "OTEL_METRICS_EXPORTER": "console",
            "OTEL_CONFIG_FILE": "/nowhere.yaml",
            "NO_PROXY": "example.invalid",
        },
    )
    env = json.loads(done.stdout)

    assert env["OTEL_PYTHON_MEMLEAK_PATIENCE"] == "7777"
    assert env["OTEL_METRIC_EXPORT_INTERVAL"] == "3000"
    assert env["OTEL_SERVICE_NAME"] == "mine"
    assert env["OTEL_PYTHON_MEMLEAK_SAMPLING_INTERVAL"] == "250"
    assert env["OTEL_PYTHON_MEMLEAK_BASELINE_WINDOW"] == "5000"
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"].startswith("http://127.0.0.1:")
    assert env["OTEL_METRICS_EXPORTER"] == "otlp"
    assert env["NO_PROXY"] == "example.invalid,127.0.0.1"
    assert not any("example.invalid" in v or "secret" in v for k, v in env.items() if k != "NO_PROXY")
    assert "OTEL_CONFIG_FILE" not in env
    assert b"OTEL_CONFIG_FILE is ignored" in done.stderr


class Watched:
    """``run`` on a program that says which signals it gets, in a session of its own."""

    def __init__(self, tmp_path: Path) -> None:
        app = write(tmp_path / "counts.py", COUNTS_SIGNALS)
        self.process = subprocess.Popen(
            [*RUN, app],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        assert ready, "the program said nothing"
        return self.process.stdout.readline().decode().strip()

    def echo(self, text: str) -> str:
        """Has the program repeat a line: whatever it said before has then been read."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()
        return self.line()

    def finish(self) -> tuple[int, str]:
        try:
            _, errors = self.process.communicate(timeout=PATIENCE_S)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.returncode, errors.decode()


SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"]


def test_a_signal_for_us_reaches_the_program(tmp_path: Path) -> None:
    """What an operator or a supervisor sends to our process id is passed on, once, and we go on watching."""
    watched = Watched(tmp_path)
    told = []
    for name in SIGNALS:
        watched.process.send_signal(getattr(signal, name))
        told.append(watched.line())
    after = watched.echo("still here")
    status, errors = watched.finish()

    assert told == SIGNALS
    assert after == "line still here"
    assert status == 5
    assert "no leak seen" in errors


def test_a_signal_for_the_group_reaches_the_program_once(tmp_path: Path) -> None:
    """Ctrl-C goes to every process of a terminal's group; forwarding it would make it two."""
    watched = Watched(tmp_path)
    told = []
    for name in [name for name in SIGNALS if name != "SIGWINCH"] * 2:
        os.killpg(watched.process.pid, getattr(signal, name))
        told.append(watched.line())
        time.sleep(0.3)  # gives a forwarded second one the time to arrive; it would be the next line
    after = watched.echo("still here")
    status, _ = watched.finish()

    assert told == [name for name in SIGNALS if name != "SIGWINCH"] * 2
    assert after == "line still here"
    assert status == 5


def test_ctrl_c_in_a_terminal(tmp_path: Path) -> None:
    """On a real terminal, Ctrl-C reaches the program once, and the summary is printed after its end."""
    app = write(tmp_path / "counts.py", COUNTS_SIGNALS)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*RUN, app])
    try:
        seen = _read_until(terminal, lambda text: "ready" in text)
        os.write(terminal, b"\x03")
        seen += _read_until(terminal, lambda text: "SIGINT" in text)
        os.write(terminal, b"ping\n")
        seen += _read_until(terminal, lambda text: "line ping" in text)
        os.write(terminal, b"\x04")
        seen += _read_until(terminal, lambda text: "no leak seen" in text)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)

    assert seen.count("SIGINT") == 1
    assert os.waitstatus_to_exitcode(status) == 5


def _read_until(terminal: int, done: Callable[[str], bool]) -> str:
    deadline = time.monotonic() + PATIENCE_S
    text = ""
    while not done(text):
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"not seen in time; so far: {text!r}"
        try:
            text += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # so a terminal says that nobody is left at its other end
            raise AssertionError(f"it ended; so far: {text!r}") from None
    return text


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "no program to run"),
        (["--"], 2, "no program to run"),
        (["no-such-program"], 127, "no-such-program: command not found"),
        (["no/such.py"], 127, "no/such.py: no such file"),
        (["--interval", "soon", "app.py"], 2, "must be a positive number, not 'soon'"),
        (["--nonsense", "app.py"], 2, "unrecognized arguments: --nonsense"),
        (["--report", "/no/such/directory/r.html", sys.executable], 2, "/no/such/directory/r.html: No such"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments: list[str], status: int, says: str) -> None:
    """A mistake on the command line is one clear line and the conventional status; nothing is started."""
    done = run(*arguments)

    assert done.returncode == status
    assert says in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert done.stdout == b""


class _Addresses(html.parser.HTMLParser):
    """Collects everything in a page that could make a browser fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "data", "srcset")]


def test_the_report_is_one_self_contained_file(tmp_path: Path) -> None:
    """The report shows every process and fetches nothing, so it can be mailed and opened anywhere."""
    app = write(tmp_path / "app<&>.py", "import time; time.sleep(4)")
    report = tmp_path / "report.html"

    done = run("--report", str(report), app)
    page = report.read_text(encoding="utf-8")
    addresses = _Addresses()
    addresses.feed(page)

    assert done.returncode == 0
    assert f"report: {report}" in done.stderr.decode()
    assert addresses.found == []
    assert {"svg", "polyline", "table"} <= addresses.tags
    assert not {"script", "link", "iframe", "img"} & addresses.tags
    assert "url(" not in page
    assert "@import" not in page
    assert "app&lt;&amp;&gt;.py (pid " in page
    assert "<&>" not in page


def test_silence_is_explained(tmp_path: Path) -> None:
    """When nothing was received because of a setting, the summary names the setting."""
    done = run(write(tmp_path / "app.py", "pass"), env={"OTEL_SDK_DISABLED": "true"})

    assert "OTEL_SDK_DISABLED=true is set" in done.stderr.decode()
    assert done.returncode == 0


def test_workers_of_gunicorn_are_told_apart(tmp_path: Path) -> None:
    """Every worker of a pre-forking server is a process of its own in the picture, and TERM ends it all."""
    write(
        tmp_path / "shop.py",
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n",
    )
    process = subprocess.Popen(
        [*RUN, "gunicorn", "--bind", "127.0.0.1:0", "--workers", "2", "shop:app"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    text, pids = "", set[str]()
    try:
        deadline = time.monotonic() + PATIENCE_S
        while len(pids) < 3 and time.monotonic() < deadline:
            line = process.stderr.readline()
            assert line, f"ended early: {text}"
            text += line
            pids = set(re.findall(r"^otel-memleak: gunicorn \(pid (\d+)\)", text, re.MULTILINE))
        workers = set(re.findall(r"Booting worker with pid: (\d+)", text))
        process.send_signal(signal.SIGTERM)
        text += process.communicate(timeout=PATIENCE_S)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    assert len(workers) == 2
    assert workers < pids, text
    assert process.returncode == 0
    assert "no leak seen" in text
