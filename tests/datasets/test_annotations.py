"""Annotations of other programs: that nothing is lost on the way there and back, and how they are data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from annotated import FLAT, ODD, TABULAR, boris, plain, read, task

from kshot import load_data
from kshot.datasets import annotations as formats
from kshot.datasets.annotations import FORMATS, Annotations, Places, Segment, loading
from kshot.datasets.annotations.forms import Film, many, runs, seconds
from kshot.datasets.annotations.places import header, local
from kshot.errors import DataError, OptionError
from numbered_films import FPS, SECONDS, write_film

# There and back


@pytest.mark.parametrize("format", formats.writable())
@pytest.mark.parametrize("fps", [25.0, 30000 / 1001])
def test_there_and_back(format: str, fps: float, folder: Path, tmp_path: Path) -> None:
    """Every boundary to half a frame, every label and, where there is a place for it, every subject."""
    rng = np.random.default_rng(3)
    keeps = FORMATS[format].keeps
    given, begin = [], 0.0
    for number in range(3 * len(ODD)):
        start = begin + float(rng.uniform(0.1, 2.0))
        begin = start + float(rng.uniform(0.3, 4.0))
        subject = ("", "Anna & Co", "rat 2")[number % 3] if "subject" in keeps else ""
        given.append(Segment("a.mp4", start, begin, ODD[number % len(ODD)], subject=subject, score=0.5))
    film = Film(fps, begin + 3.0, (48, 32))
    text, lost = formats.write(Annotations(given, {"a.mp4": film}, labels=ODD), format)
    assert lost == []
    path = tmp_path / f"a{FORMATS[format].suffix}"
    path.write_text(text, "utf-8")
    places = Places(path, None if format in ("boris", "elan", "via", "csv", "activitynet") else folder / "a.mp4", fps)
    found, said = formats.read(path, places)
    assert found == format and said.left.keys() <= {("track", "kept without its boxes and attributes")}
    back = sorted(said.segments, key=lambda one: one.start)
    assert [(one.label, one.subject) for one in back] == [(one.label, one.subject) for one in given]
    for one, other in zip(given, back, strict=True):
        assert abs(one.start - other.start) <= 0.5 / fps + 1e-9 and abs(one.end - other.end) <= 0.5 / fps + 1e-9
        if "score" in keeps:
            assert other.score == pytest.approx(0.5)


@pytest.mark.parametrize("format", ["boris", "label-studio", "via", "activitynet", "csv"])
def test_several_videos_in_one_file(format: str, tmp_path: Path) -> None:
    given = [Segment(f"{name}.mp4", 1.0, 2.0, "x") for name in "ab"]
    path = tmp_path / f"two{FORMATS[format].suffix}"
    films = {f"{name}.mp4": Film(25.0, 9.0) for name in "ab"}
    path.write_text(formats.write(Annotations(given, films), format)[0])
    back = formats.read(path, Places(path, fps=25))[1]
    assert plain(back) == plain(Annotations(given))


@pytest.mark.parametrize("format", ["elan", "cvat"])
def test_a_file_of_one_video_refuses_two(format: str) -> None:
    given = Annotations([Segment("a.mp4", 0, 1, "x"), Segment("b.mp4", 0, 1, "x")], {"a.mp4": Film(25.0)})
    with pytest.raises(DataError, match="of one video, found segments of 2"):
        formats.write(given, format)


def test_what_a_format_has_no_place_for_is_said() -> None:
    given = Annotations([Segment("a.mp4", 0, 1, "x", "g", "train", "Anna")], {"a.mp4": Film(25.0)})
    assert formats.write(given, "vtt")[1] == [
        f"vtt has no place for a {what}: those of 1 segments are not written" for what in ("subject", "group", "split")
    ]
    assert formats.write(given, "csv")[1] == []
    with pytest.raises(OptionError, match="unknown format 'elam': did you mean 'elan'"):
        formats.write(given, "elam")
    with pytest.raises(DataError, match=r"nobody says how many a\.mp4 has a second"):
        formats.write(Annotations(given.segments), "label-studio")


@pytest.mark.parametrize("format", ["elan", "boris"])
def test_segments_that_overlap_are_written_so_that_the_program_takes_them(format: str, tmp_path: Path) -> None:
    """A tier of ELAN has no overlaps; in BORIS the next event of a pair ends it, so overlaps of a label are one."""
    given = [Segment("a.mp4", 1, 3, "x"), Segment("a.mp4", 2, 5, "x"), Segment("a.mp4", 5, 6, "x")]
    path = tmp_path / f"a{FORMATS[format].suffix}"
    path.write_text(formats.write(Annotations(given), format)[0])
    back = plain(formats.read(path)[1])
    wanted = [(1, 3), (2, 5), (5, 6)] if format == "elan" else [(1, 5), (5, 6)]
    assert sorted((start, end) for _, start, end, *_ in back) == wanted
    touching = [Segment("a.mp4", 0.1 + 0.2, 0.1 + 0.2 + 0.4, "x"), Segment("a.mp4", 0.7, 0.9, "x")]
    assert touching[0].end > 0.7, "by less than is written"
    text = formats.write(Annotations(touching), format)[0]
    path.write_text(text)
    assert [row[1:3] for row in plain(formats.read(path)[1])] == [(0.3, 0.7), (0.7, 0.9)] and text.count("<TIER ") < 2


def test_annotations_of_elan_share_no_slot_of_time() -> None:
    """As the format's description has it of tiers that do not depend on each other; slots are in the order of time."""
    given = [Segment("a.mp4", 1, 3, "x"), Segment("a.mp4", 3, 5, "y"), Segment("a.mp4", 1, 3, "x", subject="Anna")]
    root = ElementTree.fromstring(formats.write(Annotations(given), "elan")[0])
    times = [int(slot.get("TIME_VALUE", "")) for slot in root.iter("TIME_SLOT")]
    used = [one.get(f"TIME_SLOT_REF{side}") for one in root.iter("ALIGNABLE_ANNOTATION") for side in (1, 2)]
    assert times == [1000, 1000, 3000, 3000, 3000, 5000] and len(set(used)) == len(used) == 6


