"""Something-Something V2 (Goyal et al., ICCV 2017): two 100-class sets, Full (OTAM) and Small (CMN).

Do not mix them: nine base classes of Small are novel in Full, seven novel classes of Small are base in Full. The
classes are typed as the owners' templates; labels are these without brackets.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from kshot.datasets.benchmark import Benchmark, ListedClip, lines

FULL = {
    "train": lines("""
        Bending [something] until it breaks
        Closing [something]
        Covering [something] with [something]
        Dropping [something] behind [something]
        Dropping [something] in front of [something]
        Dropping [something] into [something]
        Folding [something]
        Holding [something]
        Holding [something] next to [something]
        Letting [something] roll along a flat surface
        Letting [something] roll down a slanted surface
        Lifting a surface with [something] on it but not enough for it to slide down
        Lifting [something] with [something] on it
        Moving away from [something] with your camera
        Moving [something] across a surface until it falls down
        Moving [something] and [something] closer to each other
        Moving [something] and [something] so they collide with each other
        Moving [something] down
        Moving [something] up
        Plugging [something] into [something]
        Poking a hole into [something soft]
        Poking [something] so lightly that it doesn't or almost doesn't move
        Poking [something] so that it falls over
        Pouring [something] into [something]
        Pouring [something] into [something] until it overflows
        Pouring [something] onto [something]
        Pretending to be tearing [something that is not tearable]
        Pretending to close [something] without actually closing it
        Pretending to pick [something] up
        Pretending to put [something] next to [something]
        Pretending to spread air onto [something]
        Pretending to take [something] out of [something]
        Pulling [something] onto [something]
        Pulling two ends of [something] so that it gets stretched
        Pulling two ends of [something] so that it separates into two pieces
        Pushing [something] from left to right
        Pushing [something] off of [something]
        Pushing [something] so that it falls off the table
        Pushing [something] so that it slightly moves
        Putting [number of] [something] onto [something]
        Putting [something] and [something] on the table
        Putting [something] onto a slanted surface but it doesn't glide down
        Putting [something] onto [something]
        Putting [something similar to other things that are already on the table]
        Showing a photo of [something] to the camera
        Showing [something] behind [something]
        [Something] colliding with [something] and both are being deflected
        Spilling [something] next to [something]
        Spilling [something] onto [something]
        Spinning [something] that quickly stops spinning
        Spreading [something] onto [something]
        Squeezing [something]
        Stuffing [something] into [something]
        Taking [something] from [somewhere]
        Tearing [something] into two pieces
        Tilting [something] with [something] on it slightly so it doesn't fall down
        Tilting [something] with [something] on it until it falls off
        Tipping [something] with [something in it] over, so [something in it] falls out
        Turning the camera downwards while filming [something]
        Turning the camera left while filming [something]
        Turning the camera upwards while filming [something]
        Twisting (wringing) [something] wet until water comes out
        Twisting [something]
        Uncovering [something]
    """),
    "val": lines("""
        Holding [something] over [something]
        Lifting [something] up completely, then letting it drop down
        Lifting up one end of [something], then letting it drop down
        Plugging [something] into [something] but pulling it right out as you remove your hand
        Pretending or failing to wipe [something] off of [something]
        Pretending to pour [something] out of [something], but [something] is empty
        Pushing [something] so it spins
        Putting [something] in front of [something]
        Scooping [something] up with [something]
        Showing [something] to the camera
        Taking [one of many similar things on the table]
        Throwing [something] in the air and catching it
    """),
    "test": lines("""
        Approaching [something] with your camera
        Digging [something] out of [something]
        Dropping [something] next to [something]
        Dropping [something] onto [something]
        Failing to put [something] into [something] because [something] does not fit
        Lifting up one end of [something] without letting it drop down
        Picking [something] up
        Poking a stack of [something] without the stack collapsing
        Pouring [something] out of [something]
        Pretending to open [something] without actually opening it
        Pretending to put [something] behind [something]
        Pretending to put [something] into [something]
        Pretending to put [something] underneath [something]
        Pretending to sprinkle air onto [something]
        Pulling [something] from left to right
        Pulling [something] out of [something]
        Pushing [something] from right to left
        Removing [something], revealing [something] behind
        Showing [something] next to [something]
        Showing that [something] is empty
        Spilling [something] behind [something]
        Taking [something] out of [something]
        Throwing [something] in the air and letting it fall
        Tipping [something] over
    """),
}
SMALL = {
    "train": lines("""
        Pouring [something] into [something]
        Poking a stack of [something] without the stack collapsing
        Pretending to poke [something]
        Lifting up one end of [something] without letting it drop down
        Moving [part] of [something]
        Moving [something] and [something] away from each other
        Removing [something], revealing [something] behind
        Plugging [something] into [something]
        Tipping [something] with [something in it] over, so [something in it] falls out
        Stacking [number of] [something]
        Putting [something] onto a slanted surface but it doesn't glide down
        Moving [something] across a surface until it falls down
        Throwing [something] in the air and catching it
        Putting [something that cannot actually stand upright] upright on the table, so it falls on its side
        Holding [something] next to [something]
        Pretending to put [something] underneath [something]
        Poking [something] so lightly that it doesn't or almost doesn't move
        Approaching [something] with your camera
        Poking [something] so that it spins around
        Pushing [something] so that it falls off the table
        Spilling [something] next to [something]
        Pretending or trying and failing to twist [something]
        Pulling two ends of [something] so that it separates into two pieces
        Lifting up one end of [something], then letting it drop down
        Tilting [something] with [something] on it slightly so it doesn't fall down
        Spreading [something] onto [something]
        Touching (without moving) [part] of [something]
        Turning the camera left while filming [something]
        Pushing [something] so that it slightly moves
        Uncovering [something]
        Moving [something] across a surface without it falling down
        Putting [something] behind [something]
        Attaching [something] to [something]
        Pulling [something] onto [something]
        Burying [something] in [something]
        Putting [number of] [something] onto [something]
        Letting [something] roll along a flat surface
        Bending [something] until it breaks
        Showing [something] behind [something]
        Pretending to open [something] without actually opening it
        Pretending to put [something] onto [something]
        Moving away from [something] with your camera
        Wiping [something] off of [something]
        Pretending to spread air onto [something]
        Holding [something] over [something]
        Pretending or failing to wipe [something] off of [something]
        Pretending to put [something] on a surface
        Moving [something] and [something] so they collide with each other
        Pretending to turn [something] upside down
        Showing [something] to the camera
        Dropping [something] onto [something]
        Pushing [something] so that it almost falls off but doesn't
        Piling [something] up
        Taking [one of many similar things on the table]
        Putting [something] in front of [something]
        Laying [something] on the table on its side, not upright
        Lifting a surface with [something] on it until it starts sliding down
        Poking [something] so it slightly moves
        Putting [something] into [something]
        Pulling [something] from right to left
        Showing that [something] is empty
        Spilling [something] behind [something]
        Letting [something] roll down a slanted surface
        Holding [something] behind [something]
    """),
    "val": lines("""
        Lifting [something] up completely without letting it drop down
        Pouring [something] into [something] until it overflows
        Putting [something], [something] and [something] on the table
        Trying to bend [something unbendable] so nothing happens
        Pouring [something] out of [something]
        Throwing [something] onto a surface
        Putting [something] onto [something else that cannot support it] so it falls down
        Pretending to pour [something] out of [something], but [something] is empty
        Pulling [something] out of [something]
        Holding [something] in front of [something]
        Tilting [something] with [something] on it until it falls off
        Moving [something] away from the camera
    """),
    "test": lines("""
        Twisting (wringing) [something] wet until water comes out
        Poking a hole into [something soft]
        Pretending to take [something] from [somewhere]
        Putting [something] upright on the table
        Poking a hole into [some substance]
        Rolling [something] on a flat surface
        Poking a stack of [something] so the stack collapses
        Twisting [something]
        [Something] falling like a feather or paper
        Putting [something] on the edge of [something] so it is not supported and falls down
        Pushing [something] off of [something]
        Dropping [something] into [something]
        Letting [something] roll up a slanted surface, so it rolls back down
        Pushing [something] with [something]
        Opening [something]
        Putting [something] on a surface
        Taking [something] out of [something]
        Spinning [something] that quickly stops spinning
        Unfolding [something]
        Moving [something] towards the camera
        Putting [something] next to [something]
        Scooping [something] up with [something]
        Squeezing [something]
        Failing to put [something] into [something] because [something] does not fit
    """),
}
_VIDEOS = (
    "20bn-something-something-v2-00 ... (or the zips around them) from "
    "https://developer.qualcomm.com/software/ai-datasets/something-something"
)
_TRX = "https://raw.githubusercontent.com/tobyperrett/trx/c5c23ec0bda1e47a5ce7f4f58a09e6fbee39dc86/splits"


def label(template: str) -> str:
    """`Closing [something]` -> `Closing something`."""
    return template.replace("[", "").replace("]", "")


_TEMPLATES = {label(template): template for kind in (FULL, SMALL) for split in kind.values() for template in split}


def parse_path(path: PurePosixPath) -> ListedClip | None:
    """`78687.webm`: the video's number."""
    return ListedClip(path.stem, "", path.stem) if path.stem.isdecimal() else None


