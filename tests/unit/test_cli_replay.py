"""``otel-memleak replay``: any file gives a verdict or one clear sentence, in constant memory."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_memleak.cli import main
from otel_memleak.cli._prometheus import read_series
from otel_memleak.cli._replay import as_json, infer_interval_s
from otel_memleak.cli._series_file import InputError, SeriesFile
from otel_memleak.types import MB, LeakAlert

HEADER = b"time_s,rss_bytes\n"
STEP_S = 60


def leaky(samples: int = 2000, mb_per_hour: float = 4.0) -> list[tuple[float, float]]:
    """A straight leak of 4 MB/h on a process of 100 MB."""
    return [(n * STEP_S, 100 * MB + n * STEP_S / 3600 * mb_per_hour * MB) for n in range(samples)]


def csv_of(rows: list[tuple[float, float]]) -> bytes:
    return HEADER + b"".join(f"{time_s},{rss_bytes:.0f}\n".encode() for time_s, rss_bytes in rows)


def rows_of(content: bytes) -> list[tuple[float, float]]:
    return list(SeriesFile(io.BytesIO(content), "f.csv"))


def replay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, *options: str
) -> tuple[int, list[dict[str, object]], str]:
    path = tmp_path / "series"
    path.write_bytes(content)
    status = main(["replay", str(path), *options])
    printed = capsys.readouterr()
    return status, [json.loads(line) for line in printed.out.splitlines()], printed.err


def test_a_leak_is_one_json_object_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script can read what was found, field by field, and branch on the status."""
    status, alerts, errors = replay(tmp_path, capsys, csv_of(leaky()))

    assert (status, errors) == (1, "")
    assert [alert["event"] for alert in alerts] == ["memleak.leak"]
    assert set(alerts[0]) == set(LeakAlert.__dataclass_fields__)
    assert alerts[0]["growth_bytes_per_hour"] == pytest.approx(4 * MB, rel=0.02)


def test_no_leak_is_silence_and_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flat series prints nothing at all."""
    assert replay(tmp_path, capsys, csv_of([(t, 100 * MB) for t, _ in leaky()])) == (0, [], "")


def test_a_threshold_alone_is_no_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Much memory is reported, but the status says leak only when there is one."""
    flat = csv_of([(t, 95 * MB) for t, _ in leaky()])
    status, alerts, _ = replay(tmp_path, capsys, flat, "--limit-mb", "100")

    assert status == 0
    assert {alert["event"] for alert in alerts} == {"memleak.rss"}


def test_every_format_gives_the_same_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Column order, further columns, delimiter, line ends, quotes, byte order mark, JSON lines: no matter."""
    rows = [(t, round(rss)) for t, rss in leaky(300)]
    forms = {
        "plain": csv_of(rows),
        "columns": b"host,rss_bytes,note,time_s\n"
        + b"".join(f'a,{r},"x, y",{t}\n'.encode() for t, r in rows),
        "semicolons": b"time_s;rss_bytes\n" + b"".join(f"{t};{r}\n".encode() for t, r in rows),
        "tabs": b" TIME_S \tRss_Bytes\n" + b"".join(f"{t}\t{r}\n".encode() for t, r in rows),
        "windows": b"\xef\xbb\xbf" + csv_of(rows).replace(b"\n", b"\r\n"),
        "blank lines": b"\n\n" + csv_of(rows).replace(b"\n", b"\n\n"),
        "json": b"".join(
            json.dumps({"rss_bytes": r, "x": [], "time_s": t}).encode() + b"\n" for t, r in rows
        ),
    }
    verdicts = {}
    for name, content in forms.items():
        status, alerts, errors = replay(tmp_path, capsys, content, "--patience", "7200")
        for alert in alerts:
            del alert["id"]
        verdicts[name] = (status, alerts, errors)

    assert verdicts["plain"][0] == 1
    assert verdicts == dict.fromkeys(forms, verdicts["plain"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n \n\r\n", "is empty"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "line 1 is binary"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "line 1 is binary"),
        ("time_s,rss_bytes\n1,2\n".encode("utf-16"), "line 1 is binary"),
        (b"a,b,c\n1,2,3\n", "line 1 has no columns time_s and rss_bytes; it begins with 'a,b,c'"),
        (b"\n\ntime,rss\n", "line 3 has no columns"),
        (b"1.0,2.0\n", "line 1 has no columns"),
        (b'[{"time_s": 1, "rss_bytes": 2}]\n', "line 1 has no columns"),
        (HEADER, "has a header but no rows"),
        (
            HEADER + b"x,y\nz,\n\n",
            "none of its 2 rows has numbers in time_s and rss_bytes; the first is line 2",
        ),
        (b'{"time": 1}\n{"time": 2}\n', "none of its 2 rows has numbers"),
        (b"{broken\n", "none of its 1 row has numbers"),
        (b"x" * 5_000_000, "line 1 has no columns"),
    ],
)
def test_useless_input_is_one_clear_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, says: str
) -> None:
    """Whoever feeds the wrong file learns which line is wrong and why; no traceback, nothing on stdout."""
    status, alerts, errors = replay(tmp_path, capsys, content)

    assert (status, alerts) == (2, [])
    assert errors.startswith("otel-memleak replay: ")
    assert says in errors
    assert errors.count("\n") == 1
    assert len(errors) < 400


@pytest.mark.parametrize("path", ["no/such/file.csv", "."])
def test_a_file_that_cannot_be_opened_is_status_2(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file and a directory are named, with the system's reason."""
    assert main(["replay", path]) == 2
    assert f"otel-memleak replay: {path}: " in capsys.readouterr().err


