"""Annotations of other programs: what each format means, and that nothing is lost on the way there and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kshot import load_data
from kshot.datasets import annotations as formats
from kshot.datasets.annotations import FORMATS, Annotations, Places, Segment, loading
from kshot.datasets.annotations.forms import Film, many, runs, seconds
from kshot.datasets.annotations.places import header, local
from kshot.errors import DataError, OptionError
from numbered_films import FPS, SECONDS, write_film

ODD = ('say "a, b"', "Käse & <b>", "跳ぶ", "it's; 100 %", "push (10 %)", "a\\b/c", "-->")
"""Labels with every sign that one of the formats has a meaning for."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films, the last one in a folder of its own."""
    place = tmp_path_factory.mktemp("lab")
    for name in ("a.mp4", "b.mp4", "more/c d.mp4"):
        write_film(place / name)
    return place


def read(path: Path, text: str | dict | list, **places) -> Annotations:
    """What a file says that holds this text, or this value as JSON."""
    path.write_text(text if isinstance(text, str) else json.dumps(text, ensure_ascii=False), "utf-8")
    return formats.read(path, Places(path, **places))[1]


def plain(said: Annotations) -> list[tuple]:
    return [
        (one.path, *(None if time is None else round(time, 4) for time in (one.start, one.end)), one.label, one.subject)
        for one in said.segments
    ]


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


# BORIS


def boris(events: list, files: list[str], **more) -> dict:
    observation = {
        "file": {"1": files, "2": []},
        "type": "MEDIA",
        "date": "2024-05-01T10:00:00",
        "description": "",
        "time offset": 0.0,
        "events": events,
        "media_info": {"length": dict.fromkeys(files, 8.0), "fps": dict.fromkeys(files, 25.0)},
    }
    return {
        "project_format_version": "7.0",
        "behaviors_conf": {
            "0": {"type": "State event", "code": "groom", "key": "g"},
            "1": {"type": "Point event", "code": "bark", "key": "b"},
        },
        "subjects_conf": {"0": {"name": "dog 1", "key": "1"}},
        "observations": {"morning": observation | more},
    }


def test_a_project_of_boris(tmp_path: Path) -> None:
    events = [
        [1.0, "dog 1", "groom", "", "", 25], [1.5, "", "groom", "", ""], [2.0, "dog 1", "groom", "", "calm", 50],
        [2.5, "", "groom", "", ""], [3.0, "", "bark", "loud", ""], [4.0, "", "groom", "with|paw", ""],
        [5.0, "", "groom", "with|paw", ""], [6.0, "", "groom", "", ""], [6.5, "", "dig", "", ""],
        [7.0, "", "dig", "", ""],
    ]  # fmt: skip
    said = read(tmp_path / "x.boris", boris(events, ["a.mp4"]))
    assert plain(said) == [
        ("a.mp4", 1.0, 2.0, "groom", "dog 1"), ("a.mp4", 1.5, 2.5, "groom", ""), ("a.mp4", 4.0, 5.0, "groom", ""),
        ("a.mp4", 6.5, 7.0, "dig", ""),
    ]  # fmt: skip
    assert said.films["a.mp4"] == Film(25.0, 8.0)
    assert sorted(said.sentences()) == [
        "1 START without a STOP left out: they have no end (the first: 'groom' at 6 s of 'morning')",
        "1 comment not kept (the first: of 'groom' in 'morning')",
        "1 point event left out: they have no length (the first: 'bark' at 3 s of 'morning')",
        "1 segment with a label that is not in the file's own list kept all the same (the first: 'dig' at 6.5 to 7 s "
        "of a.mp4)",
        "3 modifiers not kept (the first: of 'bark' in 'morning')",
    ]


