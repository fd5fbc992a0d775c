"""What kshot writes is opened by other people's readers, and what they write is read, with the same segments.

Skipped where a package is missing. `pip install -e ".[formats-test]"` brings those that are small; datumaro,
label-studio-sdk and BORIS itself are installed by hand, see docs/annotations.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from xml.sax.saxutils import escape, quoteattr, unescape

import numpy as np
import pytest
from annotated import ODD, boris, plain

from kshot.datasets import annotations as formats
from kshot.datasets.annotations import FORMATS, Annotations, Places, Segment
from kshot.datasets.annotations.forms import Film

FPS, LENGTH = 25.0, 30.0
ANNA, RAT = "Anna & Co", "rat 2"

Rows = list[tuple[Any, ...]]


def timeline(*videos: str, subjects: tuple[str, ...] = ("",)) -> Annotations:
    """Every odd label twice in each video: some touch, those of different labels overlap."""
    segments = [
        Segment(video, 0.52 + 1.32 * index, 0.52 + 1.32 * index + 2.24, label, subject=subject, score=0.5 + index / 100)
        for video in videos
        for index, (label, subject) in enumerate(zip(2 * ODD, (subjects * 14)[:14], strict=True))
    ]
    segments += [Segment(video, 2.76, 3.1, ODD[0], subject=subjects[0], score=0.25) for video in videos]
    return Annotations(segments, dict.fromkeys(videos, Film(FPS, LENGTH, (48, 32))), labels=ODD)


def saved(folder: Path, format: str, said: Annotations) -> Path:
    path = folder / f"a{FORMATS[format].suffix}"
    path.write_text(formats.write(said, format)[0], "utf-8")
    return path


def taken(path: Path, format: str, **places: Any) -> Rows:
    """(path, start, end, label, subject) of what kshot reads."""
    found, said = formats.read(path, Places(path, **places))
    assert found == format
    return plain(said)


def expect_same(found: Iterable[tuple[Any, ...]], wanted: Iterable[tuple[Any, ...]], within: float = 0.5 / FPS) -> None:
    """The same rows in any order; numbers may differ by half a frame."""

    def split(rows: Iterable[tuple[Any, ...]]) -> list[tuple[list[str], list[float]]]:
        parts = [([one for one in row if isinstance(one, str)], [float(one) for one in row if not isinstance(one, str)])
                 for row in rows]  # fmt: skip
        return sorted(parts, key=lambda part: (part[0], part[1]))

    one, other = split(found), split(wanted)
    assert [texts for texts, _ in one] == [texts for texts, _ in other]
    for (texts, mine), (_, theirs) in zip(one, other, strict=True):
        assert mine == pytest.approx(theirs, abs=within + 1e-9), texts


def labelled(rows: Rows) -> Rows:
    return [(label, start, end) for _, start, end, label, _ in rows]


def expect_taken(path: Path, format: str, wanted: Rows, **places: Any) -> None:
    """That kshot reads these (label, start, end), to the millisecond."""
    expect_same(labelled(taken(path, format, **places)), wanted, 0.0005)


def shown(said: Annotations) -> Rows:
    """What a subtitle shows of each segment."""
    return [(f"{one.label} ({round(100 * (one.score or 0))} %)", one.start, one.end) for one in said.segments]


# ELAN


def test_elan_and_pympi(tmp_path: Path) -> None:
    pympi = pytest.importorskip("pympi")
    said = timeline("a.mp4", subjects=("", ANNA, RAT))
    document = pympi.Eaf(str(saved(tmp_path, "elan", said)))
    found = [
        (document.get_parameters_for_tier(tier)["PARTICIPANT"], text, start / 1000, end / 1000)
        for tier in document.get_tier_names()
        for start, end, text in document.get_annotation_data_for_tier(tier)
    ]
    expect_same(found, [(one.subject, one.label, one.start, one.end) for one in said.segments], 0.0005)
    assert document.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == "./a.mp4"

    theirs = pympi.Eaf(author="pympi")
    theirs.remove_tier("default")
    theirs.add_linked_file("file:///lab/c d.mp4", relpath="./c d.mp4", mimetype="video/mp4")
    for one in said.segments:
        tier = one.subject or "nobody"
        if tier not in theirs.get_tier_names():
            theirs.add_tier(tier, part=one.subject)
        theirs.add_annotation(tier, round(1000 * one.start), round(1000 * one.end), one.label)
    theirs.to_file(str(tmp_path / "pympi.eaf"), pretty=True)
    wanted = [("./c d.mp4", one.start, one.end, one.label, one.subject) for one in said.segments]
    expect_same(taken(tmp_path / "pympi.eaf", "elan"), wanted, 0.0005)


# Subtitles


def test_subtitles_and_ffmpeg(tmp_path: Path) -> None:
    """FFmpeg, as PyAV has it, hands the text of WebVTT over with its marks."""
    import av

    said = timeline("a.mp4")
    for format in ("srt", "vtt"):
        with av.open(str(saved(tmp_path, format, said))) as file:
            found = []
            for packet in file.demux(file.streams.subtitles[0]):
                if packet.size:
                    start, length = packet.pts * packet.time_base, packet.duration * packet.time_base
                    found.append((bytes(packet).decode(), start, start + length))
        marked = [(escape(text), *at) for text, *at in shown(said)]
        expect_same(found, shown(said) if format == "srt" else marked, 0.0005)


def test_subtitles_and_a_browser(tmp_path: Path) -> None:
    """Chromium's own reader of WebVTT, for which the format was made."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip(f"there is no {chromium}")
    said = timeline("a.mp4")
    text = saved(tmp_path, "vtt", said).read_text("utf-8")
    script = """async text => {
        const track = document.createElement("track");
        track.src = URL.createObjectURL(new Blob([text], {type: "text/vtt"}));
        document.body.appendChild(document.createElement("video")).appendChild(track);
        const read = new Promise((done, failed) => { track.onload = done; track.onerror = failed; });
        track.track.mode = "hidden";
        await read;
        return [...track.track.cues].map(cue => [cue.getCueAsHTML().textContent, cue.startTime, cue.endTime]);
    }"""
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(chromium), args=["--no-sandbox", "--disable-gpu"])
        found = browser.new_page().evaluate(script, text)
        browser.close()
    expect_same(map(tuple, found), shown(said), 0.0005)