def test_damaged_rows_are_skipped_counted_and_located(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bad line in a long recording costs that line, not the verdict, and is told."""
    lines = csv_of(leaky()).splitlines(keepends=True)
    lines[500] = b"oops\n"
    lines[700] = b"1e400000000,\xff\xfe\n"
    lines[900] = b"54000.0,\0\0\0\n"
    lines[1100] = b"66000.0\n"
    status, alerts, errors = replay(tmp_path, capsys, b"".join(lines))

    assert status == 1
    assert len(alerts) == 1
    assert "skipped 4 rows that could not be read, the first at line 501" in errors
    assert errors.count("\n") == 1


def test_an_unclosed_quote_loses_a_bounded_part() -> None:
    """A stray quotation mark must not swallow the rest of the file into memory and out of the verdict."""
    rows = [f"{n},{n}\n".encode() for n in range(200_000)]
    rows[10] = b'10,"10\n'

    assert len(rows_of(HEADER + b"".join(rows))) > 150_000


def test_a_missing_reading_is_no_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NaN stands for a reading that could not be had; the leak around it is still found, without a remark."""
    rows = [(t, math.nan if n % 7 == 0 else rss) for n, (t, rss) in enumerate(leaky())]
    content = HEADER + b"".join(f"{t},{r}\n".encode() for t, r in rows)
    status, _, errors = replay(tmp_path, capsys, content)

    assert (status, errors) == (1, "")


def test_unordered_rows_are_tolerated_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows out of order do not hide the leak; how many there were is said in one line."""
    rows = leaky()
    for n in range(100, 1900, 100):
        rows[n], rows[n + 1] = rows[n + 1], rows[n]
    status, _, errors = replay(tmp_path, capsys, csv_of(rows))

    assert status == 1
    assert "18 rows went back in time" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("option", ["--limit-mb", "--sampling-interval", "--baseline-window", "--patience"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "much"])
def test_options_out_of_range_are_refused(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong option is named with its value before anything is read."""
    with pytest.raises(SystemExit) as exit_info:
        main(["replay", "-", f"{option}={value}"])

    assert exit_info.value.code == 2
    assert f"argument {option}: must be a positive number, not {value!r}" in capsys.readouterr().err


def test_options_reach_the_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Limit, window, interval and patience change what is found and when."""
    content = csv_of(leaky())
    usual = replay(tmp_path, capsys, content)[1][0]
    _, alerts, _ = replay(
        tmp_path, capsys, content, "--limit-mb", "2000", "--patience", "7200",
        "--baseline-window", "600", "--sampling-interval", "60",
    )  # fmt: skip
    first = next(alert for alert in alerts if alert["event"] == "memleak.leak")

    assert first["limit_bytes"] == 2000 * MB
    assert first["time_to_limit_s"] == pytest.approx(
        (2000 * MB - first["rss_bytes"]) / (4 * MB) * 3600, rel=0.1
    )
    assert first["baseline_bytes"] > usual["baseline_bytes"]
    assert 7200 <= first["time_s"] < usual["time_s"]


def test_the_interval_is_inferred_from_the_median_spacing() -> None:
    """Gaps, repeats, steps back and missing times do not mislead the guess; without any it is a minute."""
    times = [0, 10, 20, 20, 15, 25, 35, 5000, 5010, math.nan, 5020, 5030]

    assert infer_interval_s([(t, 1.0) for t in times]) == 10
    assert infer_interval_s([(1.0, 1.0)]) == 60


def test_numbers_json_has_no_word_for_become_null() -> None:
    """Every line is strict JSON, whatever the detector computed."""
    alert = LeakAlert("memleak.leak", "x", "warning", "growth", 1.0, 2.0, time_to_limit_high_s=math.inf)

    assert json.loads(as_json(alert), parse_constant=pytest.fail)["time_to_limit_high_s"] is None


def test_reading_is_streaming() -> None:
    """A row is handed on before the next line is asked for, so a pipe that never ends can be watched."""
    asked = 0

    class Endless:
        def readline(self, size: int, /) -> bytes:
            nonlocal asked
            asked += 1
            return HEADER if asked == 1 else f"{asked},1\n".encode()

    rows: Iterator[tuple[float, float]] = iter(SeriesFile(Endless(), "pipe"))

    assert [next(rows)[0] for _ in range(3)] == [2, 3, 4]
    assert asked == 4


def test_a_line_without_end_is_read_in_pieces() -> None:
    """A file that is one endless line is refused without being read into memory."""

    class OneLine:
        def readline(self, size: int, /) -> bytes:
            assert 0 < size <= 1 << 20
            return b"x" * size

    with pytest.raises(InputError, match="has no columns"):
        next(iter(SeriesFile(OneLine(), "f")))


def test_standard_input_and_a_reader_that_leaves(tmp_path: Path) -> None:
    """``... | otel-memleak replay - | head -0`` ends quietly, with the verdict it had come to."""
    series = tmp_path / "series.csv"
    series.write_bytes(csv_of(leaky()))
    with series.open("rb") as stdin:
        process = subprocess.Popen(
            [sys.executable, "-m", "otel_memleak", "replay", "-"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
        process.stderr.close()
        status = process.wait(60)

    assert (status, errors) == (1, b"")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Ten times the rows cost no more memory: the file is never held."""
    code = (
        "import sys, resource; from otel_memleak.cli._series_file import SeriesFile;"
        "n = sum(1 for _ in SeriesFile(open(sys.argv[1], 'rb'), 'f'));"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )

    def peak_kib(rows: int) -> int:
        path = tmp_path / f"{rows}.csv"
        path.write_bytes(HEADER + b"".join(b"%d,%d\n" % (n, 10**8 + n) for n in range(rows)))
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True)
        read, peak = done.stdout.split()
        assert int(read) == rows
        return int(peak)

    assert peak_kib(300_000) - peak_kib(30_000) < 1024