def test_videos_of_boris_that_play_one_after_the_other(tmp_path: Path, folder: Path) -> None:
    events = [[time, "", "groom", "", ""] for time in (1.0, 2.0, 7.0, 9.5, 10.0, 11.0)]
    value = boris(events, ["a.mp4", "b.mp4"])
    wanted = [("a.mp4", 1, 2), ("a.mp4", 7, 8), ("b.mp4", 0, 1.5), ("b.mp4", 2, 3)]
    said = read(tmp_path / "x.boris", value)
    assert [one[:3] for one in plain(said)] == wanted
    assert said.sentences() == ["1 segment over the end of a video cut there (the first: 'groom' at 7 s of 'morning')"]
    late = boris([[time + 100, *rest] for time, *rest in events], ["a.mp4", "b.mp4"], **{"time offset": 100.0})
    assert [one[:3] for one in plain(read(tmp_path / "x.boris", late))] == wanted
    value["observations"]["morning"]["media_info"] = {}
    with pytest.raises(DataError, match=r"runs over 2 videos, and neither it nor 'a\.mp4' says how long"):
        read(tmp_path / "x.boris", value)
    assert [one[:3] for one in plain(read(tmp_path / "x.boris", value, videos=folder))] == wanted


def test_observations_of_boris_without_videos(tmp_path: Path) -> None:
    said = read(tmp_path / "x.boris", boris([[1, "", "groom", "", ""]], [], type="LIVE"))
    assert said.segments == [] and said.sentences() == [
        "1 observation without a video left out (the first: 'morning' of 1 events)"
    ]


TABULAR = """Observation id\tmorning\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t
Media file(s)\t\t\t\t\t\t\t\t
Player #1\ta.mp4\t\t\t\t\t\t\t
Time offset (s)\t0.5\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t
Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tBehavioral category\tComment\tStatus
1.500\ta.mp4\t8.000\t25.0\tdog 1\tgroom\t\t\tSTART
2.000\ta.mp4\t8.000\t25.0\tNo focal subject\tbark\t\tloud\tPOINT
3.250\ta.mp4\t8.000\t25.0\tdog 1\tgroom\t\t\tSTOP
4.000\ta.mp4\t8.000\t25.0\tdog 1\tgroom\t\t\tSTART
5.000\ta.mp4\t8.000\t25.0\tdog 1\tgroom\t\t\tSTART
6.000\ta.mp4\t8.000\t25.0\tdog 1\tgroom\t\t\tSTOP
7.000\ta.mp4\t8.000\t25.0\tdog 2\tgroom\t\t\tSTOP
"""

FLAT = (
    "Observation id,Observation date,Description,Observation duration,Observation type,Source,Time offset (s),"
    "Media duration (s),FPS,Subject,Behavior,Behavioral category,Modifier #1,Behavior type,Time,Media file name,"
    "Image index,Image file path,Comment\n"
    + "".join(
        f"morning,2024-05-01 10:00:00,,16.0,Media file(s),player #1:a.mp4;b.mp4,0.0,8.000;8.000,25.000;25.000,"
        f'{subject},"groom, long",,{modifier},{kind},{time},a.mp4,NA,,\n'
        for subject, modifier, kind, time in (
            ("No focal subject", "", "START", 7.0),
            ("dog 1", "slow", "START", 7.5),
            ("No focal subject", "", "STOP", 9.0),
            ("dog 1", "slow", "STOP", 7.75),
        )
    )
)

AGGREGATED = (
    "Observation id\tObservation date\tDescription\tMedia file\tTotal length\tFPS\tweather\tSubject\tBehavior\t"
    "Behavioral category\tModifiers\tBehavior type\tStart (s)\tStop (s)\tDuration (s)\tComment start\tComment stop\n"
    + "".join(
        f"{one}\t2024-05-01 10:00:00\t\t{video}\t8.000\t25.0\tsun\t{subject}\tgroom\t\t{change}\t{kind}\t{start}\t"
        f"{end}\t{length}\t\t\n"
        for one, video, subject, change, kind, start, end, length in (
            ("morning", "a.mp4", "dog 1", "", "STATE", 1.8, 3.125, 1.325),
            ("morning", "a.mp4", "", "", "POINT", 2, 2, "NA"),
            ("morning", "a.mp4", "dog 1", "slow", "STATE", 4.0, "NA", "NA"),
            ("noon", "b.mp4", "dog 2", "", "STATE", 0, 1, 1),
        )
    )
)


