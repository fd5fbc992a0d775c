"""What kshot writes is opened by other people's readers, and what they write is read, with the same segments.

Skipped where a package is missing. `pip install -e ".[formats-test]"` brings those that are small; datumaro,
label-studio-sdk and BORIS itself are installed by hand, see docs/annotations.md.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from xml.sax.saxutils import quoteattr

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
        marked = [(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"), *at) for text, *at in shown(said)]
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
        expect_same(labelled(taken(tmp_path / "theirs.srt", "srt", videos=folder / "a.mp4")), labelled(plain(said)), 0.0005)


def test_subtitles_and_webvtt_py(tmp_path: Path, folder: Path) -> None:
    """It shows WebVTT's marks as they stand in the file."""
    webvtt = pytest.importorskip("webvtt")
    said = timeline("a.mp4")
    found = []
    for cue in webvtt.read(str(saved(tmp_path, "vtt", said))):
        times = (cue.start_time, cue.end_time)
        start, end = (60 * (60 * one.hours + one.minutes) + one.seconds + one.milliseconds / 1000 for one in times)
        found.append((cue.text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"), start, end))
    expect_same(found, shown(said), 0.0005)

    theirs = webvtt.WebVTT()
    stamps = [[f"00:00:{one:06.3f}" for one in (segment.start, segment.end)] for segment in said.segments]
    safe = ["jump", "say &amp; do", "跳ぶ", "walk\nslowly", "<i>run</i>"] * 3
    theirs.captions.extend(webvtt.Caption(*at, text) for at, text in zip(stamps, safe, strict=True))
    theirs.save(str(tmp_path / "theirs.vtt"))
    labels = ["jump", "say & do", "跳ぶ", "walk slowly", "run"] * 3
    wanted = [(label, one.start, one.end) for label, one in zip(labels, said.segments, strict=True)]
    expect_same(labelled(taken(tmp_path / "theirs.vtt", "vtt", videos=folder / "a.mp4")), wanted, 0.0005)


def test_subtitles_and_pysubs2(tmp_path: Path, folder: Path) -> None:
    pysubs2 = pytest.importorskip("pysubs2")
    said = timeline("a.mp4")
    found = pysubs2.load(str(saved(tmp_path, "srt", said)), keep_html_tags=True)
    expect_same([(one.text, one.start / 1000, one.end / 1000) for one in found], shown(said), 0.0005)
    for name, format in (("theirs.srt", "srt"), ("theirs.vtt", "vtt")):
        theirs = pysubs2.SSAFile()
        theirs.extend(
            pysubs2.SSAEvent(start=round(1000 * one.start), end=round(1000 * one.end), text=label)
            for one, label in zip(said.segments, ["jump", "跳ぶ", "it's; 100 %"] * 5, strict=True)
        )
        theirs.save(str(tmp_path / name))
        rows = taken(tmp_path / name, format, videos=folder / "a.mp4")
        wanted = [(label, one.start, one.end) for one, label in zip(said.segments, ["jump", "跳ぶ", "it's; 100 %"] * 5, strict=True)]
        expect_same(labelled(rows), wanted, 0.0005)


# Audacity


def test_audacity_and_crowsetta(tmp_path: Path, folder: Path) -> None:
    crowsetta = pytest.importorskip("crowsetta")
    said = timeline("a.mp4")
    found = crowsetta.formats.seq.AudSeq.from_file(saved(tmp_path, "audacity", said))
    expect_same(zip(map(str, found.labels), found.start_times, found.end_times, strict=True), labelled(plain(said)), 1e-6)

    said.segments = [one for one in said.segments if '"' not in one.label]  # crowsetta quotes such a label, Audacity does not
    starts, ends, labels = zip(*((one.start, one.end, one.label) for one in said.segments), strict=True)
    theirs = crowsetta.formats.seq.AudSeq(np.array(starts), np.array(ends), np.array(labels), tmp_path / "theirs.txt")
    theirs.to_file(tmp_path / "theirs.txt")
    expect_same(labelled(taken(tmp_path / "theirs.txt", "audacity", videos=folder / "a.mp4")), labelled(plain(said)), 1e-6)
