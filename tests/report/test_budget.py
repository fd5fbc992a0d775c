"""Time budgets and agreement: against a slow count of moments, scikit-learn, and values worked out by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from kshot.datasets.annotations.forms import Film, Segment
from kshot.errors import DataError, OptionError
from kshot.report.agreement import NONE, compare, kappa, matches
from kshot.report.budget import Line, as_csv, bins, budget, units
from kshot.report.summary import summarise


def drawn(seed: int, videos: dict[str, float], count: int = 20, subjects: tuple[str, ...] = ("",)) -> list[Segment]:
    rng = np.random.default_rng(seed)
    found = []
    for path, length in videos.items():
        for start in rng.integers(0, int(length) - 5, count).tolist():
            end = start + int(rng.integers(1, 5))
            label, subject = rng.choice(["sit", "walk", "eat"]), rng.choice(subjects)
            found.append(Segment(path, float(start), float(end), str(label), subject=str(subject)))
    return found


def test_a_budget_by_hand() -> None:
    """10 s in a, 20 s in b: two bouts of sit that overlap are one, the other video's come 10 s later."""
    segments = [
        Segment("a", 2, 4, "sit", subject="Anna"), Segment("a", 3, 5, "sit", subject="Anna"),
        Segment("b", 15, None, "sit", subject="Anna"), Segment("b", 1, 3, "walk", subject="Ben"),
    ]  # fmt: skip
    films = {"a": Film(seconds=10.0), "b": Film(seconds=20.0)}
    found, notes = units(segments, films, "subject")
    assert notes == [] and [(one.name, one.seconds) for one in found] == [("Anna", 30.0), ("Ben", 20.0)]
    assert budget(found) == [
        Line("Anna", "sit", 2, 8.0, 4.0, 2.0, 8 / 30), Line("Anna", "walk", 0, 0.0, None, None, 0.0),
        Line("Ben", "sit", 0, 0.0, None, None, 0.0), Line("Ben", "walk", 1, 2.0, 2.0, 1.0, 0.1),
    ]  # fmt: skip
    rows = list(csv.DictReader(as_csv(budget(found), "subject").splitlines()))
    assert rows[0] == {
        "subject": "Anna", "action": "sit", "bouts": "2", "total_s": "8.000", "mean_s": "4.000", "latency_s": "2.000",
        "share": "0.2667",
    }  # fmt: skip
    assert rows[1]["mean_s"] == "" and rows[1]["share"] == "0.0000"


def test_a_budget_by_counting_moments() -> None:
    videos = {"x/a.mp4": 60.0, "y/a.mp4": 45.5, "b.mp4": 30.0}
    segments = drawn(0, videos)
    films = {path: Film(seconds=length) for path, length in videos.items()}
    found, _ = units(segments, films, "video")
    assert [one.name for one in found] == ["x/a.mp4", "y/a.mp4", "b.mp4"], "two files of one name keep their folders"
    for unit, (path, length) in zip(found, videos.items(), strict=True):
        moments = np.arange(0.005, length, 0.01)
        for line in (line for line in budget(found) if line.unit == unit.name):
            mine = [one for one in segments if (one.path, one.label) == (path, line.action)]
            on = np.zeros(len(moments), bool)
            for one in mine:
                on |= (moments >= one.start) & (moments < one.end)
            assert line.total == pytest.approx(on.sum() * 0.01) and line.share == pytest.approx(on.mean(), abs=1e-3)
            assert line.bouts == int(on[0]) + int((np.diff(on.astype(int)) == 1).sum())
            assert line.latency == (min(one.start for one in mine) if mine else None)
    whole = {(line.unit, line.action): line.total for line in budget(found)}
    for width in (10.0, 7.0):
        rows = bins(found, width)
        for key, total in whole.items():
            assert sum(row[5] for row in rows if (row[0], row[3]) == key) == pytest.approx(total)
        assert sum(row[4] for row in rows) == sum(line.bouts for line in budget(found))
        assert all(0 <= row[6] <= 1 + 1e-9 for row in rows)