def test_exported_events_of_boris(tmp_path: Path) -> None:
    said = read(tmp_path / "events.tsv", TABULAR)
    assert plain(said) == [("a.mp4", 1.0, 2.75, "groom", "dog 1"), ("a.mp4", 4.5, 5.5, "groom", "dog 1")]
    assert sorted(said.sentences()) == [
        "1 START without a STOP left out: they have no end (the first: 'groom' at 3.5 s of 'morning')",
        "1 STOP without a START left out: they have no beginning (the first: 'groom' at 6.5 s of 'morning')",
        "1 comment not kept (the first: on line 9)",
        "1 point event left out: they have no length (the first: 'bark' at 1.5 s of 'morning')",
    ]
    flat = read(tmp_path / "events.csv", FLAT)
    assert plain(flat) == [
        ("a.mp4", 7.5, 7.75, "groom, long", "dog 1"), ("a.mp4", 7, 8, "groom, long", ""),
        ("b.mp4", 0, 1, "groom, long", ""),
    ]  # fmt: skip
    assert flat.films == {"a.mp4": Film(25.0, 8.0), "b.mp4": Film(25.0, 8.0)}
    whole = read(tmp_path / "aggregated.tsv", AGGREGATED)
    assert plain(whole) == [("a.mp4", 1.8, 3.125, "groom", "dog 1"), ("b.mp4", 0, 1, "groom", "dog 2")]
    assert {what for what, _ in whole.left} == {"point event", "START without a STOP", "modifier"}
    with pytest.raises(DataError, match=r"bad\.tsv: line 8: expected a time in seconds or h:mm:ss, found 'noon'"):
        read(tmp_path / "bad.tsv", TABULAR.replace("1.500\ta", "noon\ta"))


# ELAN

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-05-01T10:00:00+01:00" FORMAT="3.0" VERSION="3.0"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
 <HEADER MEDIA_FILE="" TIME_UNITS="UNITS">
  <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/lab/c%20d.mp4" MIME_TYPE="video/mp4"
   RELATIVE_MEDIA_URL="../gone/c d.mp4"ORIGIN/>
  <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/lab/c.wav" MIME_TYPE="audio/x-wav"/>
 </HEADER>
 <TIME_ORDER>
  <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="100"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="200"/>
  <TIME_SLOT TIME_SLOT_ID="ts3"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="150"/>
 </TIME_ORDER>
 <TIER LINGUISTIC_TYPE_REF="act" TIER_ID="left hand"PERSON>
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
   <ANNOTATION_VALUE>wave &amp; smile</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
   <ANNOTATION_VALUE>point</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
 </TIER>
 <TIER LINGUISTIC_TYPE_REF="act" TIER_ID="gaze">
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts4">
   <ANNOTATION_VALUE></ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
 </TIER>
 <TIER LINGUISTIC_TYPE_REF="note" PARENT_REF="gaze" TIER_ID="notes">
  <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a3"><ANNOTATION_VALUE>?</ANNOTATION_VALUE>
  </REF_ANNOTATION></ANNOTATION>
 </TIER>
 <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="act" TIME_ALIGNABLE="true"/>
