"""UCF101 (Soomro et al., 2012): 13,320 clips of 101 actions; split of ARN (Zhang et al., ECCV 2020)."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from kshot.datasets.benchmark import Benchmark, ListedClip, contradiction, spaced, table

COUNTS = {
    "train": table("""
        ApplyEyeMakeup 145, Archery 145, BabyCrawling 132, BalanceBeam 108, BandMarching 155,
        BaseballPitch 150, Basketball 134, BasketballDunk 131, BenchPress 160, Biking 134, Billiards 150,
        BlowDryHair 131, BodyWeightSquats 112, Bowling 155, BoxingPunchingBag 163, BoxingSpeedBag 134,
        BreastStroke 101, BrushingTeeth 131, CricketBowling 139, Drumming 161, Fencing 111,
        FieldHockeyPenalty 126, FrisbeeCatch 126, FrontCrawl 137, Haircut 130, Hammering 140, HeadMassage 147,
        HulaHoop 125, JavelinThrow 117, JugglingBalls 121, JumpingJack 123, Kayaking 141, Knitting 123,
        LongJump 131, Lunges 127, MilitaryParade 125, Mixing 136, MoppingFloor 110, Nunchucks 132,
        ParallelBars 114, PizzaTossing 113, PlayingCello 164, PlayingDhol 164, PlayingFlute 155,
        PlayingPiano 105, PlayingSitar 157, PlayingTabla 111, PlayingViolin 100, PoleVault 149, PullUps 100,
        PushUps 102, Rafting 111, RopeClimbing 119, Rowing 137, ShavingBeard 161, Skijet 100,
        SoccerJuggling 147, SoccerPenalty 137, SumoWrestling 116, Swing 131, TableTennisShot 140, TaiChi 100,
        ThrowDiscus 130, TrampolineJumping 119, Typing 136, UnevenBars 104, WalkingWithDog 123,
        WallPushups 130, WritingOnBoard 152, YoYo 128
    """),
    "val": table("""
        ApplyLipstick 114, CricketShot 167, HammerThrow 150, HandstandPushups 128, HighJump 123,
        HorseRiding 164, PlayingDaf 151, PlayingGuitar 160, Shotput 144, SkateBoarding 120
    """),
    "test": table("""
        BlowingCandles 109, CleanAndJerk 112, CliffDiving 138, CuttingInKitchen 110, Diving 150,
        FloorGymnastics 125, GolfSwing 139, HandstandWalking 111, HorseRace 124, IceDancing 158, JumpRope 144,
        PommelHorse 123, Punch 160, RockClimbingIndoor 144, SalsaSpin 133, Skiing 135, SkyDiving 110,
        StillRings 112, Surfing 126, TennisSwing 166, VolleyballSpiking 116
    """),
}
_LABELS = {label.lower(): label for labels in COUNTS.values() for label in labels}
_NAME = re.compile(r"v_([A-Za-z]+)_g(\d+)_c\d+")
_REWORDED = {"Skijet": "jet skiing", "Shotput": "shot put"}
_PUBLISHED = {
    "BlowDryHair": "Blow DryHair", "CuttingInKitchen": "Cutting in Kitchen", "WalkingWithDog": "Walking WithDog",
}  # fmt: skip


def parse_path(path: PurePosixPath) -> ListedClip | None:
    """`Archery/v_Archery_g01_c02.avi`: part 2 of source video 1. One class is spelt otherwise in its files' names."""
    match = _NAME.fullmatch(path.stem)
    label = _LABELS.get(match[1].lower()) if match else None
    folder = _LABELS.get(path.parent.name.lower())
    if folder and label != folder:
        raise contradiction(path, f"its folder says '{folder}'", f"its name says '{label or path.stem}'")
    return ListedClip(f"{label}/{path.stem}", label, f"{label}_g{match[2]}") if match and label else None


def readable(label: str) -> str:
    """`BlowDryHair` -> `blow dry hair`."""
    return _REWORDED.get(label, spaced(label).lower())


def published(label: str) -> str:
    """As CLIP-FSAR prompts with it, slips of the pen included."""
    return _PUBLISHED.get(label, spaced(label))


UCF101 = Benchmark(
    name="ucf101",
    title="UCF101",
    source="ARN, Zhang et al., ECCV 2020",
    videos="UCF101.rar from https://www.crcv.ucf.edu/data/UCF101.php",
    classes={split: tuple(counts) for split, counts in COUNTS.items()},
    clips={split: sum(counts.values()) for split, counts in COUNTS.items()},
    digests={
        "train": "e788093e8286c2663acb7aa13f4cde82b796eeaf895014ad015a2075bbe2a8d6",
        "val": "f442b200cfce43134877291a4a4c64b2d6d9403ed61bc7a1833f4ab1baf0074f",
        "test": "fea8bf1667c5a8a118c774c6d9fbcc8b110c29b837774a4fd9173a3fd121c9ef",
    },
    read=parse_path,
    readable=readable,
    published=published,
    counts={label: count for counts in COUNTS.values() for label, count in counts.items()},
)