def test_a_video_of_unknown_length_is_said() -> None:
    found, notes = units([Segment("a", 0, 12.5, "sit")], {}, "video")
    assert found[0].seconds == 12.5
    assert notes == ["nobody says how long a is: taken as 12.5 s, the end of its last segment"]


@pytest.mark.parametrize("step", [1.0, 0.25])
def test_agreement_is_that_of_scikit_learn(step: float) -> None:
    """Segments without overlaps, so that each moment has one label."""
    videos = {"a": 60.0, "b": 40.0}
    human, other = ([one for one in drawn(seed, videos, 40) if one.start % 5 == 0] for seed in (1, 2))
    agreed = compare(human, other, videos, step)
    sides: list[list[str]] = [[], []]
    for path, length in videos.items():
        for moment in np.arange(step / 2, length, step):
            for place, side in enumerate((human, other)):
                on = [one for one in side if one.path == path and one.start <= moment < one.end]
                sides[place].append(on[-1].label if on else NONE)
    assert agreed.kappa == pytest.approx(cohen_kappa_score(*sides))
    table = confusion_matrix(*sides, labels=list(agreed.labels))
    assert np.array_equal(agreed.seconds, table * step) and agreed.seconds.sum() == 100
    assert agreed.same == pytest.approx(np.mean([a == b for a, b in zip(*sides, strict=True)]))
    for one in agreed.actions:
        binary = [[label == one.action for label in side] for side in sides]
        assert one.kappa == pytest.approx(cohen_kappa_score(*binary))


def test_kappa_by_hand() -> None:
    assert kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)
    assert kappa(np.array([[9, 0], [0, 0]])) is None and kappa(np.zeros((2, 2), np.int64)) is None
    assert kappa(np.array([[0, 5], [5, 0]])) == -1.0


def test_segments_are_found_once_each() -> None:
    length = {"a": 100.0}
    human = [Segment("a", 0, 10, "x"), Segment("a", 20, 30, "x"), Segment("a", 40, 50, "x")]
    other = [Segment("a", 0, 5, "x"), Segment("a", 1, 10, "x"), Segment("a", 24, 34, "x"), Segment("a", 40, None, "x")]
    assert matches(human, other, length) == 1, "half of 0-10 twice counts once, 24-34 and 40-100 cover too little"
    assert matches(human, human, length) == 3
    agreed = compare(human, other, length)
    assert agreed.actions[0].f1 == pytest.approx(2 / 7)
    assert compare(human, human, length).actions[0].f1 == 1.0


# The command


def project(path: Path, shift: float = 0.0, subjects: tuple[str, ...] = ("Anna", "Ben"), video: str = "a.mp4") -> Path:
    events = []
    for place, subject in enumerate(subjects):
        for number in range(6):
            start = 20 * number + 3 * place + shift
            label = ("sit", "walk", "eat")[(number + place) % 3]
            events += [[start, subject, label, "", ""], [start + 8, subject, label, "", ""]]
    observation = {
        "type": "MEDIA", "file": {"1": [video]}, "events": events,
        "media_info": {"length": {video: 130.0}, "fps": {video: 25.0}},
    }  # fmt: skip
    conf = {str(n): {"code": label, "type": "State event"} for n, label in enumerate(("sit", "walk", "eat"))}
    path.write_text(json.dumps({"behaviors_conf": conf, "observations": {"day": observation}}))
    return path