# Clips


def write_boris(path: Path, videos: list[str], per: int = 4) -> Path:
    """A project with `per` segments of each video, of two labels, as BORIS writes it."""
    value = boris([], [])
    value["observations"] = {}
    value["behaviors_conf"]["1"]["type"] = "State event"
    for video in videos:
        events = [
            [step + half, "", ("groom", "bark")[step % 2], "", ""] for step in range(per) for half in (0.0, 0.5)
        ]  # fmt: skip
        value["observations"][video] = boris(events, [video])["observations"]["morning"]
    path.write_text(json.dumps(value))
    return path


def test_annotations_are_data(folder: Path, tmp_path: Path) -> None:
    data = load_data(write_boris(folder / "day.boris", ["a.mp4", "more/c d.mp4"]))
    assert data.counts == {"bark": 4, "groom": 4} and data.name == "day"
    assert data.paths[0] == folder / "a.mp4" and data.paths[-1] == folder / "more" / "c d.mp4"
    assert data.spans.shape == (8, 2) and data.spans[1].tolist() == [1.0, 1.5]
    assert len(load_data(f"{folder}/day.boris?label=bark")) == 4
    with pytest.raises(OptionError, match="no column 'colour' to filter by: annotations have label, group, split"):
        load_data(f"{folder}/day.boris?colour=red")
    with pytest.raises(DataError, match="holds no segment with label = 'sit' that can be taken"):
        load_data(f"{folder}/day.boris?label=sit")
    elsewhere = write_boris(tmp_path / "day.boris", ["C:\\lab\\a.mp4", "/home/x/c d.mp4"])
    with pytest.raises(DataError, match=r"2 of 2 videos are missing, with 8 segments: C:\\lab\\a\.mp4, .*--videos"):
        load_data(elsewhere)
    assert load_data(f"{elsewhere}?videos={folder}").paths[0] == folder / "a.mp4"
    with pytest.raises(OptionError, match="no folder or video"):
        load_data(f"{elsewhere}?videos=none")
    with pytest.raises(OptionError, match="expected fps as a number"):
        load_data(f"{elsewhere}?videos={folder}&fps=many")
    with pytest.raises(OptionError, match="more than 0 and at most 1,000 frames a second, found 0"):
        load_data(f"{elsewhere}?videos={folder}&fps=0")


