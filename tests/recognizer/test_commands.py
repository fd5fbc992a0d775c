"""`kshot fit` and `kshot predict` through the real command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kshot import Recognizer
from kshot.datasets import load


@pytest.fixture
def model(command, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> Path:
    out = tmp_path / "model"
    code, text, error = command("fit", f"{clips_csv}?split=test", "--backbone", clip_folder, "--out", out)
    assert code == 0, error
    assert "taught" in text and f"next: kshot predict {out} VIDEO" in text
    return out


def test_predict_answers_as_the_recogniser_does(command, model: Path, clips_csv: Path):
    paths = load(clips_csv).select("test").paths[:3]
    code, text, error = command("predict", model, *paths, "--json")
    assert code == 0, error
    answers = json.loads(text)["answers"]
    known = Recognizer.load(model)
    assert [one["label"] for one in answers] == known.predict(paths).tolist()
    assert [one["proba"][known.classes_[0]] for one in answers] == pytest.approx(known.predict_proba(paths)[:, 0])
    code, text, _ = command("predict", model, paths[0])
    assert code == 0 and text.startswith(f"{paths[0]}: {answers[0]['label']}  (")


def test_a_timeline_is_printed_or_written(command, model: Path, clips_csv: Path, tmp_path: Path):
    path = load(clips_csv).select("test").paths[1]
    code, text, error = command("predict", model, path, "--timeline", "--format", "vtt")
    assert code == 0 and text.startswith("WEBVTT"), error
    out, picture = tmp_path / "course.csv", tmp_path / "course.png"
    code, _, error = command(
        "predict", model, path, "--timeline", "--format", "csv", "--out", out, "--picture", picture
    )
    assert code == 0, error
    assert out.read_text().startswith("start") and picture.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_done_is_one_line(command, model: Path, clips_csv: Path, clip_folder: Path, tmp_path: Path):
    path = load(clips_csv).paths[1]
    for arguments, message in (
        (("fit", clips_csv, "--out", model), "exists already"),
        (("predict", tmp_path / "nothing", path), "nothing"),
        (("predict", model, tmp_path / "none.mp4"), "none.mp4"),
        (("predict", model, path, path, "--timeline"), "a timeline is of one video, found 2"),
        (("predict", model, path, "--format", "csv"), "add --timeline"),
        (("predict", model, path, "--timeline", "--format", "xml"), "unknown format 'xml'"),
        (("fit", tmp_path / "none", "--out", tmp_path / "m"), "none"),
    ):
        code, text, error = command(*arguments)
        assert code == 2 and message in error and error.count("\n") == 1 and not text, (arguments, error)
    assert not (tmp_path / "m").exists()


def test_one_action_is_not_enough(command, clips_csv: Path, clip_folder: Path, tmp_path: Path):
    code, _, error = command("fit", f"{clips_csv}?label=wave", "--backbone", clip_folder, "--out", tmp_path / "m")
    assert code == 2 and "at least two actions" in error and not (tmp_path / "m").exists()


def test_an_adapted_recogniser_is_saved_with_its_weights(adapted: Path, spine, clips_csv: Path, tmp_path: Path):
    data = load(clips_csv).only(["clap", "wave"])
    taught = Recognizer(spine, adapted=adapted).fit(data.paths, [data.classes[n] for n in data.labels])
    again = Recognizer.load(taught.save(tmp_path / "model"), spine)
    assert np.array_equal(again.predict_proba(data.paths), taught.predict_proba(data.paths))
    plain = Recognizer(spine).fit(data.paths, [data.classes[n] for n in data.labels])
    assert not np.allclose(plain.predict_proba(data.paths), taught.predict_proba(data.paths), atol=1e-6)
