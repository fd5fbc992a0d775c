"""Segments of films from the table to the answer: stored, trained on, evaluated, fitted, remembered and recognised."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import kshot
from clips import WORDS, draw, write_video
from kshot import Recognizer, datasets, video
from kshot.activations.copies import kept_apart
from kshot.cli import main
from kshot.excerpts import Excerpt

LABELS, SEGMENTS, FRAMES = 6, 4, 10  # 25 a second


def run_main(*arguments: object) -> object:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four films, each with every action for 0.4 seconds at a time, in turn, and the table of their segments."""
    folder, rng = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    rows = []
    for number in range(4):
        pictures = [draw(place % LABELS, LABELS, rng, FRAMES) for place in range(LABELS * SEGMENTS)]
        write_video(folder / f"{number}.mp4", np.concatenate(pictures))
        for place in range(LABELS * SEGMENTS):
            label, start = place % LABELS, place * FRAMES / 25
            split = ("train", "train", "train", "val", "test", "test")[label]
            rows.append((f"{number}.mp4", WORDS[label], split, f"{start:.2f}", f"{start + FRAMES / 25:.2f}"))
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "start", "end"), *rows])
    return folder / "clips.csv"


def test_a_segment_is_stored_once_and_is_the_file_cut_out(films: Path, tmp_path: Path) -> None:
    """The same frames come from a segment and from a file that holds nothing else; each video is hashed once."""
    data = datasets.load(films)
    stored = kshot.extract(data, "kshot-tiny", "frames", tmp_path, workers=0)
    assert stored.stored_now == 96 and len(set(stored.digests)) == 96 and len(set(stored.videos)) == 4
    assert len((tmp_path / "digests.jsonl").read_text().split("\n")) == 4 + 2  # a line a video, not one a segment
    assert kshot.extract(data, "kshot-tiny", "frames", tmp_path, workers=0).stored_now == 0
    everything = video.frames_at(films.parent / "0.mp4", range(40, 50))
    np.testing.assert_array_equal(
        stored.gather([4])[0],
        video.preprocess(everything[video.choose(10, 8)], stored.store.key["size"]),  # type: ignore[union-attr]
    )


def test_whole_files_keep_their_digests(films: Path, tmp_path: Path) -> None:
    paths = [films.parent / f"{n}.mp4" for n in range(2)]
    whole = datasets.build("whole", paths, ["a", "b"], ["", ""], ["", ""])
    mixed = datasets.build(
        "mixed", [*paths, paths[0]], ["a", "b", "a"], [""] * 3, [""] * 3,
        spans=np.array([[np.nan, np.nan], [np.nan, np.nan], [0.0, 0.4]]),
    )  # fmt: skip
    first = kshot.extract(whole, "kshot-tiny", "frames", tmp_path, workers=0)
    then = kshot.extract(mixed, "kshot-tiny", "frames", tmp_path, workers=0)
    assert then.digests[:2] == first.digests and then.stored_now == 1


def test_views_of_segments_differ(films: Path, tmp_path: Path) -> None:
    data = datasets.load(films).subset([0, 6])
    made = kshot.extract(data, "kshot-tiny", "frames", tmp_path, workers=0, view=1, augment="crop")
    assert not np.array_equal(*made.gather([0, 1]))


def test_evaluate(films: Path, tmp_path: Path) -> None:
    found = kshot.evaluate(films, "kshot-tiny", way=2, shot=1, query=2, episodes=20, store=tmp_path, split="test")
    assert found.clips == 32 and "#t=" in found.per_clip[0].clip
    assert not [note for note in found.notes if "left out" in note]


def test_segments_of_novel_actions_that_overlap_base_ones_are_left_out(films: Path, tmp_path: Path) -> None:
    """Base segments of two films are shifted by 0.3 seconds, so that each third one reaches into the val one after."""
    header, *rows = csv.reader(films.open())
    for row in rows:
        if row[2] == "train" and row[0] in ("0.mp4", "1.mp4"):
            row[3:] = [f"{float(value) + 0.3:.2f}" for value in row[3:]]
    table = films.parent / "overlap.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    data = datasets.load(table)
    stored = kshot.extract(data, "kshot-tiny", "frames", tmp_path, workers=0)
    left, notes = kept_apart(stored.select("val"), data, "val")
    assert len(left.data) == 8 and {path.name for path in left.data.paths} == {"2.mp4", "3.mp4"}
    said = "8 clips of split val left out, copies of, or overlapping, base or val clips: "
    assert notes[0].startswith(f"{said}{data.paths[0].parent.name}/0.mp4")
    left, notes = kept_apart(stored.select("test"), data, "test")
    assert len(left.data) == 32 and notes == []


@pytest.mark.slow
def test_fit_remembers_the_segments_and_predicts_them(films: Path, tmp_path: Path) -> None:
    out, store = tmp_path / "model", tmp_path / "store"
    assert (
        run_main("fit", films, "--out", out, "--method", "prototype", "--store", store, "--backbone", "kshot-tiny") == 0
    )
    clips = json.loads((out / "config.json").read_text())["clips"]
    assert len(clips) == 96 and {round(clip["seconds"], 6) for clip in clips} == {0.4}
    assert {clip["name"] for clip in clips} >= {f"{films.parent}/0.mp4#t=0,0.4", f"{films.parent}/3.mp4#t=9.2,9.6"}
    assert {clip["group"] for clip in clips} == {f"{n}.mp4" for n in range(4)}
    model = Recognizer.load(out)
    wanted = Excerpt(films.parent / "0.mp4", 0.4, 0.8)
    answers = model.answer([wanted, str(wanted), films.parent / "0.mp4"])
    np.testing.assert_array_equal(answers.proba[0], answers.proba[1])
    assert not np.allclose(answers.proba[0], answers.proba[2])
    assert answers.labels[0] == WORDS[1]


def test_one_film_keeps_its_promise_by_stretches_of_time(films: Path, tmp_path: Path) -> None:
    clips = [clip for clip in datasets.load(films).clips if str(clip).split("#")[0].endswith("/0.mp4")]
    labels = [WORDS[place % LABELS] for place in range(len(clips))]
    model = Recognizer("kshot-tiny", method="prototype", store=tmp_path).fit(clips, labels)
    assert model.report_.accuracy is not None
    assert len({clip.group for clip in model.clips_}) == 1, "the record keeps what the user said"
    (note,) = [note for note in model.report_.notes if "said of these videos only" in note]
    assert note.startswith("24 segments of 1 video, fewer than 3 of 'arms', 'clap', 'close' and 3 more: groups are")


def test_what_is_wrong_with_a_segment_names_file_and_times(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = films.parent / "beyond.csv"
    table.write_text("path,label,start,end\n0.mp4,a,0,0.4\n0.mp4,b,1,1.4\n0.mp4,b,9,19.5\n1.mp4,a,700,701\n")
    assert run_main("extract", table, "--backbone", "kshot-tiny", "--store", tmp_path, "--json") == 0
    found = json.loads(capsys.readouterr().out)["unreadable"]
    assert [Path(name).name for name in found] == ["0.mp4#t=9,19.5", "1.mp4#t=700,701"]
    assert found[f"{films.parent}/0.mp4#t=9,19.5"].endswith(
        "0.mp4#t=9,19.5: the video lasts 9.6 s, but the segment goes from 9 s to 19.5 s"
    )
