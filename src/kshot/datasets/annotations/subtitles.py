"""What WebVTT and SubRip share: cues of a start, an end and a text, which is the label."""

from __future__ import annotations

import re

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, seconds
from kshot.datasets.annotations.places import Places
from kshot.terminal import percent

ARROW = re.compile(r"[ \t]*([\d:.,]+)[ \t]+-->[ \t]+([\d:.,]+)(?:[ \t].*)?")
SCORED = re.compile(r"(.+) \((\d{1,3})\s?%\)")


def read(source: Source, places: Places, plain: bool) -> Annotations:
    """The cues of a file. Where every text ends as "(83 %)", as kshot writes them, that is the score.

    Args:
        source: the file.
        places: where its video is.
        plain: whether the texts are as they are meant; otherwise they have the marks of WebVTT.
    """
    said, video = Annotations(), places.only()
    said.films[video] = Film()
    found: list[tuple[float, float, str]] = []
    for number, block in enumerate(re.split(r"\n[ \t]*\n", source.text().replace("\r\n", "\n").replace("\r", "\n"))):
        lines = block.strip("\n").split("\n")
        lines = lines[1:] if lines[0].startswith("WEBVTT") and len(lines) > 1 else lines  # a cue right under it
        at = next((place for place, line in enumerate(lines[:2]) if ARROW.fullmatch(line)), None)
        if at is None:
            if "-->" in block and not lines[0].startswith(("NOTE", "STYLE", "REGION", "WEBVTT")):
                said.leave("cue", "whose times cannot be read left out", f"block {number + 1}")
            continue
        times = ARROW.fullmatch(lines[at])
        assert times is not None
        start, end = (seconds(text) for text in times.groups())
        text = " ".join(" ".join(lines[at + 1 :]).split())
        if not plain:
            text = re.sub(r"</?[a-z][^>]*>", "", text)
            for mark, sign in (("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", " "), ("&amp;", "&")):
                text = text.replace(mark, sign)
        if start is None or end is None or not text:
            said.leave("cue", "without a text or a time left out", f"block {number + 1}")
            continue
        found.append((start, end, text))
    scored = [SCORED.fullmatch(text) for *_, text in found]
    for (start, end, text), score in zip(found, scored, strict=True):
        if all(scored) and score is not None:
            said.segments.append(Segment(video, start, end, score[1], score=int(score[2]) / 100))
        else:
            said.segments.append(Segment(video, start, end, text))
    return said


def shown(segment: Segment) -> str:
    """The text of a cue: the label in one line, with its score where it has one."""
    label = " ".join(segment.label.split())
    return label if segment.score is None else f"{label} ({percent(segment.score)})"


def stamp(time: float | None, mark: str = ".") -> str:
    """The way to write a time, to the millisecond.

    Args:
        time: seconds.
        mark: before the milliseconds.

    >>> stamp(3661.5), stamp(0.25, ",")
    ('01:01:01.500', '00:00:00,250')
    """
    minutes, rest = divmod(round((time or 0.0) * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"
