"""Datumaro JSON, as CVAT exports it: labels of frames and boxes of tracks, numbered from 0.

By https://docs.cvat.ai/docs/dataset_management/formats/format-datumaro and the files that CVAT and Datumaro write. An
item is a frame: its number is `attr.frame`, or stands in its id ("frame_000012"). CVAT writes every frame in which a
track is on; Datumaro writes its key frames, and those that are `outside` end it.
"""

from __future__ import annotations

import re
from typing import Any

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, expect, number, runs, shown, switched
from kshot.datasets.annotations.places import Places
from kshot.errors import DataError


def mine(source: Source) -> bool:
    """Whether it is a file of Datumaro."""
    return source.has("items", "categories")


def read(source: Source, places: Places) -> Annotations:
    """Successive frames with a label, or a track, as segments; boxes, masks and captions are counted."""
    value, name = source.value, source.path.name
    labels = [one["name"] for one in value["categories"]["label"]["labels"]]
    video = places.only()
    said = Annotations(labels=tuple(labels))
    rate = places.rate(video)
    said.films[video] = Film(rate)
    tagged: dict[tuple[str, Any], list[tuple[int, bool]]] = {}
    for item in expect(value["items"], list, f"{name}: items"):
        frame = _frame(item, name)
        for one in item.get("annotations", []):
            attributes = one.get("attributes") or {}
            kind, track = one.get("type"), attributes.get("track_id")
            label = one.get("label_id")
            if label is None or (kind != "label" and track is None):
                said.leave(f"{kind} of a single frame", "left out: no stretch of time", f"frame {frame}")
                continue
            if not isinstance(label, int) or not 0 <= label < len(labels):
                raise DataError(
                    f"{name}: frame {frame} has label number {shown(label)}, the file lists {len(labels)} labels"
                )
            tagged.setdefault((labels[label], track), []).append((frame, attributes.get("outside") is True))
            if kind != "label":
                said.leave("box of a track", "kept without its place in the picture", f"frame {frame}")
    last = max((frame for shapes in tagged.values() for frame, _ in shapes), default=0)
    for (label, _), shapes in tagged.items():
        if any(outside for _, outside in shapes):
            stretches = list(switched(shapes, last))
        else:
            stretches = [(first, end + 1) for first, end in runs(frame for frame, _ in shapes)]
        said.segments += [Segment(video, first / rate, stop / rate, label) for first, stop in stretches]
    return said


def _frame(item: Any, name: str) -> int:
    found = (item.get("attr") or {}).get("frame")
    if found is None:
        digits = re.search(r"(\d+)(?:\.\w+)?$", str(item.get("id", "")))
        found = digits[1] if digits else None
    return int(number(found, f"{name}: frame of item '{item.get('id')}'"))