def published(label: str) -> str:
    """As CLIP-FSAR prompts with it, the brackets of the template included."""
    return _TEMPLATES[label]


SSV2_FULL = Benchmark(
    name="ssv2-full",
    title="Something-Something V2 Full",
    source="OTAM, Cao et al., CVPR 2020; the training list of 67,013 clips",
    videos=_VIDEOS,
    classes={split: tuple(map(label, templates)) for split, templates in FULL.items()},
    clips={"train": 67_013, "val": 1_926, "test": 2_857},
    digests={
        "train": "f54645ee86569abc808bd8dd7dfb7c58a7cd8c54ac11fd06f4d31010035e7411",
        "val": "04dfb49cf8faf37d777ac868deb2ec98a9d664b8108effe92e0c3ee5bb68a166",
        "test": "8dffb8a145b8ad683d45f5e73b5e5968232e3c8739f7546a069120288ecd728b",
    },
    read=parse_path,
    readable=str,
    published=published,
    lists={split: f"{_TRX}/ssv2_OTAM/{split}list07.txt" for split in FULL},
)

SSV2_SMALL = Benchmark(
    name="ssv2-small",
    title="Something-Something V2 Small",
    source="CMN, Zhu and Yang, ECCV 2018",
    videos=_VIDEOS,
    classes={split: tuple(map(label, templates)) for split, templates in SMALL.items()},
    clips={"train": 6_400, "val": 1_200, "test": 2_400},
    digests={
        "train": "9db3a958d24b952eacac09464c893a06d0db7ef454b1e7cbcd5ce65739b74435",
        "val": "71e36bf200cd7d193dcd6bf66fda6081256c6141b4b29f04fc91c40ac26647ef",
        "test": "036b462226c1671427c3f6e9e9d83afff62244b6031c5c5d8a6fdb4274c8a02c",
    },
    read=parse_path,
    readable=str,
    published=published,
    lists={split: f"{_TRX}/ssv2_CMN/{split}list03.txt" for split in SMALL},
)
