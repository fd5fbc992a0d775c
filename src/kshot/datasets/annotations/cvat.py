"""CVAT: "CVAT for video 1.1" (tracks) and "CVAT for images 1.1" (tags of frames), both XML.

By https://docs.cvat.ai/docs/dataset_management/formats/format-cvat and .../format-xml. Frames are numbered from 0 in
the video. A track is on from its first shape up to the next that is `outside`; how its boxes lie is not kept. A tag
says something of one frame; successive frames with a tag of one label are a segment.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, number, runs, switched
from kshot.datasets.annotations.places import Places
from kshot.errors import DataError

SHAPES = ("box", "polygon", "polyline", "points", "mask", "skeleton", "cuboid", "ellipse")


def mine(source: Source) -> bool:
    """Whether it is an export of CVAT."""
    return source.kind == "xml" and source.value.tag == "annotations" and source.value.find("meta") is not None


def read(source: Source, places: Places) -> Annotations:
    """Tracks and tags as segments; shapes, attributes and what is drawn on single frames are counted."""
    root, said = source.value, Annotations()
    tasks = {task.findtext("id", ""): task for tag in ("task", "job") for task in root.iterfind(f"meta//{tag}")}
    tasks = tasks or {"": root.find("meta")}
    labels = [label.findtext("name") or "" for label in root.iterfind("meta//label") if not label.findtext("parent")]
    said.labels = tuple(labels)
    only = next(iter(tasks)) if len(tasks) == 1 else ""
    videos: dict[str, tuple[str, float, int, int]] = {}

    def video(task: str) -> tuple[str, float, int, int]:
        """Of a task: its video, frames a second, the last frame, and frames between those that are annotated."""
        if task not in videos:
            about = tasks.get(task, root.find("meta"))
            name = about.findtext(".//source") or (root.findtext("meta/source") or "") or places.only()
            rate = places.rate(name)
            step = _step(about.findtext("frame_filter") or "")
            stops = [number(stop.text, f"{source.path.name}: stop") for stop in about.iterfind(".//segment/stop")]
            last = int(max(stops, default=number(about.findtext("size") or 0, f"{source.path.name}: size") - 1))
            videos[task] = name, rate, last, step
            said.films[name] = Film(rate)
        return videos[task]

    for track in root.iterfind("track"):
        name, rate, last, step = video(track.get("task_id", only))
        label = track.get("label", "")
        frames = [int(number(one.get("frame"), f"{source.path.name}: frame")) for one in track]
        outside = [one.get("outside") == "1" for one in track]
        for first, stop in switched(zip(frames, outside, strict=True), last, step):
            said.segments.append(Segment(name, first / rate, stop / rate, label))
        said.leave("track", "kept without its boxes and attributes", f"'{label}'")
    tagged: dict[tuple[str, str], list[int]] = {}
    for image in root.iterfind("image"):
        frame = _frame(image, source.path.name)
        for one in image:
            if one.tag == "tag":
                tagged.setdefault((image.get("task_id", only), one.get("label", "")), []).append(frame)
                for _ in one.iterfind("attribute"):
                    said.leave("attribute of a tag", "not kept", f"on frame {frame}")
            elif one.tag in SHAPES:
                said.leave(f"{one.tag} of a single frame", "left out: no stretch of time", f"frame {frame}")
    for (task, label), frames in tagged.items():
        name, rate, _, step = video(task)
        for first, stop in runs(frames, step):
            said.segments.append(Segment(name, first / rate, (stop + step) / rate, label))
    return said


def _frame(image: Element, file: str) -> int:
    """The frame of an image: the number in its name, as CVAT names frames of videos, or its place in the task."""
    stem = (image.get("name") or "").rpartition("/")[2].partition(".")[0]
    if stem.startswith("frame_") and stem[6:].isdecimal():
        return int(stem[6:])
    return int(number(image.get("id"), f"{file}: id of an image"))


def _step(text: str) -> int:
    """Frames from one that is annotated to the next, from "step=5"."""
    found = text.replace(" ", "").partition("step=")[2]
    return max(1, int(found)) if found.isdecimal() else 1


def write(said: Annotations) -> str:
    """A track for each segment, with a box of the whole frame at its first frame and `outside` after its last.

    Raises:
        DataError: a video whose frames a second nobody says.
    """
    video = next((one.path for one in said.segments), next(iter(said.films), ""))
    film = said.films.get(video, Film())
    if not film.fps and said.segments:
        raise DataError(f"CVAT counts frames, and nobody says how many {video} has a second")
    fps = film.fps or 1.0
    longest = max((segment.end or 0.0 for segment in said.segments), default=0.0)
    count = max(1, round((film.seconds or longest) * fps))
    width, height = film.size or (2, 2)
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    for name, text in (("name", "kshot"), ("size", str(count)), ("mode", "interpolation")):
        SubElement(task, name).text = text
    known = SubElement(task, "labels")
    for label in dict.fromkeys([*said.labels, *(segment.label for segment in said.segments)]):
        one = SubElement(known, "label")
        SubElement(one, "name").text = label
        SubElement(one, "attributes")
    part = SubElement(SubElement(task, "segments"), "segment")
    SubElement(part, "start").text, SubElement(part, "stop").text = "0", str(count - 1)
    size = SubElement(task, "original_size")
    SubElement(size, "width").text, SubElement(size, "height").text = str(width), str(height)
    SubElement(task, "source").text = video
    for index, segment in enumerate(said.segments):
        track = SubElement(root, "track", {"id": str(index), "label": segment.label, "source": "auto"})
        first = min(count - 1, round((segment.start or 0.0) * fps))
        stop = max(first + 1, round((segment.end or 0.0) * fps))
        shapes = [(first, "0"), (stop, "1")] if stop < count else sorted({(first, "0"), (count - 1, "0")})
        for frame, outside in shapes:
            SubElement(track, "box", {
                "frame": str(frame), "outside": outside, "occluded": "0", "keyframe": "1", "xtl": "0.00", "ytl": "0.00",
                "xbr": f"{width:.2f}", "ybr": f"{height:.2f}", "z_order": "0",
            })  # fmt: skip
    indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, "unicode") + "\n"