</ANNOTATION_DOCUMENT>
"""


def eaf(units: str = "milliseconds", origin: str = "", person: str = "") -> str:
    return EAF.replace('"UNITS"', f'"{units}"').replace("ORIGIN", origin).replace("PERSON", person)


@pytest.mark.parametrize(
    ("units", "origin", "first"),
    [("milliseconds", "", (0.1, 0.2)), ("milliseconds", ' TIME_ORIGIN="2500"', (2.6, 2.7)),
     ("PAL-frames", "", (4.0, 8.0)), ("NTSC-frames", "", (100 * 1001 / 30000, 200 * 1001 / 30000))],
)  # fmt: skip
def test_a_document_of_elan(units: str, origin: str, first: tuple, folder: Path, tmp_path: Path) -> None:
    said = read(tmp_path / "x.eaf", eaf(units, origin), videos=folder)
    one, other = said.segments
    assert (one.start, one.end) == pytest.approx(first)
    assert (one.label, one.subject, other.label, other.subject) == ("wave & smile", "left hand", "gaze", "gaze")
    assert Places(tmp_path / "x.eaf", folder).find(one.path) == folder / "more" / "c d.mp4"
    assert said.sentences() == [
        "1 annotation left out: not aligned with the time (the first: 'point' of tier 'left hand')",
        "1 annotation of another annotation not kept: they have no time of their own (the first: tier 'notes')",
    ]


def test_participants_of_elan_and_times_in_another_unit(tmp_path: Path) -> None:
    said = read(tmp_path / "x.eaf", eaf(person=' PARTICIPANT="Anna"'))
    assert [one.subject for one in said.segments] == ["Anna", ""]
    with pytest.raises(DataError, match=r"x\.eaf counts time in 'hours': expected one of milliseconds, NTSC-frames"):
        read(tmp_path / "x.eaf", eaf("hours"))


# CVAT

TRACKS = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>7</id><name>day</name><size>200</size><mode>interpolation</mode><start_frame></start_frame>
   <frame_filter>FILTER</frame_filter>
   <labels><label><name>jump</name><attributes></attributes></label><label><name>run</name></label></labels>
   <segments><segment><id>1</id><start>0</start><stop>199</stop></segment></segments>
   <original_size><width>48</width><height>32</height></original_size><source>b.mp4</source></task></meta>
  <track id="0" label="jump" source="manual">
    <box frame="25" outside="0" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="9" ybr="9"></box>
    <box frame="26" outside="0" occluded="0" keyframe="0" xtl="1" ytl="1" xbr="9" ybr="9"></box>
    <box frame="50" outside="1" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="9" ybr="9"></box>
    <box frame="75" outside="0" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="9" ybr="9"></box>
    <box frame="100" outside="1" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="9" ybr="9"></box>
  </track>
  <track id="1" label="run" source="manual"><points frame="150" outside="0" keyframe="1" points="1,2"></points></track>
  <track id="2" label="walk" source="manual">
    <box frame="10" outside="0" keyframe="1"></box><box frame="11" outside="0" keyframe="0"></box></track>
</annotations>
"""


def test_tracks_of_cvat(folder: Path, tmp_path: Path) -> None:
    said = read(tmp_path / "x.xml", TRACKS.replace("FILTER", ""), videos=folder)
    assert plain(said) == [
        ("b.mp4", 1, 2, "jump", ""), ("b.mp4", 3, 4, "jump", ""), ("b.mp4", 6, 8, "run", ""),
        ("b.mp4", 0.4, 0.48, "walk", ""),
    ]  # fmt: skip
    assert "3 tracks kept without its boxes and attributes" in said.sentences()[0]
    assert "1 segment with a label that is not in the file's own list kept" in said.sentences()[1]
    with pytest.raises(DataError, match=r"x\.xml counts in frames, and neither it nor the video 'b\.mp4' says"):
        read(tmp_path / "x.xml", TRACKS.replace("FILTER", ""))
    assert plain(read(tmp_path / "x.xml", TRACKS.replace("FILTER", ""), fps=50))[0][1:3] == (0.5, 1.0)


