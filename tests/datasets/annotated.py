"""What tests of annotations share: files as other programs write them, and what a file says that holds a text."""

from __future__ import annotations

import json
from pathlib import Path

from kshot.datasets import annotations as formats
from kshot.datasets.annotations import Annotations, Places

ODD = ('say "a, b"', "Käse & <b>", "跳ぶ", "it's; 100 %", "push (10 %)", "a\\b/c", "-->")
"""Labels with every sign that one of the formats has a meaning for."""

TABULAR = """Observation id\tmorning\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t
Media file(s)\t\t\t\t\t\t\t\t
Player #1\ta.mp4\t\t\t\t\t\t\t
Time offset (s)\t0.5\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t
Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tBehavioral category\tComment\tStatus
1.500\ta.mp4\t8.000\t25.0\tdog 1\tgroom\t\t\tSTART
2.000\ta.mp4\t8.000\t25.0\tNo focal subject\tbark\t\tloud\tPOINT
3.250\ta.mp4\t8.000\t25.0\tdog 1\tgroom\t\t\tSTOP
4.000\ta.mp4\t8.000\t25.0\tdog 1\tgroom\t\t\tSTART
5.000\ta.mp4\t8.000\t25.0\tdog 1\tgroom\t\t\tSTART
6.000\ta.mp4\t8.000\t25.0\tdog 1\tgroom\t\t\tSTOP
7.000\ta.mp4\t8.000\t25.0\tdog 2\tgroom\t\t\tSTOP
"""

FLAT = (
    "Observation id,Observation date,Description,Observation duration,Observation type,Source,Time offset (s),"
    "Media duration (s),FPS,Subject,Behavior,Behavioral category,Modifier #1,Behavior type,Time,Media file name,"
    "Image index,Image file path,Comment\n"
    + "".join(
        f"morning,2024-05-01 10:00:00,,16.0,Media file(s),player #1:a.mp4;b.mp4,0.0,8.000;8.000,25.000;25.000,"
        f'{subject},"groom, long",,{modifier},{kind},{time},a.mp4,NA,,\n'
        for subject, modifier, kind, time in (
            ("No focal subject", "", "START", 7.0),
            ("dog 1", "slow", "START", 7.5),
            ("No focal subject", "", "STOP", 9.0),
            ("dog 1", "slow", "STOP", 7.75),
        )
    )
)


def read(path: Path, text: str | dict | list, **places) -> Annotations:
    """What a file says that holds this text, or this value as JSON."""
    path.write_text(text if isinstance(text, str) else json.dumps(text, ensure_ascii=False), "utf-8")
    return formats.read(path, Places(path, **places))[1]


def plain(said: Annotations) -> list[tuple]:
    return [
        (one.path, *(None if time is None else round(time, 4) for time in (one.start, one.end)), one.label, one.subject)
        for one in said.segments
    ]


def boris(events: list, files: list[str], **more) -> dict:
    observation = {
        "file": {"1": files, "2": []},
        "type": "MEDIA",
        "date": "2024-05-01T10:00:00",
        "description": "",
        "time offset": 0.0,
        "events": events,
        "media_info": {"length": dict.fromkeys(files, 8.0), "fps": dict.fromkeys(files, 25.0)},
    }
    return {
        "project_format_version": "7.0",
        "behaviors_conf": {
            "0": {"type": "State event", "code": "groom", "key": "g"},
            "1": {"type": "Point event", "code": "bark", "key": "b"},
        },
        "subjects_conf": {"0": {"name": "dog 1", "key": "1"}},
        "observations": {"morning": observation | more},
    }


def task(result: list, video: str = "/data/upload/3/1a2b3c4d-a.mp4", **more) -> dict:
    return {
        "id": 1,
        "data": {"video": video},
        "annotations": [{"id": 1, "was_cancelled": False, "result": result}],
        **more,
    }
