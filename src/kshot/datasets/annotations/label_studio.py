"""Label Studio: tasks as JSON or JSON_MIN.

By https://labelstud.io/tags/timelinelabels, .../tags/videorectangle and .../guide/export. Ranges of `timelinelabels`
are frames, counted from 1, the last one included; a sequence of `videorectangle` is on from an enabled key frame to the
next that is not; regions of an audio track count seconds. Regions of people come before those of models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import kshot
from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, expect, number
from kshot.datasets.annotations.places import Places
from kshot.errors import DataError
from kshot.video.container import SUFFIXES

_MEDIA = ("video", "video_url", "url", "audio", "file")


def mine(source: Source) -> bool:
    """Whether it is a list of tasks (or one task) with regions, or JSON_MIN with regions of time."""
    tasks = source.value if source.kind == "json" and isinstance(source.value, list) else [source.value]
    first = tasks[0] if source.kind == "json" and tasks else None
    if not isinstance(first, dict):
        return False
    if isinstance(first.get("data"), dict) and ({"annotations", "predictions", "completions"} & first.keys()):
        return True
    return any(_is_min(value) for task in tasks[:20] if isinstance(task, dict) for value in task.values())


def read(source: Source, places: Places) -> Annotations:
    """Regions of time and tracks of rectangles as segments; everything else is counted."""
    said = Annotations()
    tasks = source.value if isinstance(source.value, list) else [source.value]
    for index, task in enumerate(tasks):
        place = f"{source.path.name}: task {index + 1}"
        data = expect(task, dict, place).get("data", task)
        video = _video(data, place)
        fps = data.get("fps")
        own = number(fps, f"{place}: fps") if fps is not None else None
        said.films[video] = Film(own)
        for region in _regions(task, said, place):
            for start, end, label, score in _taken(region, said, places, video, own, place):
                said.segments.append(Segment(video, start, end, label, score=score))
    return said


def _video(data: dict[str, Any], place: str) -> str:
    """The address of a task's video: one of the usual names, or the only text that ends as a video."""
    for key in _MEDIA:
        if isinstance(data.get(key), str):
            return str(data[key])
    found = [value for value in data.values() if isinstance(value, str) and PurePath(value).suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(f"{place}: its data names no video, found {', '.join(map(str, data)) or 'nothing'}")
    return found[0]


def _is_min(value: Any) -> bool:
    """Whether a value of JSON_MIN is a list of regions of time."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and {"ranges", "timelinelabels"} <= first.keys()


def _regions(task: dict[str, Any], said: Annotations, place: str) -> Iterator[dict[str, Any]]:
    if "data" not in task:  # JSON_MIN
        for value in task.values():
            for one in value if _is_min(value) else ():
                yield {"type": "timelinelabels", "value": one}
        return
    every = task.get("annotations") or task.get("completions") or []
    done = [one for one in every if not one.get("was_cancelled")]
    for _ in range(len(every) - len(done)):
        said.leave("annotation", "that was skipped left out", place)
    for _ in task.get("drafts") or []:
        said.leave("draft", "left out", place)
    guessed = task.get("predictions") or []
    for _ in done[1:]:
        said.leave("further annotation", "not kept: segments are of the first of a task", place)
    chosen = done[:1] or guessed[-1:]
    if done and guessed:
        said.leave("prediction", "not kept: people's annotations come first", place)
    for one in chosen:
        yield from expect(one.get("result"), list, f"{place}: result")


def _taken(
    region: dict[str, Any], said: Annotations, places: Places, video: str, own: float | None, place: str
) -> Iterator[tuple[float, float, str, float | None]]:
    """(start, end, label, score) of what a region says."""
    kind, value = region.get("type"), region.get("value")
    if not isinstance(value, dict):
        said.leave(f"region of type '{kind}'", "not kept", place)
        return
    score = region.get("score")
    score = None if score is None else number(score, f"{place}: score")
    if kind == "timelinelabels":
        labels = expect(value.get("timelinelabels"), list, f"{place}: timelinelabels")
        for one in expect(value.get("ranges"), list, f"{place}: ranges"):
            first, last = (number(one.get(key), f"{place}: {key} of a range") for key in ("start", "end"))
            rate = places.rate(video, own)
            for label in labels:
                yield (first - 1) / rate, last / rate, str(label), score
    elif "sequence" in value:
        count, length = value.get("framesCount"), value.get("duration")
        rate = places.rate(video, own or (count / length if count and length else None))
        labels = expect(value.get("labels") or [], list, f"{place}: labels")
        if not labels:
            said.leave("rectangle", "without a label left out", place)
            return
        said.leave("rectangle", "kept without its place in the picture", place)
        for first, last in _on(value["sequence"], int(count or 0), place):
            for label in labels:
                yield (first - 1) / rate, last / rate, str(label), score
    elif kind == "labels" and {"start", "end"} <= value.keys():
        for label in expect(value.get("labels") or [], list, f"{place}: labels"):
            yield number(value["start"], place), number(value["end"], place), str(label), score
    elif kind not in ("video", None):
        said.leave(f"region of type '{kind}'", "not kept", place)


def _on(sequence: Any, count: int, place: str) -> Iterator[tuple[float, float]]:
    """(first, last) frames in which a sequence of key frames is on."""
    begun: float | None = None
    keys = sorted(expect(sequence, list, f"{place}: sequence"), key=lambda one: number(one.get("frame"), place))
    for key in keys:
        frame = number(key["frame"], place)
        begun = frame if begun is None else begun
        if key.get("enabled") is False:
            yield begun, frame
            begun = None
    if begun is not None:
        yield begun, max(count, number(keys[-1]["frame"], place))


def write(said: Annotations) -> str:
    """A task with predictions for each video: regions of the tag TimelineLabels, in frames from 1.

    The tags are called `video` (with `value="$video"` and `frameRate="$fps"`) and `videoLabels`.

    Raises:
        DataError: nobody says how many frames a second a video has.
    """
    by_video: dict[str, list[tuple[int, Segment]]] = {video: [] for video in said.films}
    for number_, segment in enumerate(said.segments):
        by_video.setdefault(segment.path, []).append((number_, segment))
    tasks = []
    for video, segments in by_video.items():
        film = said.films.get(video, Film())
        if not film.fps:
            raise DataError(f"Label Studio counts frames, and nobody says how many {video} has a second")
        fps = film.fps
        longest = max((segment.end or 0.0 for _, segment in segments), default=0.0)
        last = max(1, round((film.seconds or longest) * fps))
        regions = []
        for index, one in segments:
            start = min(last, int((one.start or 0.0) * fps + 0.5) + 1)
            span = {"start": start, "end": min(last, max(start, int((one.end or 0.0) * fps + 0.5)))}
            regions.append(
                {
                    "id": f"kshot-{index}",
                    "from_name": "videoLabels",
                    "to_name": "video",
                    "type": "timelinelabels",
                    "score": round(one.score or 0.0, 4),
                    "value": {"ranges": [span], "timelinelabels": [one.label]},
                }
            )
        predictions = [{"model_version": f"kshot {kshot.__version__}", "result": regions}]
        tasks.append({"data": {"video": video, "fps": fps}, "predictions": predictions})
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"