def test_tags_of_cvat(folder: Path, tmp_path: Path) -> None:
    images = "".join(
        f'<image id="{frame}" name="frame_{frame:06d}" width="48" height="32"><tag label="jump" source="manual">'
        f'<attribute name="sure">yes</attribute></tag>{"<box label=" + chr(34) + "run" + chr(34) + "/>" * 1}</image>'
        for frame in (10, 15, 20, 100)
    )
    xml = TRACKS.partition("<track")[0].replace("FILTER", "step=5") + images + "</annotations>"
    said = read(tmp_path / "x.xml", xml, videos=folder)
    assert plain(said) == [("b.mp4", 0.4, 1.0, "jump", ""), ("b.mp4", 4.0, 4.2, "jump", "")]
    assert said.sentences() == [
        "4 attributes of a tag not kept (the first: on frame 10)",
        "4 boxes of a single frame left out: no stretch of time (the first: frame 10)",
    ]


def test_datumaro(folder: Path, tmp_path: Path) -> None:
    def item(frame: int, *annotations: dict) -> dict:
        return {
            "id": f"frame_{frame:06d}",
            "annotations": list(annotations),
            "attr": {"frame": frame},
            "media": {"path": ""},
        }

    tag = {"id": 0, "type": "label", "attributes": {}, "group": 0, "label_id": 1}
    box = {"id": 1, "type": "bbox", "attributes": {"track_id": 3}, "group": 0, "label_id": 0, "bbox": [0, 0, 2, 2]}
    alone = {"id": 1, "type": "bbox", "attributes": {}, "label_id": 0, "bbox": [0, 0, 2, 2]}
    labels = [{"name": "run", "parent": "", "attributes": []}, {"name": "jump", "parent": "", "attributes": []}]
    value = {
        "info": {}, "categories": {"label": {"labels": labels, "attributes": ["occluded"]}},
        "items": [item(25, tag), item(26, tag, box), item(27, box, alone)],
    }  # fmt: skip
    said = read(tmp_path / "default.json", value, videos=folder / "a.mp4")
    film = str(folder / "a.mp4")
    assert plain(said) == [(film, 1, 1.08, "jump", ""), (film, 1.04, 1.12, "run", "")]
    assert {what for what, _ in said.left} == {"box of a track", "bbox of a single frame"}
    with pytest.raises(DataError, match=r"default\.json names no video, and none of its name"):
        read(tmp_path / "default.json", value)
    value["items"][0]["annotations"][0] = tag | {"label_id": 9}
    with pytest.raises(DataError, match="frame 25 has label number 9, the file lists 2 labels"):
        read(tmp_path / "default.json", value, videos=folder / "a.mp4")


# Label Studio


def task(result: list, video: str = "/data/upload/3/1a2b3c4d-a.mp4", **more) -> dict:
    return {
        "id": 1,
        "data": {"video": video},
        "annotations": [{"id": 1, "was_cancelled": False, "result": result}],
        **more,
    }