def test_a_summary_with_an_annotator(command, tmp_path: Path) -> None:
    """The videos need not be there; subjects are compared each with itself."""
    one, two = project(tmp_path / "one.boris"), project(tmp_path / "two.boris", 2.0)
    code, told, err = command("summary", one, "--against", two, "--bin", 60, "--out", tmp_path / "out")
    assert code == 0 and "kappa" in told, err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "budget.csv", "bins.csv", "agreement.csv", "confusion.csv",
        *(f"{name}.{kind}" for name in ("budget", "bouts", "bins", "confusion") for kind in ("svg", "png")),
    }  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "out" / "agreement.csv").open()))
    assert [(row["action"], row["both"], row["f1_at_0.5"]) for row in rows] == [
        (label, "4", "1.0000") for label in ("eat", "sit", "walk")
    ], "a shift of 2 s of 8 leaves 6 of 10"
    svg = (tmp_path / "out" / "bouts.svg").read_text()
    assert all(f">{text}<" in svg for text in ("Anna", "Ben", "sit", "walk", "eat"))
    pixels = np.asarray(Image.open(tmp_path / "out" / "bouts.png").convert("RGB")).reshape(-1, 3)
    assert {(0, 114, 178), (213, 94, 0), (0, 158, 115)} <= set(map(tuple, pixels.tolist())), "all three colours"
    report = summarise([one], [two], step=0.5)
    assert 0 < report["agreement"]["kappa"] < 1 and report["files"] == []
    assert report["by"] == "subject" and summarise([one], by="video")["budget"][0]["unit"] == "a.mp4"


def test_a_timeline_against_annotations(tmp_path: Path) -> None:
    """A timeline names no subject: then all of a video is compared, by the name of its file."""
    parts = [{"start": s, "end": s + 8, "label": "sit", "score": 0.9} for s in (0, 60)]
    value = {
        "video": "/elsewhere/a.mp4", "duration": 130.0, "fps": 25.0, "looked_at": 9, "classes": ["sit", "run"],
        "segments": [*parts, {"start": 70, "end": 80, "label": "unknown", "score": None}],
    }  # fmt: skip
    (tmp_path / "night.json").write_text(json.dumps(value))
    report = summarise([tmp_path / "night.json"], [project(tmp_path / "day.boris", subjects=("",))])
    assert report["by"] == "video" and report["budget"][0]["total"] == 16.0
    sit = next(one for one in report["agreement"]["actions"] if one["action"] == "sit")
    assert (sit["human"], sit["other"], sit["both"], sit["f1"]) == (2, 2, 2, 1.0)


def test_many_actions_and_units_are_drawn(tmp_path: Path) -> None:
    rows = ["path,label,start,end"]
    rows += [f"{video}.mp4,act {(video + n) % 9},{n * 5},{n * 5 + 7}" for video in range(45) for n in range(9)]
    (tmp_path / "many.csv").write_text("\n".join(rows))
    report = summarise([tmp_path / "many.csv"], bin=10.0, out=tmp_path / "out")
    svg = (tmp_path / "out" / "budget.svg").read_text()
    assert ">others<" in svg and "the first 40 of 45" in svg and len(report["budget"]) == 45 * 9


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("none.json",), "no such file"), (("one.boris", "--by", "cage"), "by subject or video, found 'cage'"),
        (("one.boris", "--bin", "0"), "expected a bin of at least 0.001 seconds, found 0"),
        (("one.boris", "--bin", "0.002"), "a bin of 0.002 s makes 130,000 stretches: expected at most 100,000"),
        (("one.boris", "--step", "nan"), "expected a step of at least 0.001 seconds, found nan"),
        (("one.boris", "--against", "other.boris"), "no video in common with the annotator: a.mp4 here, b.mp4 there"),
    ],
)  # fmt: skip
def test_what_cannot_be_summed_up(arguments, told: str, command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    project(tmp_path / "one.boris")
    project(tmp_path / "other.boris", video="b.mp4")
    code, _, err = command("summary", *arguments)
    assert code == 2 and told in err and err.count("\n") == 1, err


def test_nothing_to_sum_up(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("path,label,start,end\n")
    with pytest.raises(DataError, match="no segment and no video to sum up"):
        summarise([tmp_path / "x.csv"])
    with pytest.raises(OptionError, match="found 'room'"):
        summarise([tmp_path / "x.csv"], by="room")