def matrix(*series: tuple[dict[str, str], list[tuple[float, float]]]) -> dict[str, object]:
    """What Prometheus answers to a range query."""
    result = [
        {"metric": labels, "values": [[time_s, f"{rss_bytes:.0f}"] for time_s, rss_bytes in rows]}
        for labels, rows in series
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def flat() -> list[tuple[float, float]]:
    return [(time_s, 100 * MB) for time_s, _ in leaky()]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_answer_of_prometheus_gives_the_verdict_of_its_series(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], indent: int | None
) -> None:
    """On one line or indented, an answer with one series is the same as the series in a table."""
    answer = json.dumps(matrix(({"__name__": "rss"}, leaky())), indent=indent).encode()
    table = replay(tmp_path, capsys, csv_of([(t, round(rss)) for t, rss in leaky()]))
    answered = replay(tmp_path, capsys, b"\xef\xbb\xbf" + answer)
    for _, alerts, _ in (table, answered):
        del alerts[0]["id"]

    assert answered == table
    assert answered[0] == 1


def test_several_series_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has a detector of its own, and its labels on its alerts; one leak among them is a leak."""
    answer = matrix(({"instance": "a"}, flat()), ({"instance": "b"}, leaky()), ({"instance": "c"}, flat()))
    status, alerts, errors = replay(tmp_path, capsys, json.dumps(answer).encode())

    assert (status, errors) == (1, "")
    assert [alert["series"] for alert in alerts] == [{"instance": "b"}]
    innocent = matrix(({"instance": "a"}, flat()), ({"instance": "c"}, flat()))
    assert replay(tmp_path, capsys, json.dumps(innocent).encode()) == (0, [], "")


def test_one_series_has_the_fields_it_always_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script that reads the alerts of a table reads those of a single series."""
    answer = json.dumps(matrix(({"instance": "b"}, leaky()))).encode()
    (alert,) = replay(tmp_path, capsys, answer)[1]

    assert set(alert) == set(LeakAlert.__dataclass_fields__)