def test_label_studio(folder: Path, tmp_path: Path) -> None:
    ranges = {
        "type": "timelinelabels", "from_name": "videoLabels", "to_name": "video", "id": "r1",
        "value": {"ranges": [{"start": 26, "end": 50}, {"start": 101, "end": 101}], "timelinelabels": ["jump"]},
    }  # fmt: skip
    sequence = [
        {"frame": 26, "enabled": True, "x": 1, "y": 1, "width": 5, "height": 5, "time": 1.04},
        {"frame": 50, "enabled": False, "x": 1, "y": 1, "width": 5, "height": 5, "time": 2.0},
        {"frame": 176, "enabled": True, "x": 1, "y": 1, "width": 5, "height": 5, "time": 7.04},
    ]
    box = {
        "type": "videorectangle", "id": "r2",
        "value": {"framesCount": 200, "duration": 8.0, "sequence": sequence, "labels": ["person"]},
    }  # fmt: skip
    sound = {"type": "labels", "id": "r3", "value": {"start": 0.5, "end": 0.75, "labels": ["clap"], "channel": 0}}
    choice = {"type": "choices", "id": "r4", "value": {"choices": ["good"]}}
    given = [task([ranges, box, sound, choice], predictions=[{"result": [ranges]}])]
    said = read(tmp_path / "export.json", given, videos=folder)
    where = "/data/upload/3/1a2b3c4d-a.mp4"
    assert plain(said) == [
        (where, 1, 2, "jump", ""), (where, 4, 4.04, "jump", ""), (where, 1, 2, "person", ""),
        (where, 7, 8, "person", ""), (where, 0.5, 0.75, "clap", ""),
    ]  # fmt: skip
    assert said.sentences() == [
        "1 prediction not kept: people's annotations come first (the first: export.json: task 1)",
        "1 rectangle kept without its place in the picture (the first: export.json: task 1)",
        "1 region of type 'choices' not kept (the first: export.json: task 1)",
    ]
    assert Places(tmp_path / "export.json", folder).find(where) == folder / "a.mp4"
    guess = {"data": {"video": "a.mp4", "fps": 50}, "predictions": [{"result": [ranges]}]}
    assert plain(read(tmp_path / "export.json", [guess]))[0][1:3] == (0.5, 1.0)
    small = [{"video": "a.mp4", "id": 4, "videoLabels": [ranges["value"]], "annotator": 1}]
    assert plain(read(tmp_path / "min.json", small, fps=25))[0] == ("a.mp4", 1, 2, "jump", "")
    with pytest.raises(DataError, match=r"counts in frames, and neither it nor the video 'a\.mp4'.*--fps"):
        read(tmp_path / "min.json", small)
    with pytest.raises(DataError, match=r"task 1: its data names no video, found image"):
        read(tmp_path / "x.json", [{"data": {"image": "a.png"}, "annotations": []}])
    with pytest.raises(DataError, match=r"task 1: start of a range: expected a number, found 'x'"):
        bad = ranges | {"value": {"ranges": [{"start": "x", "end": 2}], "timelinelabels": ["jump"]}}
        read(tmp_path / "x.json", [task([bad])], fps=25)


# VIA, and the field's own


def test_via(tmp_path: Path) -> None:
    value = {
        "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1", "vid_list": ["1"]},
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}},
        "attribute": {
            "1": {"aname": "who", "anchor_id": "FILE1_Z1_XY1", "type": 1, "options": {}},
            "2": {"aname": "what", "anchor_id": "FILE1_Z2_XY0", "type": 4, "options": {"0": "jump", "1": "run"}},
            "3": {"aname": "how", "anchor_id": "FILE1_Z2_XY0", "type": 2, "options": {"0": "fast", "1": "slow"}},
        },
        "file": {"1": {"fid": "1", "fname": "a.mp4", "type": 4, "loc": 1, "src": ""}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {
            "1_a": {"vid": "1", "flg": 0, "z": [1.25, 2.5], "xy": [], "av": {"2": "1", "3": "0"}},
            "1_b": {"vid": "1", "flg": 0, "z": [3.0, 4.0], "xy": [], "av": {"3": "0,1"}},
            "1_c": {"vid": "1", "flg": 0, "z": [3.5], "xy": [2, 1, 1, 5, 5], "av": {"1": "Anna"}},
            "1_d": {"vid": "1", "flg": 0, "z": [3.5], "xy": [], "av": {"2": "0"}},
            "1_e": {"vid": "1", "flg": 0, "z": [5, 6], "xy": [], "av": {}},
        },
    }
    said = read(tmp_path / "via.json", value)
    assert plain(said) == [
        ("a.mp4", 1.25, 2.5, "run", ""), ("a.mp4", 3, 4, "fast", ""), ("a.mp4", 3, 4, "slow", ""),
    ]  # fmt: skip
    assert {what for what, _ in said.left} == {
        "further attribute", "region of a picture", "point event", "segment",
    }  # fmt: skip


