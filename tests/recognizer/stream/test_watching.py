"""`kshot watch` and `kshot predict --timeline`."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clips import draw, write_video
from kshot import Recognizer
from kshot.cli.watching import Summary
from kshot.datasets import load
from kshot.recognizer.stream.watch import Sighting
from kshot.recognizer.stream.windows import Scores, Segments

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(backbone, clips_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Taught on clips of 0.4 seconds."""
    data = load(clips_csv).only(["clap", "wave"])
    chosen = [0, 1, 8, 9]
    labels = [data.classes[data.labels[i]] for i in chosen]
    taught = Recognizer(backbone, method="prototype", reject=False).fit([data.paths[i] for i in chosen], labels)
    return taught.save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.6 seconds: one action, then the other."""
    rng = np.random.default_rng(0)
    pictures = np.concatenate([draw(number, 14, rng) for number in (0, 0, 1, 1)])
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", pictures)


def test_json_lines_end_in_the_segments_of_the_timeline(command, model: Path, film: Path) -> None:
    code, out, err = command("watch", model, "--file", film, "--json")
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    summary = lines[-1]["summary"]
    assert summary["frames"] + summary["skipped"] == 32 and summary["seconds"] == 1.6 and summary["answered"]
    assert 0 < summary["latency_ms"] <= summary["latency_ms_95"]
    seen = [line for line in lines if "label" in line]
    assert len(seen) > 10 and {"seconds", "score", "latency_ms", "skipped"} < set(seen[0])
    found = [line["segment"] for line in lines if "segment" in line]
    made = Recognizer.load(model).timeline(film)
    rule = Segments(made.classes, made.settings)  # that of a camera, over what the file's windows say
    expected = rule.add(Scores(made.times, made.proba, made.known), made.labels.tolist()) + rule.end(made.duration)
    assert found[0]["start"] == 0 and found[-1]["end"] == 1.6
    if summary["skipped"] == 0:  # a busy machine may miss frames
        assert [s["label"] for s in found] == [s.label for s in expected] == [s.label for s in made.segments]
        assert np.allclose([s["end"] for s in found], [s.end for s in expected], atol=0.001)
        assert np.allclose([s["end"] for s in found], [s.end for s in made.segments], atol=0.2)  # it knows no shots


def test_words_and_a_file_shorter_than_a_window(command, model: Path, film: Path) -> None:
    code, out, err = command("watch", model, "--file", film)
    assert code == 0 and out.splitlines()[0].split()[0] == "0:00.0"
    assert "frames in 0:01.6" in err and "from frame to answer" in err
    code, out, err = command("watch", model, "--file", film, "--window", "5")
    assert (code, out) == (0, "") and "less than a window" in err and "kshot predict" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--camera", "97"), "no camera '97'"),
        (("--file", "gone.mp4"), "no such file: gone.mp4"),
        (("--file", __file__, "--window", "0"), "windows longer than 0 seconds"),
    ],
)
def test_what_cannot_be_watched_is_one_line(command, model: Path, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = command("watch", model, *arguments)
    assert (code, out) == (2, "") and told in err and err.count("\n") == 1


def test_ctrl_c_ends_it_with_a_summary(model: Path, film: Path) -> None:
    """It is sent when the first answer is there, whenever that is; the film would play for 20 seconds more."""
    pictures = np.concatenate([draw(0, 14, np.random.default_rng(0))] * 50)
    long = write_video(film.with_name("long.mp4"), pictures)
    with subprocess.Popen(
        [sys.executable, "-m", "kshot.cli", "watch", str(model), "--file", str(long), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert "label" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "Traceback" not in err
    summary = json.loads(out.splitlines()[-1])["summary"]
    assert 0 < summary["seconds"] < 19


def test_ctrl_c_means_afterwards_what_it_meant_before(command, model: Path, film: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert command("watch", model, "--file", film)[0] == 0
    assert signal.getsignal(signal.SIGINT) == before


def test_on_a_terminal_one_line_tells_what_is_seen_now(model: Path, film: Path) -> None:
    screen, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kshot.cli", "watch", str(model), "--file", str(film)],
        stdin=end, stdout=end, stderr=subprocess.PIPE, env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "90"},
    )  # fmt: skip
    os.close(end)
    shown = b""
    try:
        while block := os.read(screen, 65536):
            shown += block
    except OSError:  # the other end is closed
        pass
    text = shown.decode()
    assert process.wait(120) == 0
    assert "the first window of 0.4 s fills" in text and "█" in text and " ms" in text
    assert "frames in 0:01.6" in process.communicate()[1].decode()


def test_a_timeline_goes_where_it_is_asked_to(command, model: Path, film: Path, tmp_path: Path) -> None:
    made = Recognizer.load(model).timeline(film)
    assert command("predict", model, film, "--timeline") == (0, made.as_table(), "")
    printed = json.loads(command("predict", model, film, "--timeline", "--json")[1])
    assert printed.pop("answers") and printed.pop("model") == str(model)
    assert {name: printed[name] for name in json.loads(made.as_json())} == json.loads(made.as_json())
    files = ("--out", tmp_path / "film.vtt", "--picture", tmp_path / "film.png")
    assert command("predict", model, film, "--timeline", "--format", "vtt", *files) == (0, "", "")
    assert (tmp_path / "film.vtt").read_text() == made.as_webvtt()
    assert (tmp_path / "film.png").read_bytes().startswith(b"\x89PNG")


def test_what_was_wrong_with_a_file_is_told_on_stderr(command, model: Path, tmp_path: Path) -> None:
    short = write_video(tmp_path / "short.mp4", draw(0, 14, np.random.default_rng(0), frames=4))
    code, out, err = command("predict", model, short, "--timeline", "--format", "csv")
    assert code == 0 and out.startswith(f"path,label,start,end,score\n{short},clap,0.000,0.160,")
    assert err.startswith("note: 0.16 seconds are less than a window of 0.40")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--format", "cvs"), "unknown format 'cvs': did you mean 'csv'"),
        (("--picture", "a.gif"), "a picture is a .png, .svg or .pdf file"),
        (("--out", "none/a.csv"), "there is no folder for none/a.csv"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_work(command, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = command("predict", "no-model", "no-film.mp4", "--timeline", *arguments)
    assert (code, out) == (2, "") and told in err and err.count("\n") == 1


def test_the_summary_tells_the_median_and_where_95_percent_end() -> None:
    last = Sighting(2.0, None, "clap", 0.9, None, None, 3, 1)  # type: ignore[arg-type]
    found = Summary.of(last, [float(n) for n in range(100)])
    assert (found.latency_ms, found.latency_ms_95) == (50.0, 95.0)
    assert Summary.of(last, []).latency_ms_95 == 0.0