def test_missing_videos_may_be_left_out(folder: Path) -> None:
    path = write_boris(folder / "gap.boris", ["a.mp4", "gone.mp4"])
    found = loading.gather([path], missing="leave")
    assert len(found.segments) == 4
    assert found.notes[0] == "1 of 2 videos is missing, with 4 segments: gone.mp4; left out"


def test_two_videos_of_one_name_are_told(folder: Path, tmp_path: Path) -> None:
    for name in ("x/e.mp4", "y/e.mp4"):
        write_film(tmp_path / name, 0.2)
    path = write_boris(tmp_path / "day.boris", ["/elsewhere/e.mp4"])
    with pytest.raises(DataError, match=r"day\.boris: '/elsewhere/e\.mp4' may be any of 2 videos below"):
        load_data(f"{path}?videos={tmp_path}")


def test_segments_that_are_no_clips(folder: Path) -> None:
    """Each kind is one line with a count, and the good ones are taken."""
    rows = [
        "path,label,start,end,subject", "a.mp4,ok,1,2,", "a.mp4,empty,3,3,", "a.mp4,back,5,4,", "a.mp4,late,9,10,",
        "a.mp4,long,7,30,", "a.mp4,rounded,7,8.01,", "a.mp4,ok,1.5,2.5,", "a.mp4,ok,1.5,2.5,", "a.mp4,ok,1.7,1.9,Anna",
        "a.mp4,whole,,,",
    ]  # fmt: skip
    path = folder / "bad.csv"
    path.write_text("\n".join(rows))
    found = loading.gather([path])
    assert [(one.label, one.start, one.end) for one in found.segments] == [
        ("ok", 1, 2), ("long", 7, SECONDS), ("rounded", 7, SECONDS), ("ok", 1.5, 2.5), ("ok", 1.7, 1.9),
        ("whole", None, None),
    ]  # fmt: skip
    assert found.notes == [
        "1 segment stands there twice, taken once",
        f"1 segment of no length left out (the first: 'empty' at 3 to 3 s of {folder / 'a.mp4'})",
        f"1 segment with its end before its start left out (the first: 'back' at 5 to 4 s of {folder / 'a.mp4'})",
        f"1 segment behind the end of its video left out (the first: 'late' at 9 to 10 s of {folder / 'a.mp4'}, which "
        f"lasts 8 s)",
        f"1 segment over the end of its video cut there (the first: 'long' at 7 to 30 s of {folder / 'a.mp4'}, of 8 s)",
    ]
    assert loading.overlaps(found.segments) == [
        f"1 segment overlapping another of its label and subject kept (the first: 'ok' at 1.5 to 2.5 s of "
        f"{folder / 'a.mp4'})",
    ]
    path.write_text("path,label,start,end\na.mp4,x,soon,2\n")
    with pytest.raises(DataError, match=r"bad\.csv: line 2: start 'soon' is no time: expected seconds"):
        loading.gather([path])


# Hostile and broken files

BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds">&b;</HEADER></ANNOTATION_DOCUMENT>"""
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotations><meta>&a;</meta></annotations>'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, "declares a document type"), (OUTSIDE, "declares a document type"), ("<annotations><meta>", "is no XML"),
        ("<a>" * 100 + "</a>" * 100, "nested too deeply"), ('<?xml version="1.0" encoding="none"?><a/>', "is no XML"),
        ("[" * 100_000, "nested too deeply"), ('{"observations": {', "is no JSON"), ("", "in no format of annotations"),
        ("hello\n", "in no format of annotations"), ("<svg/>", "in no format of annotations"),
        ('{"observations": [], "behaviors_conf": {}}', "observations: expected an object"),
        ('{"observations": {"x": {}}, "behaviors_conf": {}}', "looks like BORIS project.*KeyError"),
        ('{"metadata": {"1": {"z": 5}}, "attribute": {}, "file": {}, "view": {}}', "metadata '1': z: expected a list"),
        ('{"items": [1], "categories": {}}', "looks like Datumaro"),
        ('[{"data": {"video": "a.mp4"}, "annotations": [{"result": 3}]}]', "task 1: result: expected a list"),
        ('[{"video": "a.mp4", "fps": 1e-300, "x": [{"ranges": [{"start": 1, "end": 1e9}], "timelinelabels": ["a"]}]}]',
         "start or end in seconds of a segment: expected a number, found inf"),
        ('{"database": {"a": {"annotations": [{}]}}}', "looks like ActivityNet"),
        ('{"database": {"a\\nb": {"annotations": 3}}}', "video 'a b': annotations: expected a list"),
        ('{"database": []}', "database: expected an object"),
        ("path,label,start,end\na.mp4,x,1\n", "line 2 has 3 values"),
        (f"path,label,start,end\na.mp4,x,1,{'9' * 400}\n", r"end '9+\.\.\. is no time: expected seconds"),
        (f"path,label,start,end\na.mp4,x,1,{'9' * 400}:00:00\n", r"end '9+\.\.\. is no time: expected seconds"),
        ("path,label,start_frame,end_frame,fps\na.mp4,x,1,2,nan\n", "fps 'nan' is no number of frames a second"),
        ("Time,Subject,Behavior,Status\n1e999,,groom,START\n", "without a video"),
        ('Time,Subject,Behavior,Status\n1,"' + "a" * 140_000, "cannot be read as a table .* left open"),
        ('{"a": {"annotations": [{"label": "\\ud800", "segment": [0, 1]}]}}', r"'\\ud800' is no text: expected"),
        ('{"database": {"' + "a" * 9999 + '": {"annotations": 3}}}', r"video 'a+\.\.\.: expected a list, found 3"),
    ],
)  # fmt: skip
def test_a_broken_or_hostile_file_is_one_line(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "x.file"
    path.write_text(text)
    if told == "without a video":
        assert told in formats.read(path)[1].sentences()[0]
        return
    with pytest.raises(DataError, match=told) as error:
        formats.read(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_file_in_utf_16_and_one_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes(TABULAR.encode("utf-16"))
    assert len(formats.read(path)[1].segments) == 2
    path.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(DataError, match="in no format of annotations"):
        formats.read(path)
    with pytest.raises(DataError, match="no such file"):
        formats.read(tmp_path / "none")


def test_a_table_of_clips_stays_one(tmp_path: Path) -> None:
    """Columns path and label are kshot's own table, whatever else stands there; other programs' tables are theirs."""
    (tmp_path / "a.csv").write_text("path,label\na.mp4,x\n")
    (tmp_path / "b.csv").write_text(FLAT)
    (tmp_path / "c.csv").write_text("clip,word\na.mp4,x\n")
    assert [formats.foreign(tmp_path / name) for name in ("a.csv", "b.csv", "c.csv")] == [False, True, False]
    with pytest.raises(DataError, match="no column 'label' in the header"):
        load_data(tmp_path / "c.csv")


# Small things


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("12.5", 12.5), ("12,5", 12.5), (".5", 0.5), ("1:02", 62), ("1:02:03.25", 3723.25), ("0:61", None),
     ("-1", None), ("1:2:3:4", None), ("", None), ("nan", None), ("1e3", None)],
)  # fmt: skip
def test_times(text: str, value: float | None) -> None:
    assert seconds(text) == value


