"""What programs read of answers: `predict --json`, `--jsonl`, `--csv`, thresholds, patterns, and the same in Python."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from kshot import Recognizer
from kshot.datasets import load
from kshot.errors import OptionError
from kshot.recognizer.answers import ClipAnswer
from kshot.recognizer.thresholds import read_thresholds, thresholds_of


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers")


@pytest.fixture
def model(command, clips_csv: Path, clip_folder: Path, place: Path) -> Path:
    """Taught once; to look at only."""
    out = place / "model"
    if not out.exists():
        code, _, error = command("fit", f"{clips_csv}?split=test", "--backbone", clip_folder, "--out", out)
        assert code == 0, error
    return out


@pytest.fixture
def paths(clips_csv: Path) -> list[Path]:
    return [path for path in load(clips_csv).select("test").paths if path.is_file()][:3]


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.slow
def test_the_three_forms_say_the_same(command, model: Path, paths: list[Path], tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    code, text, _ = command("predict", model, *paths, broken, "--json")
    whole = json.loads(text)
    known = Recognizer.load(model)
    assert code == 2 and whole["model"] == str(model) and whole["method"] == known.method_
    assert set(whole["thresholds"]) == set(known.classes_) and "backbone" in whole
    code, text, error = command("predict", model, *paths, broken, "--jsonl")
    assert code == 2 and [json.loads(line) for line in text.splitlines()] == whole["answers"]
    assert "broken.mp4" in error and "broken.mp4" in whole["answers"][-1]["error"]
    code, text, _ = command("predict", model, *paths, broken, "--csv")
    rows = table(text)
    assert code == 2 and [row["path"] for row in rows] == [str(path) for path in (*paths, broken)]
    for row, one in zip(rows[:-1], whole["answers"], strict=False):
        assert (row["label"], row["unknown"]) == (one["label"], str(one["unknown"]).lower())
        assert float(row["likeness"]) == one["likeness"] and row["start"] == row["end"] == row["error"] == ""
        assert one["start"] is None and one["end"] is None and one["backbone"] == row["backbone"]
        for name in known.classes_:
            assert float(row[f"proba {name}"]) == pytest.approx(one["proba"][name], abs=1e-6)
    assert rows[-1]["error"] and rows[-1]["label"] == rows[-1]["unknown"] == ""
    again = [one.plain() for one in known.clip_answers([*paths, broken], model=str(model))]
    assert again == whole["answers"]


def test_answers_go_to_a_file_whose_end_says_how(command, model: Path, paths: list[Path], tmp_path: Path):
    _, lines, _ = command("predict", model, *paths, "--jsonl")
    code, text, error = command("predict", model, *paths, "--out", tmp_path / "a.jsonl")
    assert (code, text) == (0, "") and (tmp_path / "a.jsonl").read_text() == lines, error
    code, _, error = command("predict", model, *paths, "--out", tmp_path / "any.txt", "--csv")
    assert code == 0 and len(table((tmp_path / "any.txt").read_text())) == 3, error
    listed = tmp_path / "list.csv"
    listed.write_text(f"path\n{paths[0]}\n")
    for arguments, message in (
        ((*paths, "--out", tmp_path / "a.txt"), "a.txt says no kind of file: add --json, --jsonl or --csv"),
        ((listed, "--csv", "--out", listed), "list.csv is one of the files to read: name another"),
        ((*paths, "--csv", "--json"), "--json and --csv each say how answers are written"),
        ((paths[0], "--timeline", "--csv", "--format", "vtt"), "--csv and --format vtt each say"),
    ):
        code, text, error = command("predict", model, *arguments)
        assert (code, text, error.count("\n")) == (2, "", 1) and message in error
    assert listed.read_text() == f"path\n{paths[0]}\n"


def test_a_threshold_for_all_and_for_one_action(command, model: Path, paths: list[Path]):
    code, text, error = command("predict", model, *paths, "--jsonl", "--threshold", "-1")
    free = [json.loads(line) for line in text.splitlines()]
    assert code == 0 and not any(one["unknown"] for one in free) and {one["threshold"] for one in free} == {-1}, error
    action = free[0]["label"]
    code, text, _ = command("predict", model, *paths, "--json", "--threshold", "-1", "--threshold", f"{action}=1")
    whole = json.loads(text)
    assert whole["threshold"] == -1 and whole["thresholds"][action] == 1
    assert [one["unknown"] for one in whole["answers"]] == [one["label"] == action for one in free]
    assert [one["label"] == "unknown" for one in whole["answers"]] == [one["label"] == action for one in free]
    known = Recognizer.load(model)
    assert known.predict(paths, {"": -1, action: 1}).tolist() == [one["label"] for one in whole["answers"]]
    assert known.predict(paths, -1).tolist() == [one["label"] for one in free]
    for given, message in (
        ("high", "a threshold reads 0.4 or ACTION=0.4, found 'high'"),
        ("1.5", "a cosine between -1 and 1, found 1.5"),
        ("nan", "a cosine between -1 and 1, found nan"),
        ("=0.5", "name the action"),
        ("swimmin=0.5", "unknown action 'swimmin'"),
    ):
        code, text, error = command("predict", model, *paths, "--threshold", given)
        assert (code, text, error.count("\n")) == (2, "", 1) and message in error
    with pytest.raises(OptionError, match="one threshold for action 'a', found two"):
        read_thresholds(["a=0.1", "a=0.2"])
    assert read_thresholds(["a=b=0.1", "0.3"]) == {"a=b": 0.1, "": 0.3}
    assert thresholds_of({"b": 0.5}, -np.inf, ["a", "b"]).tolist() == [-np.inf, 0.5]


def test_an_action_has_its_threshold_in_a_timeline_too(command, model: Path, paths: list[Path]):
    code, text, error = command("predict", model, paths[0], "--timeline", "--json", "--threshold", "-1")
    (free,) = json.loads(text)["answers"]
    assert code == 0 and not free["unknown"] and free["threshold"] == -1, error
    given = ("--threshold", "-1", "--threshold", f"{free['label']}=1")
    whole = json.loads(command("predict", model, paths[0], "--timeline", "--json", *given)[1])
    (answer,) = whole["answers"]
    assert answer["unknown"] and answer["threshold"] == 1 and whole["settings"]["thresholds"][free["label"]] == 1
    code, text, error = command("watch", model, "--file", paths[0], "--threshold", "swimmin=0.5")
    assert (code, text, error.count("\n")) == (2, "", 1) and "unknown action 'swimmin'" in error


def test_patterns_stand_for_what_they_match(command, model: Path, paths: list[Path], tmp_path: Path):
    for number, path in enumerate(paths):
        place = tmp_path / "new" / str(number) / f"clip{10 - number}.mp4"
        place.parent.mkdir(parents=True)
        place.write_bytes(path.read_bytes())
    new = tmp_path / "new"
    expected = [str(new / str(number) / f"clip{10 - number}.mp4") for number in range(3)]
    for pattern in (new / "*" / "*.mp4", new / "**" / "clip*", new / "**", new / "[0-2]"):
        code, text, error = command("predict", model, pattern, "--jsonl")
        assert code == 0 and [json.loads(line)["path"] for line in text.splitlines()] == expected, error
    code, text, error = command("predict", model, new / "*.avi")
    assert (code, text) == (2, "") and f"no file matches {new / '*.avi'}" in error
    odd = tmp_path / "clip[1].mp4"
    odd.write_bytes(paths[0].read_bytes())
    code, text, error = command("predict", model, odd, "--jsonl")
    assert code == 0 and json.loads(text)["path"] == str(odd), error


def test_segments_of_a_timeline_have_the_same_fields(command, model: Path, paths: list[Path]):
    code, text, error = command("predict", model, paths[0], "--timeline", "--jsonl")
    segments = [json.loads(line) for line in text.splitlines()]
    assert code == 0 and segments[0]["start"] == 0 and segments[0]["path"] == str(paths[0]), error
    code, text, _ = command("predict", model, paths[0], "--timeline", "--json")
    whole = json.loads(text)
    assert whole["answers"] == segments and whole["segments"][0]["label"] == segments[0]["label"]
    assert segments[-1]["end"] == whole["segments"][-1]["end"] and set(segments[0]["proba"]) == set(whole["classes"])
    code, text, error = command("predict", model, paths[0], paths[1], "--timeline", "--csv", "--threshold", "1")
    rows = table(text)
    assert code == 0 and {row["path"] for row in rows} == {str(path) for path in paths[:2]}, error
    assert {row["label"] for row in rows} == {"unknown"} and {row["threshold"] for row in rows} == {"1.0000"}


def test_a_record_of_nothing_read_has_no_answer():
    assert "label" not in ClipAnswer("a.mp4", error="gone").plain()


def test_parts_of_videos_are_clips(command, model: Path, paths: list[Path], tmp_path: Path):
    film, listed = tmp_path / "a.mp4", tmp_path / "list.csv"
    film.write_bytes(paths[0].read_bytes())
    listed.write_text("path,start,end\na.mp4,0,0.2\na.mp4,0.1,\n")
    code, text, error = command("predict", model, f"{film}#t=0,0.2", "--json")
    assert code == 0, error
    alone = json.loads(text)
    code, text, error = command("predict", model, listed, "--jsonl")
    assert code == 0, error
    found = [json.loads(line) for line in text.splitlines()]
    assert (found[0]["start"], found[0]["end"], found[1]["start"]) == (0.0, 0.2, 0.1)
    assert found[0]["label"] == alone["answers"][0]["label"]
    assert command("predict", model, f"{film}#t=0,0.2", "--timeline")[0] == 0
    for arguments, message in (
        ((tmp_path / "gone.mp4#t=0,1",), f"no such file: {tmp_path / 'gone.mp4'}"),
        ((f"{film}#t=0,0.2", "--json", "--out", film), f"--out {film} is one of the files to read"),
    ):
        code, text, error = command("predict", model, *arguments)
        assert (code, text, error.count("\n")) == (2, "", 1) and message in error, error
    assert film.read_bytes() == paths[0].read_bytes()


def test_annotations_are_no_videos(command, model: Path, tmp_path: Path):
    file = tmp_path / "a.vtt"
    file.write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nbow\n")
    code, _, error = command("predict", model, file)
    assert code == 2 and error.count("\n") == 1
    assert f"{file} is no video but annotations of some (WebVTT)" in error and "kshot data import" in error


def test_what_to_type_next_can_be_typed(command, clips_csv: Path, clip_folder: Path, tmp_path: Path):
    out = tmp_path / "a b"
    code, text, error = command(
        "fit", f"{clips_csv}?split=test", "--backbone", clip_folder, "--method", "prototype", "--out", out
    )
    assert code == 0 and text.splitlines()[-1] == f"next: kshot predict '{out}' VIDEO", error


def test_lines_for_people_name_segments_and_stay_one_line(command, model: Path, paths: list[Path], tmp_path: Path):
    odd = tmp_path / "two\nlines.mp4"
    odd.write_bytes(paths[0].read_bytes())
    parts = [f"{paths[0]}#t=0,0.2", f"{paths[0]}#t=0.2", f"{paths[0]}#t=,0.2"]
    code, text, error = command("predict", model, *parts, odd)
    assert code == 0, error
    assert [line.partition(": ")[0] for line in text.splitlines()] == [*parts, rf"{tmp_path}/two\x0alines.mp4"]