def test_subtitles_and_srt(tmp_path: Path, folder: Path) -> None:
    srt = pytest.importorskip("srt")
    said = timeline("a.mp4")
    cues = list(srt.parse(saved(tmp_path, "srt", said).read_text("utf-8"), ignore_errors=False))
    seconds = [(one.content, one.start.total_seconds(), one.end.total_seconds()) for one in cues]
    expect_same(seconds, shown(said), 0.0005)

    times = [(timedelta(seconds=one.start), timedelta(seconds=one.end)) for one in said.segments]
    theirs = [srt.Subtitle(None, *at, one.label) for at, one in zip(times, said.segments, strict=True)]
    for eol in ("\n", "\r\n"):
        (tmp_path / "theirs.srt").write_text(srt.compose(theirs, eol=eol), "utf-8", newline="")
        expect_taken(tmp_path / "theirs.srt", "srt", labelled(plain(said)), videos=folder / "a.mp4")


def test_subtitles_and_webvtt_py(tmp_path: Path, folder: Path) -> None:
    """It shows WebVTT's marks as they stand in the file."""
    webvtt = pytest.importorskip("webvtt")
    said = timeline("a.mp4")
    found = []
    for cue in webvtt.read(str(saved(tmp_path, "vtt", said))):
        times = (cue.start_time, cue.end_time)
        start, end = (60 * (60 * one.hours + one.minutes) + one.seconds + one.milliseconds / 1000 for one in times)
        found.append((unescape(cue.text), start, end))
    expect_same(found, shown(said), 0.0005)

    theirs = webvtt.WebVTT()
    stamps = [[f"00:00:{one:06.3f}" for one in (segment.start, segment.end)] for segment in said.segments]
    safe = ["jump", "say &amp; do", "跳ぶ", "walk\nslowly", "<i>run</i>"] * 3
    theirs.captions.extend(webvtt.Caption(*at, text) for at, text in zip(stamps, safe, strict=True))
    theirs.save(str(tmp_path / "theirs.vtt"))
    labels = ["jump", "say & do", "跳ぶ", "walk slowly", "run"] * 3
    wanted = [(label, one.start, one.end) for label, one in zip(labels, said.segments, strict=True)]
    expect_taken(tmp_path / "theirs.vtt", "vtt", wanted, videos=folder / "a.mp4")