def test_runs_and_plurals() -> None:
    assert runs([5, 3, 4, 3, 9]) == [(3, 5), (9, 9)] and runs([0, 5, 15], 5) == [(0, 5), (15, 15)]
    assert [many(word) for word in ("box", "class", "comment of a line")] == ["boxes", "classes", "comments of a line"]


@pytest.mark.parametrize(
    ("name", "path"),
    [("a b.mp4", "a b.mp4"), ("file:///lab/a%20b.mp4", "/lab/a b.mp4"), ("file:///D:/a.mp4", "D:/a.mp4"),
     ("file:./a.mp4", "./a.mp4"), ("https://x.org/lab/a.mp4?y=1", "/lab/a.mp4"),
     ("/data/local-files/?d=lab/a.mp4", "lab/a.mp4")],
)  # fmt: skip
def test_paths_and_addresses(name: str, path: str) -> None:
    assert local(name) == path


def test_what_a_header_says(folder: Path) -> None:
    assert header(folder / "a.mp4") == Film(float(FPS), float(SECONDS), (48, 32))
    assert header(folder / "none.mp4") == Film()


def test_every_format_has_its_module_and_stands_in_the_docs() -> None:
    names = {path.stem for path in Path(formats.__file__).parent.glob("*.py")}
    shared = {"__init__", "forms", "places", "loading", "importing", "subtitles"}
    assert {one.module for one in FORMATS.values()} == names - shared
    page = Path(__file__).parents[2].joinpath("docs", "annotations.md").read_text("utf-8")
    assert [name for name in FORMATS if f"`{name}`" not in page] == []


# The commands