def test_activitynet_thumos_charades_and_kinetics(tmp_path: Path) -> None:
    entry = {"duration": 8.0, "subset": "training", "annotations": [{"label": "jump", "segment": [1, 2.5]}]}
    overlapping = {"duration": 8.0, "subset": "validation", "annotations": [
        {"label": "jump", "segment": [0, 3]}, {"label": "run", "segment": [1, 3]},
    ]}  # fmt: skip
    whole = {"version": "1.3", "taxonomy": [], "database": {"abc": entry, "def": overlapping, "ghi": {"subset": "testing", "annotations": []}}}  # fmt: skip  # noqa: E501
    said = read(tmp_path / "anet.json", whole)
    assert [(one.path, one.start, one.end, one.label, one.split) for one in said.segments] == [
        ("abc", 1, 2.5, "jump", "train"), ("def", 0, 3, "jump", "val"), ("def", 1, 3, "run", "val"),
    ]  # fmt: skip
    assert said.films["abc"].seconds == 8.0 and "1 video without a segment passed over" in said.sentences()[0]
    assert len(read(tmp_path / "flat.json", {"abc": entry}).segments) == 1
    results = {"version": "1.3", "results": {"abc": [{"label": "jump", "segment": [1, 2], "score": 0.5}]}}
    assert read(tmp_path / "results.json", results).segments[0].score == 0.5
    with pytest.raises(DataError, match=r"video 'abc': segment: expected a number, found 'x'"):
        read(tmp_path / "bad.json", {"abc": {"annotations": [{"label": "jump", "segment": ["x", 2]}]}})

    said = read(
        tmp_path / "BaseballPitch_val.txt", "video_validation_0000266  72.80 76.40\nvideo_validation_0000267 1.0 2\n"
    )
    assert (said.segments[0].label, said.segments[0].split, said.segments[0].start) == ("BaseballPitch", "val", 72.8)

    charades = (
        "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
        '46GP8,HR43,Kitchen,6,7,Yes,"A person cooks, then eats.",food,x,c092 11.90 21.20;c147 0.00 12.60,30.5\n'
        "N11GT,0KZ7,Kitchen,5,5,Yes,,,,,20.0\n"
    )
    said = read(tmp_path / "Charades_v1_train.csv", charades)
    assert plain(said) == [("46GP8", 11.9, 21.2, "c092", "HR43"), ("46GP8", 0, 12.6, "c147", "HR43")]
    (tmp_path / "Charades_v1_classes.txt").write_text("c092 Watching a window\nc147 Sitting\n")
    assert read(tmp_path / "Charades_v1_train.csv", charades).segments[0].label == "Watching a window"
    with pytest.raises(DataError, match=r"line 2: expected actions like 'c092 11\.90 21\.20', found 'c092 11'"):
        read(tmp_path / "Charades_v1_train.csv", charades.replace("c092 11.90 21.20", "c092 11"))

    write_film(tmp_path / "k" / "0wR5jVB-WPk_000417_000427.mp4", 1)
    rows = (
        'label,youtube_id,time_start,time_end,split\n"testifying",0wR5jVB-WPk,417,427,train\n'
        "abseiling,xyz,1,11,validate\n"
    )
    said = read(tmp_path / "k.csv", rows, videos=tmp_path / "k")
    assert [(one.path, one.start, one.end, one.split) for one in said.segments] == [
        ("0wR5jVB-WPk_000417_000427", None, None, "train"), ("xyz", 1, 11, "val"),
    ]  # fmt: skip