def test_subtitles_and_pysubs2(tmp_path: Path, folder: Path) -> None:
    pysubs2 = pytest.importorskip("pysubs2")
    said = timeline("a.mp4")
    found = pysubs2.load(str(saved(tmp_path, "srt", said)), keep_html_tags=True)
    expect_same([(one.text, one.start / 1000, one.end / 1000) for one in found], shown(said), 0.0005)
    labels = ["jump", "跳ぶ", "it's; 100 %"] * 5
    wanted = [(label, one.start, one.end) for one, label in zip(said.segments, labels, strict=True)]
    theirs = pysubs2.SSAFile()
    theirs.extend(
        pysubs2.SSAEvent(start=round(1000 * start), end=round(1000 * end), text=label) for label, start, end in wanted
    )
    for format in ("srt", "vtt"):
        theirs.save(str(tmp_path / f"theirs.{format}"))
        expect_taken(tmp_path / f"theirs.{format}", format, wanted, videos=folder / "a.mp4")


# Audacity


def test_audacity_and_crowsetta(tmp_path: Path, folder: Path) -> None:
    crowsetta = pytest.importorskip("crowsetta")
    said = timeline("a.mp4")
    found = crowsetta.formats.seq.AudSeq.from_file(saved(tmp_path, "audacity", said))
    rows = zip(map(str, found.labels), found.start_times, found.end_times, strict=True)
    expect_same(rows, labelled(plain(said)), 1e-6)

    # Audacity writes a label with quotes as it is; crowsetta does not.
    said.segments = [one for one in said.segments if '"' not in one.label]
    starts, ends, labels = zip(*((one.start, one.end, one.label) for one in said.segments), strict=True)
    theirs = crowsetta.formats.seq.AudSeq(np.array(starts), np.array(ends), np.array(labels), tmp_path / "theirs.txt")
    theirs.to_file(tmp_path / "theirs.txt")
    expect_taken(tmp_path / "theirs.txt", "audacity", labelled(plain(said)), videos=folder / "a.mp4")


# CVAT and Datumaro


def test_cvat_and_datumaro(tmp_path: Path, folder: Path) -> None:
    """Datumaro, by the makers of CVAT, reads a track as its key frames; what it then writes is read."""
    datumaro = pytest.importorskip("datumaro")
    said = timeline("a.mp4")
    (tmp_path / "given").mkdir()
    saved(tmp_path, "cvat", said).rename(tmp_path / "given" / "annotations.xml")
    data = datumaro.Dataset.import_from(str(tmp_path / "given"), "cvat")
    labels = data.categories()[datumaro.AnnotationType.label]
    assert tuple(one.name for one in labels) == ODD
    ends: dict[int, list[tuple[str, int, bool]]] = {}
    for item in data:
        for one in item.annotations:
            key = labels[one.label].name, int(item.attributes["frame"]), one.attributes["outside"]
            ends.setdefault(one.attributes["track_id"], []).append(key)
    tracks = [sorted(one, key=lambda end: end[1]) for one in ends.values()]
    assert all([outside for *_, outside in one] == [False, True] for one in tracks)
    expect_same([(first[0], first[1] / FPS, last[1] / FPS) for first, last in tracks], labelled(plain(said)))

    data.export(str(tmp_path / "theirs"), "datumaro", save_media=False)
    [path] = (tmp_path / "theirs").rglob("*.json")
    rows = taken(path, "datumaro", videos=folder / "a.mp4", fps=FPS)
    expect_same(labelled(rows), labelled(plain(said)))


