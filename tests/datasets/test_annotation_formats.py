"""Annotations of other programs: what each format means, read from files as the program writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from annotated import FLAT, TABULAR, boris, plain, read, task

from kshot.datasets.annotations import Places, Segment
from kshot.datasets.annotations.forms import Film
from kshot.errors import DataError
from numbered_films import write_film

# BORIS


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


def test_times_of_day_in_boris(tmp_path: Path) -> None:
    """Where the moment at which a video was made is the offset, its events count from there."""
    made = {"b.mp4": 1_714_550_000, "a.mp4": 1_714_550_100}
    events = [[1_714_550_000 + time, "", "groom", "", ""] for time in (2.0, 3.5, 101.0, 104.0)]
    value = boris(events, [*made], media_creation_date_as_offset=True)
    value["observations"]["morning"]["media_info"]["media_creation_time"] = made
    assert [one[:3] for one in plain(read(tmp_path / "x.boris", value))] == [("b.mp4", 2, 3.5), ("a.mp4", 1, 4)]
    del value["observations"]["morning"]["media_info"]["media_creation_time"]
    with pytest.raises(DataError, match=r"when a video of 'morning' was made: expected a number, found None"):
        read(tmp_path / "x.boris", value)


def test_observations_of_boris_without_videos(tmp_path: Path) -> None:
    said = read(tmp_path / "x.boris", boris([[1, "", "groom", "", ""]], [], type="LIVE"))
    assert said.segments == [] and said.sentences() == [
        "1 observation without a video left out (the first: 'morning' of 1 events)"
    ]


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
    ends = [box | {"attributes": {"track_id": 3, "keyframe": True, "outside": outside}} for outside in (False, True)]
    keys = value | {"items": [item(frame, ends[frame == 75]) for frame in (25, 50, 75)]}
    assert plain(read(tmp_path / "keys.json", keys, videos=folder / "a.mp4")) == [(film, 1, 3, "run", "")]
    with pytest.raises(DataError, match=r"default\.json names no video, and none of its name"):
        read(tmp_path / "default.json", value)
    value["items"][0]["annotations"][0] = tag | {"label_id": 9}
    with pytest.raises(DataError, match="frame 25 has label number 9, the file lists 2 labels"):
        read(tmp_path / "default.json", value, videos=folder / "a.mp4")


# Label Studio


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