def test_readings_prometheus_lacks_are_no_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``NaN`` and ``+Inf`` are readings that failed; what is no pair of numbers is skipped, counted and named."""
    answer: dict[str, Any] = matrix(({"job": "shop"}, leaky()))
    values = answer["data"]["result"][0]["values"]
    values[10][1], values[11][1] = "NaN", "+Inf"
    assert replay(tmp_path, capsys, json.dumps(answer).encode())[::2] == (1, "")

    values[20:24] = [[1], {"t": 1}, [None, "1"], [values[23][0], "many"]]
    status, alerts, errors = replay(tmp_path, capsys, json.dumps(answer).encode())

    assert (status, len(alerts)) == (1, 1)
    assert 'series 1 {job="shop"}: skipped 4 points that could not be read' in errors


def test_series_without_points_are_named_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Native histograms have no values; the series beside them are judged all the same."""
    answer: dict[str, Any] = matrix(({"instance": "b\n\x1b[31m"}, []), ({"instance": "a"}, leaky()))
    answer["data"]["result"].append({"metric": None, "histograms": []})
    answer["data"]["result"].append("nonsense")
    status, alerts, errors = replay(tmp_path, capsys, json.dumps(answer).encode())

    assert (status, len(alerts)) == (1, 1)
    assert errors.count("has no points") == 3
    assert "\x1b" not in errors


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"status": "error", "errorType": "bad_data", "error": "parse error\n\x1b"}, "answered 'bad_data: parse error??'"),
        ({"status": "success", "data": {"resultType": "vector", "result": []}}, "holds a vector, not a matrix"),
        ({"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}, "holds a scalar, not a"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, "no series matched the query"),
        ({"status": "success", "data": {"resultType": "matrix", "result": {}}}, "not a matrix"),
        ({"status": "success", "data": ["a", "b"]}, "holds something else, not a matrix"),
        ({"status": "success"}, "not a matrix"),
        (matrix(({}, []), ({}, [])), "none of its 2 series has a point that is a number"),
        (b'{"status":"success","data":{"resultType":"matrix","resu', "looks like an answer of Prometheus, but"),
        (b'{"status":' + b"[" * 100_000, "is no JSON"),
        (b'{\n"status": "success"', "is no JSON"),
        (b'{"data": {"result": [' + b"1," * (33 << 20), "more than 64 MB"),
    ],
    ids=lambda value: "" if isinstance(value, (bytes, dict)) else value,
)  # fmt: skip
def test_an_answer_without_a_series_over_time_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, says: str
) -> None:
    """Errors, instant queries, empty and torn answers: what is wrong is said, and what to ask instead."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    status, alerts, errors = replay(tmp_path, capsys, raw)

    assert (status, alerts) == (2, [])
    assert says in errors
    assert errors.count("\n") == 1
    assert len(errors) < 500


def test_json_lines_with_other_fields_are_no_answer_of_prometheus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that has a status beside time and memory is JSON lines."""
    lines = [{"status": "ok", "time_s": t, "rss_bytes": rss, "data": {}} for t, rss in leaky()]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    assert replay(tmp_path, capsys, content)[::2] == (1, "")


def test_many_blank_lines_do_not_hide_what_follows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However many come first, a table is read and its lines are numbered rightly."""
    content = b"\n" * 100 + csv_of(leaky()) + b"x\n"
    status, _, errors = replay(tmp_path, capsys, content)

    assert status == 1
    assert f"the first at line {100 + 2000 + 2}" in errors


def test_telling_the_format_asks_for_a_few_lines_only() -> None:
    """A pipe that sends nothing but blank lines is not read for ever, nor kept, to learn what it holds."""
    asked = 0

    class Blank:
        def readline(self, size: int, /) -> bytes:
            nonlocal asked
            asked += 1
            assert asked < 100
            return b"\n"

    (series,) = read_series(Blank(), "pipe")

    assert isinstance(series, SeriesFile)