def test_tags_and_datumaro(tmp_path: Path, folder: Path) -> None:
    """Labels of frames that Datumaro writes, as its own JSON and as "CVAT for images 1.1"."""
    datumaro = pytest.importorskip("datumaro")
    frames = {12: (0,), 13: (0, 1), 14: (1,), 90: (0,)}
    picture = datumaro.Image.from_numpy(np.zeros((32, 48, 3), np.uint8))
    items = [
        datumaro.DatasetItem(
            f"frame_{frame:06d}",
            annotations=list(map(datumaro.Label, labels)),
            attributes={"frame": frame},
            media=picture,
        )
        for frame, labels in frames.items()
    ]
    data = datumaro.Dataset.from_iterable(items, categories=["jump", "Käse & <b>"])
    wanted = [("jump", 12 / FPS, 14 / FPS), ("Käse & <b>", 13 / FPS, 15 / FPS), ("jump", 90 / FPS, 91 / FPS)]
    for format, suffix in (("datumaro", "json"), ("cvat", "xml")):
        data.export(str(tmp_path / format), format, save_media=False)
        [path] = (tmp_path / format).rglob(f"*.{suffix}")
        expect_taken(path, format, wanted, videos=folder / "a.mp4", fps=FPS)


# Label Studio


def test_label_studio_and_its_sdk(tmp_path: Path) -> None:
    """Tasks that the labelling page's interface takes; the converter's JSON_MIN and the SDK's own regions are read."""
    pytest.importorskip("label_studio_sdk")
    from label_studio_sdk.converter import Converter
    from label_studio_sdk.label_interface import LabelInterface

    page = '<View><Video name="video" value="$video"/><TimelineLabels name="videoLabels" toName="video">'
    page += "".join(f"<Label value={quoteattr(label)}/>" for label in ODD) + "</TimelineLabels></View>"
    interface = LabelInterface(page)
    said = timeline("a.mp4", "b.mp4")
    tasks = json.loads(saved(tmp_path, "label-studio", said).read_text("utf-8"))
    guesses = [guess for task in tasks for guess in task["predictions"]]
    assert [interface.validate_prediction(guess, return_errors=True) for guess in guesses] == [[], []]
    wrong = json.loads(json.dumps(guesses[0]).replace('"jump', '"jmp').replace("Labels", "Label"))
    assert interface.validate_prediction(wrong, return_errors=True) != []
    found = []
    for task in tasks:
        for region in task["predictions"][0]["result"]:
            [span], [label] = region["value"]["ranges"], region["value"]["timelinelabels"]
            found.append((task["data"]["video"], label, (span["start"] - 1) / FPS, span["end"] / FPS))
    expect_same(found, [(one.path, one.label, one.start, one.end) for one in said.segments])

    for number, task in enumerate(tasks):
        guess = task.pop("predictions")[0]
        task |= {"id": number, "annotations": [{"id": number, "was_cancelled": False, "result": guess["result"]}]}
    source, target = tmp_path / "tasks.json", tmp_path / "min"
    source.write_text(json.dumps(tasks), "utf-8")
    Converter(page, str(tmp_path)).convert_to_json_min(str(source), str(target), is_dir=False)
    [path] = target.glob("*.json")
    expect_same(taken(path, "label-studio", fps=FPS), plain(said))

    for _ in range(10):
        guess = interface.generate_sample_prediction()
        (tmp_path / "sample.json").write_text(json.dumps([{"data": {"video": "a.mp4"}, "predictions": [guess]}]))
        wanted = [
            ("a.mp4", (span["start"] - 1) / FPS, span["end"] / FPS, label, "")
            for region in guess["result"]
            for span in region["value"]["ranges"]
            for label in region["value"]["timelinelabels"]
        ]
        expect_same(taken(tmp_path / "sample.json", "label-studio", fps=FPS), wanted)


