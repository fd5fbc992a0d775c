"""VIA 3 of the Visual Geometry Group: projects (JSON) with temporal segments.

By the code documentation of VIA 3, https://gitlab.com/vgg/via (via-3.x.y/CodeDoc.md, src/js/_via_data.js). A segment is
an entry of `metadata` with `z` of two times in seconds and no `xy`; what it shows is the value of an attribute, or, for
attributes with options, the options' keys.
"""

from __future__ import annotations

import json
import os
from typing import Any

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, expect, number
from kshot.datasets.annotations.places import Places

TEMPORAL = "FILE1_Z2_XY0"
CHECKBOX = 2


def mine(source: Source) -> bool:
    """Whether it is a project of VIA 3."""
    return source.has("metadata", "attribute", "file", "view")


def read(source: Source, places: Places) -> Annotations:
    """Temporal segments; the label is the first attribute of temporal segments that has a value."""
    value, name, said = source.value, source.path.name, Annotations()
    attributes = expect(value["attribute"], dict, f"{name}: attribute")
    order = sorted(attributes, key=lambda key: attributes[key].get("anchor_id") != TEMPORAL)
    prefix = ((value.get("config") or {}).get("file") or {}).get("loc_prefix") or {}
    videos = {}
    for key, view in expect(value["view"], dict, f"{name}: view").items():
        files = [value["file"][str(one)] for one in view.get("fid_list", [])]
        if files:
            file = files[0]
            src = f"{prefix.get(str(file.get('loc')), '')}{file.get('src') or ''}"
            own = str(file.get("fname") or "")
            videos[key] = src if src and (not own or places.find(src)) else own or src
            said.films[videos[key]] = Film()
    for key, one in expect(value["metadata"], dict, f"{name}: metadata").items():
        times = expect(one.get("z"), list, f"{name}: metadata '{key}': z")
        if one.get("xy"):
            said.leave("region of a picture", "left out: no stretch of time", f"'{key}'")
            continue
        if len(times) != 2:
            kind = "point event" if len(times) == 1 else "remark on a whole file"
            said.leave(kind, "left out: they have no length" if len(times) == 1 else "not kept", f"'{key}'")
            continue
        start, end = (number(time, f"{name}: metadata '{key}': z") for time in times)
        labels: list[str] = []
        for attribute in order:
            found = _values(attributes[attribute], (one.get("av") or {}).get(attribute))
            if found and labels:
                said.leave("further attribute", "not kept", f"'{attributes[attribute].get('aname')}' of '{key}'")
            labels = labels or found
        if not labels:
            said.leave("segment", "without a label left out", f"'{key}'")
        said.segments += [Segment(videos[str(one["vid"])], start, end, label) for label in labels]
    said.labels = _options(attributes[order[0]]) if order else ()
    return said


def _values(attribute: dict[str, Any], value: Any) -> list[str]:
    """The texts of an attribute's value: of its options, where it has some."""
    if value in (None, ""):
        return []
    options = attribute.get("options") or {}
    keys = str(value).split(",") if attribute.get("type") == CHECKBOX else [str(value)]
    return [str(options.get(key, key)) for key in keys if key]


def _options(attribute: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(option) for option in (attribute.get("options") or {}).values())


def write(said: Annotations) -> str:
    """A project with a view for each video, and one attribute `action` with the labels as its options."""
    videos = list(dict.fromkeys([*said.films, *(segment.path for segment in said.segments)]))
    labels = list(dict.fromkeys([*said.labels, *(segment.label for segment in said.segments)]))
    options = {str(index): label for index, label in enumerate(labels)}
    key_of = {label: key for key, label in options.items()}
    view_of = {video: str(index) for index, video in enumerate(videos, 1)}
    metadata = {
        f"{view_of[one.path]}_k{index:05d}": {
            "vid": view_of[one.path],
            "flg": 0,
            "z": [round(one.start or 0.0, 3), round(one.end or 0.0, 3)],
            "xy": [],
            "av": {"1": key_of[one.label]},
        }
        for index, one in enumerate(said.segments)
    }
    project = {
        "project": {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": "kshot",
            "data_format_version": "3.1.1",
            "creator": "kshot",
            "created": 0,
            "vid_list": list(view_of.values()),
        },
        "config": {
            "file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}},
            "ui": {"file_content_align": "center", "file_metadata_editor_visible": True},
        },
        "attribute": {
            "1": {
                "aname": "action",
                "anchor_id": TEMPORAL,
                "type": 4,
                "desc": "what is done",
                "options": options,
                "default_option_id": "",
            }
        },
        "file": {
            view: {"fid": view, "fname": os.path.basename(video), "type": 4, "loc": 1, "src": video}
            for video, view in view_of.items()
        },
        "metadata": metadata,
        "view": {view: {"fid_list": [view]} for view in view_of.values()},
    }
    return json.dumps(project, ensure_ascii=False, indent=1) + "\n"