def test_subtitles_and_labels_of_audacity(folder: Path, tmp_path: Path) -> None:
    film = folder / "a.mp4"
    vtt = "WEBVTT - day\n\nNOTE made by hand\n\n1\n00:01.000 --> 00:02.500 align:start\n<v Anna>jump &amp; run</v>\n\n00:00:03.000 --> 00:00:04.000\n\n"  # fmt: skip  # noqa: E501
    said = read(tmp_path / "x.vtt", vtt, videos=film)
    assert plain(said) == [(str(film), 1, 2.5, "jump & run", "")] and "1 cue without a text" in said.sentences()[0]
    srt = "1\r\n00:00:01,000 --> 00:00:02,500\r\njump (83 %)\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\nrun (5 %)\r\n"
    said = read(tmp_path / "x.srt", srt, videos=film)
    assert [(one.label, one.score) for one in said.segments] == [("jump", 0.83), ("run", 0.05)]
    one_without = read(tmp_path / "x.srt", srt.replace("run (5 %)", "run"), videos=film)
    assert [(one.label, one.score) for one in one_without.segments] == [("jump (83 %)", None), ("run", None)]
    labels = "1.000000\t2.500000\tjump\n\\\t100.0\t200.0\n3,5\t3,5\tnow\n4\t5\t\n6\t7\trun\tfast\n"
    said = read(tmp_path / "x.txt", labels, videos=film)
    assert [(one.start, one.label) for one in said.segments] == [(1, "jump"), (6, "run\tfast")]
    assert {what for what, _ in said.left} == {"range of frequencies", "label of a moment", "label"}


def test_a_timeline_of_kshot(tmp_path: Path) -> None:
    parts = [(0, 1, "unknown", None), (1, 2.5, "jump", 0.75)]
    value = {
        "video": "a.mp4", "duration": 8.0, "fps": 25.0, "frames": 200, "looked_at": 40, "classes": ["jump", "run"],
        "segments": [dict(zip(("start", "end", "label", "score"), part, strict=True)) for part in parts],
    }  # fmt: skip
    said = read(tmp_path / "x.json", value)
    assert said.segments == [Segment("a.mp4", 1, 2.5, "jump", score=0.75)] and said.films["a.mp4"] == Film(25.0, 8.0)


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
    assert found.notes[0] == "1 of 2 videos are missing, with 4 segments: gone.mp4; left out"


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
        f"1 segment that begins where it ends left out (the first: 'empty' at 3 to 3 s of {folder / 'a.mp4'})",
        f"1 segment that ends before it begins left out (the first: 'back' at 5 to 4 s of {folder / 'a.mp4'})",
        f"1 segment behind the end of its video left out (the first: 'late' at 9 to 10 s of {folder / 'a.mp4'}, which "
        f"lasts 8 s)",
        f"1 segment over the end of its video cut there (the first: 'long' at 7 to 30 s of {folder / 'a.mp4'}, of 8 s)",
    ]
    assert loading.overlaps(found.segments) == [
        f"1 segment that overlaps another of its label and subject kept (the first: 'ok' at 1.5 to 2.5 s of "
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
        ('{"database": {"a": {"annotations": [{}]}}}', "looks like ActivityNet"),
        ('{"database": []}', "database: expected an object"),
        ("path,label,start,end\na.mp4,x,1\n", "line 2 has 3 values"),
        ("Time,Subject,Behavior,Status\n1e999,,groom,START\n", "without a video"),
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
        (("day.boris", "--out", "clips.csv"), "day.boris: 1 of 1 videos are missing, with 4 segments: a.mp4"),
        (("day.boris", "--out", "x", "--format", "exel"), "unknown format 'exel'"),
        (("day.boris", "--out", "x", "--videos", "nowhere"), "there is no folder or video 'nowhere'"),
        (("day.boris", "--out", "x", "--allow-missing"), "no segment can be taken: 1 of 1 videos are missing"),
    ],
)
def test_what_import_cannot_do_is_one_line(arguments, told: str, command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_boris(tmp_path / "day.boris", ["a.mp4"])
    code, _, err = command("data", "import", *arguments)
    assert code == 2 and told in err and err.count("\n") == 1, err
    assert [path.name for path in tmp_path.iterdir()] == ["day.boris"], "nothing half written"


def test_labels_that_are_no_list_are_not_taken_letter_by_letter(tmp_path: Path) -> None:
    sound = {"type": "labels", "id": "r3", "value": {"start": 0.5, "end": 0.75, "labels": "clap"}}
    with pytest.raises(DataError, match="task 1: labels: expected a list, found 'clap'"):
        read(tmp_path / "x.json", [task([sound])])