# BORIS


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """BORIS's own functions, without its window."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    pytest.importorskip("boris")
    try:
        from boris import config, export_events, observation_operations, project_functions
    except SystemExit:
        pytest.skip("BORIS does not start without libmpv")
    return SimpleNamespace(
        config=config, export=export_events, observations=observation_operations, projects=project_functions
    )


def opened(program: SimpleNamespace, path: Path) -> dict[str, Any]:
    """A project as BORIS opens it; its own check finds nothing wrong but videos that are not there."""
    _, _, project, told = program.projects.open_project_json(str(path))
    assert "error" not in project and told == "", project
    checked = program.projects.check_project_integrity(project, "seconds", str(path), media_file_available=False)
    assert checked == "", checked
    return dict(project)


def exported(program: SimpleNamespace, project: dict[str, Any], path: Path, aggregated: bool) -> Path:
    """Events as a table, by the function behind BORIS's menu; its dialogs are answered."""
    config, export = program.config, program.export
    subjects = [one["name"] for one in project["subjects_conf"].values()]
    chosen = {
        "time": config.TIME_EVENTS,
        config.SELECTED_SUBJECTS: [config.NO_FOCAL_SUBJECT, *subjects],
        config.SELECTED_BEHAVIORS: [one["code"] for one in project["behaviors_conf"].values()],
    }
    kind = {".tsv": config.TSV, ".csv": config.CSV}[path.suffix]
    every = [*project["observations"]]
    with (
        mock.patch.object(export.select_observations, "select_observations2", return_value=(None, every)),
        mock.patch.object(export.select_subj_behav, "choose_obs_subj_behav_category", return_value=chosen),
        mock.patch.object(export.dialog, "MessageDialog", return_value=config.YES),
        mock.patch.object(export.QFileDialog, "getSaveFileName", return_value=(str(path), kind)),
    ):
        (export.export_aggregated_events if aggregated else export.export_tabular_events)(SimpleNamespace(pj=project))
    return path


def test_boris(program: SimpleNamespace, tmp_path: Path) -> None:
    said = timeline("a.mp4", "more/c d.mp4", subjects=("", ANNA, RAT))
    path = saved(tmp_path, "boris", said)
    project = opened(program, path)
    _, frame = program.projects.project2dataframe(project)
    columns = ["Source", "Start (s)", "Stop (s)", "Behavior", "Subject"]
    found = [tuple(row) for row in frame[columns].itertuples(index=False)]
    wanted = [(one.path, one.start, one.end, one.label, one.subject or "No focal subject") for one in said.segments]
    expect_same(found, wanted, 0.0005)
    for name in ("events.tsv", "events.csv"):
        expect_same(taken(exported(program, project, tmp_path / name, True), "boris"), plain(said), 0.0005)
    single = timeline("a.mp4", subjects=("", ANNA, RAT))
    project = opened(program, saved(tmp_path, "boris", single))
    for name in ("tabular.tsv", "tabular.csv"):
        expect_same(taken(exported(program, project, tmp_path / name, False), "boris"), plain(single), 0.0005)


@pytest.mark.parametrize(("offset", "dated"), [(0.0, False), (100.0, False), (0.0, True)])
def test_videos_one_after_the_other_in_boris(
    program: SimpleNamespace, tmp_path: Path, offset: float, dated: bool
) -> None:
    """In which video a moment is, and what tables say of it, as BORIS itself tells it."""
    begin = 1_714_550_000.0 if dated else offset
    events = [[begin + time, "", "groom", "", ""] for time in (1.0, 2.0, 9.5, 10.0)]
    value = boris(events, ["a.mp4", "b.mp4"], media_creation_date_as_offset=dated)
    observation = value["observations"]["morning"]
    observation |= {"time offset": offset, "observation time interval": [0, 0]}
    observation["media_info"]["media_creation_time"] = {"a.mp4": begin, "b.mp4": begin + 8}
    path = tmp_path / "two.boris"
    path.write_text(json.dumps(value))
    rows = taken(path, "boris")
    assert rows == [("a.mp4", 1.0, 2.0, "groom", ""), ("b.mp4", 1.5, 2.0, "groom", "")]
    _, _, project, _ = program.projects.open_project_json(str(path))
    observation = project["observations"]["morning"]
    if not offset:  # which this function of BORIS leaves out of account
        told = [program.observations.event2media_file_name(observation, one[0]) for one in observation["events"][::2]]
        assert told == [row[0] for row in rows]
    if not dated:  # a table does not tell when a video was made
        for name, aggregated in (("flat.tsv", False), ("whole.tsv", True)):
            expect_same(taken(exported(program, project, tmp_path / name, aggregated), "boris"), rows, 0.0005)