def test_import_into_a_table_of_clips(command, folder: Path, tmp_path: Path) -> None:
    write_boris(tmp_path / "day.boris", ["a.mp4", "c d.mp4"])
    (tmp_path / "b.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\ngroom\n")
    (tmp_path / "b.mp4").write_bytes((folder / "b.mp4").read_bytes())
    out = tmp_path / "clips.csv"
    code, told, err = command(
        "data", "import", tmp_path / "day.boris", tmp_path / "b.vtt", "--videos", folder, "--out", out
    )  # fmt: skip
    assert code == 0 and f"{out}: 9 segments of 2 actions in 3 videos, from boris, vtt" in told, err
    rows = out.read_text().splitlines()
    assert rows[0] == "path,label,start,end" and rows[-1] == "b.mp4,groom,1.000,2.000" and len(rows) == 10
    assert Path(tmp_path, rows[1].split(",")[0]).resolve() == folder / "a.mp4"
    code, told, _ = command(
        "data", "import", out, "--out", tmp_path / "back.boris", "--format", "boris", "--json"
    )  # fmt: skip
    report = json.loads(told)
    assert code == 0 and report["labels"] == {"bark": 4, "groom": 5} and report["videos"] == 3
    assert len(load_data(tmp_path / "back.boris")) == 9


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("gone.boris", "--out", "clips.csv"), "no such file: gone.boris"),
        (("day.boris", "--out", "none/clips.csv"), "there is no folder for none/clips.csv"),
        (("day.boris", "--out", "clips.csv"), "day.boris: 1 of 1 video is missing, with 4 segments: a.mp4"),
        (("day.boris", "--out", "x", "--format", "exel"), "unknown format 'exel'"),
        (("day.boris", "--out", "x", "--videos", "nowhere"), "there is no folder or video 'nowhere'"),
        (("day.boris", "--out", "x", "--allow-missing"), "no segment can be taken: 1 of 1 video is missing"),
    ],
)
def test_what_import_cannot_do_is_one_line(arguments, told: str, command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_boris(tmp_path / "day.boris", ["a.mp4"])
    code, _, err = command("data", "import", *arguments)
    assert code == 2 and told in err and err.count("\n") == 1, err
    assert [path.name for path in tmp_path.iterdir()] == ["day.boris"], "nothing half written"


def test_a_film_whose_name_no_file_can_say(command, tmp_path: Path, monkeypatch) -> None:
    """It was written with escapes, by which nothing finds it."""
    monkeypatch.chdir(tmp_path)
    for name, text in ((b"caf\xe9", "bark"), (b"b", "groom")):
        Path(os.fsdecode(name + b".srt")).write_text(f"1\n00:00:00,000 --> 00:00:00,500\n{text}\n")
        write_film(tmp_path / "plain.mp4")
        (tmp_path / "plain.mp4").rename(os.fsdecode(name + b".mp4"))
    listed = sorted(path.name for path in tmp_path.iterdir())
    for format in ("csv", "boris"):
        code, _, err = command("data", "import", *sorted(Path().glob("*.srt")), "--out", "x", "--format", format)
        assert code == 2 and err.count("\n") == 1, err
        assert r"the name of 1 film is no UTF-8 text, so no file could say it: rename caf\udce9.mp4 first" in err, err
        assert sorted(path.name for path in tmp_path.iterdir()) == listed


def test_labels_that_are_no_list_are_not_taken_letter_by_letter(tmp_path: Path) -> None:
    sound = {"type": "labels", "id": "r3", "value": {"start": 0.5, "end": 0.75, "labels": "clap"}}
    with pytest.raises(DataError, match="task 1: labels: expected a list, found 'clap'"):
        read(tmp_path / "x.json", [task([sound])])


# What was lost without a word


@pytest.mark.parametrize("format", formats.writable())
def test_an_open_end_is_that_of_the_video(format: str) -> None:
    given = Annotations(
        [Segment("a.mp4", 1.0, None, "x"), Segment("a.mp4", None, 0.5, "y")], {"a.mp4": Film(25.0, 8.0)}
    )
    closed = Annotations([Segment("a.mp4", 1.0, 8.0, "x"), Segment("a.mp4", 0.0, 0.5, "y")], {"a.mp4": Film(25.0, 8.0)})
    if format == "csv":
        assert formats.write(given, format)[0] == "path,label,start,end\na.mp4,x,1.000,\na.mp4,y,,0.500\n"
        return
    assert formats.write(given, format) == formats.write(closed, format)
    with pytest.raises(DataError, match=r"'x' at 1 to the end s of a\.mp4: the format wants an end"):
        formats.write(Annotations(given.segments, {"a.mp4": Film(25)}), format)


ONE_VIDEO = [name for name, format in formats.FORMATS.items() if format.of_one]


@pytest.mark.parametrize("format", ONE_VIDEO)
def test_a_format_of_one_video_is_written_for_one(format: str) -> None:
    films = {"a.mp4": Film(25.0, 8.0), "b.mp4": Film(25.0, 8.0)}
    with pytest.raises(
        DataError, match="is of one video, found segments of 2: write one for each, as `kshot data import`"
    ):
        formats.write(Annotations([Segment("a.mp4", 0, 1, "x"), Segment("b.mp4", 0, 1, "x")], films), format)
    of_one = [Segment("b.mp4", 0.0, 1.0, "x")]
    assert formats.write(Annotations(of_one, films), format) == formats.write(
        Annotations(of_one, {"b.mp4": films["b.mp4"]}), format
    )


@pytest.mark.parametrize("format", ONE_VIDEO)
def test_into_a_folder_each_video_has_a_file(format: str, command, folder: Path, tmp_path: Path) -> None:
    rows = [("a.mp4", "x", 0.0, 1.0), ("b.mp4", "y", 0.0, 1.4), ("a.mp4", "z", 1.0, 2.0)]
    (tmp_path / "day.csv").write_text(
        "path,label,start,end\n" + "".join(f"{folder / p},{name},{s},{e}\n" for p, name, s, e in rows)
    )
    out, suffix = tmp_path / "out", formats.FORMATS[format].suffix
    out.mkdir()
    code, told, error = command("data", "import", tmp_path / "day.csv", "--out", out, "--format", format)
    assert code == 0 and told == f"{out}: 3 segments of 3 actions in 2 videos, in 2 files, from csv\n", error
    assert sorted(path.name for path in out.iterdir()) == [f"a{suffix}", f"b{suffix}"]
    for film in ("a.mp4", "b.mp4"):
        path = out / f"{film[0]}{suffix}"
        found = formats.read(path, formats.Places(path, folder / film))[1].segments
        assert [(one.label, one.start, one.end) for one in found] == [
            (name, pytest.approx(s, abs=0.02), pytest.approx(e, abs=0.02)) for p, name, s, e in rows if p == film
        ]


def test_two_videos_of_one_name_are_not_written_into_one_file(command, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.mp4").write_bytes((folder / "a.mp4").read_bytes())
    (tmp_path / "day.csv").write_text(f"path,label,start,end\n{folder / 'a.mp4'},x,0,1\nmore/a.mp4,y,0,1\n")
    out = tmp_path / "out"
    out.mkdir()
    code, _, error = command("data", "import", tmp_path / "day.csv", "--out", out, "--format", "srt")
    assert code == 2 and f"two videos would have their segments in {out / 'a.srt'}" in error and error.count("\n") == 1
    assert not list(out.iterdir())


def test_what_is_read_is_not_written_over(command, folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    film = Path("a.mp4")
    film.write_bytes((folder / "a.mp4").read_bytes())
    Path("day.csv").write_text("path,label,start,end\na.mp4,x,0,1\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for out in ("day.csv", "a.mp4"):
        code, _, error = command("data", "import", "day.csv", "--out", out, "--format", "vtt")
        assert code == 2 and f"--out {out} is one of the files to read: name another" in error
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_stands_in_two_files_is_taken_once(command, folder: Path, tmp_path: Path) -> None:
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text(f"path,label,start,end\n{folder / 'a.mp4'},x,0,1\n{folder / 'a.mp4'},X,1,2\n")
    code, told, error = command(
        "data", "import", tmp_path / "one.csv", tmp_path / "two.csv", "--out", tmp_path / "out.csv"
    )
    assert code == 0 and "2 segments of 2 actions in 1 video" in told
    assert error.splitlines() == [
        "note: 2 segments stand there twice, taken once",
        "note: labels look alike and are taken for different actions: 'x' and 'X'",
    ]


def test_label_studio_says_what_was_skipped_or_never_sent(tmp_path: Path) -> None:
    def region(start: int) -> dict[str, object]:
        value = {"ranges": [{"start": start, "end": start + 24}], "timelinelabels": ["bow"]}
        return {"type": "timelinelabels", "value": value}

    sent = {"was_cancelled": False, "result": [region(1), {"type": "relation", "from_id": "a", "to_id": "b"}]}
    skipped = {"was_cancelled": True, "result": [region(26)]}
    one = {"data": {"video": "a.mp4"}, "annotations": [skipped, sent], "drafts": [{"result": [region(51)]}]}
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([one]))
    said = formats.read(path, Places(path, fps=25))[1]
    assert len(said.segments) == 1
    assert said.sentences() == [
        "1 annotation that was skipped left out (the first: tasks.json: task 1)",
        "1 draft left out (the first: tasks.json: task 1)",
        "1 region of type 'relation' not kept (the first: tasks.json: task 1)",
    ]


def test_a_cue_right_under_the_first_line_of_webvtt(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    path.write_text("WEBVTT - day 1\n1\n00:01.000 --> 00:02.000\nbow\n\n2\n00:03.000 --> 00:04.000\nsit\n")
    said = formats.read(path, Places(path, tmp_path / "a.mp4"))[1] if write_film(tmp_path / "a.mp4") else None
    assert said is not None and [(one.start, one.label) for one in said.segments] == [(1.0, "bow"), (3.0, "sit")]
    assert said.sentences() == []


def test_subrip_with_a_point_before_the_milliseconds(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text("1\n00:00:01.000 --> 00:00:02.500\nbow\n")
    write_film(tmp_path / "a.mp4")
    format, said = formats.read(path, Places(path, tmp_path / "a.mp4"))
    assert format == "srt" and [(one.start, one.end, one.label) for one in said.segments] == [(1.0, 2.5, "bow")]
