"""Annotations that were spoilt at one place: each is read, or refused in one line; nothing else ever happens."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kshot.datasets import annotations as formats
from kshot.datasets.annotations import FORMATS, Annotations, Places, Segment
from kshot.datasets.annotations.forms import Film
from kshot.datasets.annotations.loading import gather
from kshot.errors import KshotError

SPOILT: tuple[Any, ...] = (None, "", "x", -1, 0, 1e308, -0.5, True, [], {}, [[]], [None], {"a": 1}, "9" * 5000, "\x00")
ROUNDS = 60  # of each format

GIVEN = Annotations(
    [Segment("a.mp4", 1.0, 2.0, "jump", subject="Anna"), Segment("a.mp4", 3.0, 4.5, "run", score=0.5)],
    {"a.mp4": Film(25.0, 8.0, (48, 32))},
    labels=("jump", "run"),
)

SEQUENCE = {
    "type": "videorectangle",
    "value": {
        "framesCount": 200, "duration": 8.0, "labels": ["jump"],
        "sequence": [{"frame": 1, "enabled": True, "time": 0.04}, {"frame": 50, "enabled": False, "time": 2.0}],
    },
}  # fmt: skip
EXTRA: dict[str, Any] = {
    "boxes.json": [{"data": {"video": "a.mp4"}, "annotations": [{"result": [SEQUENCE], "was_cancelled": False}]}],
    "datumaro.json": {
        "categories": {"label": {"labels": [{"name": "jump"}, {"name": "run"}]}},
        "items": [
            {"id": "frame_000003", "attr": {"frame": 3}, "annotations": [{"type": "label", "label_id": 0}]},
            {
                "id": "frame_000004",
                "annotations": [{"type": "bbox", "label_id": 1, "attributes": {"track_id": 1, "outside": False}}],
            },
        ],
    },
    "results.json": {"version": "1", "results": {"a.mp4": [{"label": "x", "segment": [0, 1], "score": 0.5}]}},
    "night.json": {
        "video": "a.mp4", "duration": 8.0, "fps": 25.0, "looked_at": 3, "classes": ["jump"],
        "segments": [{"start": 0.0, "end": 1.0, "label": "jump", "score": 0.5}],
    },
}  # fmt: skip


def places(path: Path) -> Places:
    return Places(path, fps=25.0)


def either(path: Path) -> None:
    """Reads a file, or sees it refused in one line; what is read is taken as clips the same way."""
    try:
        _, said = formats.read(path, places(path))
        said.sentences()
        if all(one.start is not None and one.end is not None for one in said.segments):
            for name in formats.writable():
                try:
                    formats.write(said, name)
                except KshotError:
                    continue
    except KshotError as error:
        assert "\n" not in str(error) and len(str(error)) < 700, str(error)
    try:
        gather([path], fps=25.0, missing="keep")
    except KshotError as error:
        assert "\n" not in str(error)


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within a value of JSON."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from nodes(one, (*path, key))


def spoilt(value: Any, rng: random.Random) -> Any:
    """A copy in which one value is another, or gone."""
    made = copy.deepcopy(value)
    *way, last = rng.choice(list(nodes(made)))
    place = made
    for key in way:
        place = place[key]
    if rng.random() < 0.25:
        del place[last]
    else:
        place[last] = rng.choice(SPOILT)
    return made


JSON = ("boris", "label-studio", "via", "activitynet")


@pytest.mark.parametrize("name", [*JSON, *EXTRA])
def test_json_spoilt_at_one_place(name: str, tmp_path: Path) -> None:
    value = json.loads(formats.write(GIVEN, name)[0]) if name in JSON else EXTRA[name]
    rng = random.Random(name)
    path = tmp_path / "x.json"
    (tmp_path / "x.mp4").write_bytes(b"")
    for _ in range(ROUNDS):
        path.write_text(json.dumps(spoilt(value, rng)))
        either(path)


@pytest.mark.parametrize("name", ["elan", "cvat"])
def test_xml_spoilt_at_one_place(name: str, tmp_path: Path) -> None:
    text = formats.write(GIVEN, name)[0]
    rng = random.Random(name)
    path = tmp_path / f"x{FORMATS[name].suffix}"
    for _ in range(ROUNDS):
        root = ElementTree.fromstring(text)
        one = rng.choice(list(root.iter()))
        if one.attrib and rng.random() < 0.6:
            key = rng.choice(list(one.attrib))
            if rng.random() < 0.3:
                del one.attrib[key]
            else:
                one.attrib[key] = rng.choice(("", "x", "-5", "1e999", "nan", "9" * 400))
        elif len(one) and rng.random() < 0.5:
            one.remove(rng.choice(list(one)))
        else:
            one.text = rng.choice(("", "x", "-5", "nan", "step=0", "step=x"))
        path.write_bytes(ElementTree.tostring(root))
        either(path)


@pytest.mark.parametrize("name", ["vtt", "srt", "audacity", "csv"])
def test_text_spoilt_at_one_place(name: str, tmp_path: Path) -> None:
    text = formats.write(GIVEN, name)[0]
    rng = random.Random(name)
    path = tmp_path / f"x{FORMATS[name].suffix}"
    (tmp_path / "x.mp4").write_bytes(b"")
    for _ in range(ROUNDS):
        at = rng.randrange(len(text))
        piece = rng.choice(("", "-", ":", ",", "\t", "\n", '"', "9" * 30, "-->", "\u00e4", "\u200b", "x"))
        path.write_text(text[:at] + piece + text[at + rng.randrange(3) :], "utf-8")
        either(path)


@pytest.mark.parametrize("name", formats.writable())
def test_a_file_that_breaks_off(name: str, tmp_path: Path) -> None:
    """As a full disk or a broken download leaves it."""
    data = formats.write(GIVEN, name)[0].encode()
    path = tmp_path / f"x{FORMATS[name].suffix}"
    (tmp_path / "x.mp4").write_bytes(b"")
    for length in range(0, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:length])
        either(path)
