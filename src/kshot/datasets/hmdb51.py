"""HMDB51 (Kuehne et al., ICCV 2011): 6,766 clips of 51 actions; split of ARN (Zhang et al., ECCV 2020)."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from kshot.datasets.benchmark import Benchmark, ListedClip, contradiction, table

COUNTS = {
    "train": table("""
        brush_hair 107, catch 102, chew 109, clap 130, climb 108, climb_stairs 112, dive 127, draw_sword 103,
        dribble 145, drink 164, fall_floor 136, flic_flac 107, handstand 113, hug 118, jump 151, kiss 102,
        pullup 104, punch 126, push 116, ride_bike 103, ride_horse 116, shake_hands 162, shoot_bow 112,
        situp 105, stand 154, sword 127, sword_exercise 127, throw 102, turn 240, walk 548, wave 104
    """),
    "val": table("""
        cartwheel 107, eat 108, golf 105, hit 127, laugh 128, shoot_ball 131, shoot_gun 103, smile 102,
        somersault 140, swing_baseball 143
    """),
    "test": table("""
        fencing 116, kick 130, kick_ball 128, pick 106, pour 106, pushup 103, run 232, sit 142, smoke 109,
        talk 120
    """),
}
_LABELS = "|".join(sorted((label for labels in COUNTS.values() for label in labels), key=len, reverse=True))
_TAGS = r"[fuhl]_(?:cm|nm)_np\d+_(?:fr|ba|le|ri)_(?:goo|med|bad)_\d+"  # body part, camera, people, side, quality, part
_NAME = re.compile(rf"(.*?)_({_LABELS})_{_TAGS}")
_KEPT = ("draw_sword", "ride_bike", "shake_hands", "shoot_bow")


def parse_path(path: PurePosixPath) -> ListedClip | None:
    """`brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi`: the video's title stands before the class."""
    folder, match = path.parent.name, _NAME.fullmatch(path.stem)
    if re.fullmatch(_LABELS, folder):
        match = re.fullmatch(rf"(.*?)_({folder})_{_TAGS}", path.stem)
        if match is None:
            raise contradiction(path, f"its folder says '{folder}'", "its name is none of HMDB51's of that class")
    return ListedClip(f"{match[2]}/{path.stem}", match[2], match[1]) if match else None


def readable(label: str) -> str:
    """`draw_sword` -> `draw sword`."""
    return label.replace("_", " ")


def published(label: str) -> str:
    """As CLIP-FSAR prompts with it: four classes keep their underscore."""
    return label if label in _KEPT else readable(label)


HMDB51 = Benchmark(
    name="hmdb51",
    title="HMDB51",
    source="ARN, Zhang et al., ECCV 2020",
    videos="hmdb51_org.rar from https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
    classes={split: tuple(counts) for split, counts in COUNTS.items()},
    clips={split: sum(counts.values()) for split, counts in COUNTS.items()},
    digests={
        "train": "fd53d556e938da4b2081663f093528c1d2b4471a24c423f84a99a214d3c79730",
        "val": "3e21825de4e2ad9a17f46c8487ea92dca6c2cb28cdffba518d8d7d39aaa6a9fd",
        "test": "1a78e86fb4045af3f7bc340dae2247fa07de46fd2d44be1e669fdab8540c9e09",
    },
    read=parse_path,
    readable=readable,
    published=published,
    counts={label: count for counts in COUNTS.values() for label, count in counts.items()},
)
