"""ActivityNet JSON, in which THUMOS and others are handed out too: annotations, and results of a detector.

By http://activity-net.org/challenges/2020/tasks/anet_localization.html and the files themselves: `database` (or
nothing around it) -> video -> `annotations` of `label` and `segment` [start, end] in seconds; results have `results` ->
video -> a list with `score`. Labels may overlap, and the same ones occur in every subset.
"""

from __future__ import annotations

import json
from typing import Any

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, expect, number
from kshot.datasets.annotations.places import Places

SUBSETS = {"training": "train", "train": "train", "validation": "val", "val": "val", "testing": "test", "test": "test"}


def mine(source: Source) -> bool:
    """Whether it maps videos to annotations or results."""
    if source.kind != "json" or not isinstance(source.value, dict):
        return False
    if source.has("database") or source.has("results", "version"):
        return True
    entries = list(source.value.values())
    return bool(entries) and all(isinstance(one, dict) and isinstance(one.get("annotations"), list) for one in entries)


def read(source: Source, places: Places) -> Annotations:
    """The segments of all subsets."""
    value, name, said = source.value, source.path.name, Annotations()
    key = next((key for key in ("database", "results") if key in value), "")
    for video, entry in expect(value[key] if key else value, dict, f"{name}: {key or 'its videos'}").items():
        about = entry if isinstance(entry, dict) else {"annotations": entry}
        length, fps = about.get("duration", about.get("duration_second")), about.get("fps")
        place = f"{name}: video '{video}'"
        said.films[video] = Film(
            None if fps is None else number(fps, f"{place}: fps"),
            None if length is None else number(length, f"{place}: duration"),
        )
        subset = str(about.get("subset", "")).lower()
        found = expect(about.get("annotations"), list, f"{place}: annotations")
        if not found:
            said.leave("video", "without a segment passed over", f"'{video}' of subset '{subset}'")
        for one in found:
            times = expect(one["segment"], list, f"{place}: segment")
            if len(times) != 2:
                said.leave("segment", "without start and end left out", place)
                continue
            start, end = (number(time, f"{place}: segment") for time in times)
            score = None if one.get("score") is None else number(one["score"], f"{place}: score")
            label = expect(one["label"], str, f"{place}: label")
            said.segments.append(Segment(video, start, end, label, split=SUBSETS.get(subset, ""), score=score))
    return said


def write(said: Annotations) -> str:
    """`database` with the segments of each video."""
    database: dict[str, Any] = {}
    subset_of = {"train": "training", "val": "validation", "test": "testing", "": ""}
    for video in dict.fromkeys([*said.films, *(segment.path for segment in said.segments)]):
        film = said.films.get(video, Film())
        database[video] = {"subset": "", "annotations": []}
        database[video] |= {"duration": round(film.seconds, 3)} if film.seconds else {}
        database[video] |= {"fps": film.fps} if film.fps else {}
    for one in said.segments:
        score = {} if one.score is None else {"score": round(one.score, 4)}
        entry = {"label": one.label, "segment": [round(one.start or 0.0, 3), round(one.end or 0.0, 3)], **score}
        database[one.path]["annotations"].append(entry)
        database[one.path]["subset"] = subset_of.get(one.split, one.split)
    labels = list(dict.fromkeys([*said.labels, *(segment.label for segment in said.segments)]))
    taxonomy = [
        {"nodeId": index, "nodeName": label, "parentId": None, "parentName": None} for index, label in enumerate(labels)
    ]
    whole = {"version": "kshot", "taxonomy": taxonomy, "database": database}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"
