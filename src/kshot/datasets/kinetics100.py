"""Kinetics-100: 100 clips each of 100 of the actions of Kinetics-400 (Carreira and Zisserman, CVPR 2017).

The split is CMN's (Zhu and Yang, ECCV 2018). Its list exists twice: as published by CMN, and as CLIP-FSAR uses it,
where 277 of the 10,000 clips are other videos of the same class.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from kshot.datasets.benchmark import Benchmark, ListedClip, names

ID = 11  # characters of a YouTube id
CLASSES = {
    "train": names("""
        air drumming, arm wrestling, beatboxing, biking through snow, blowing glass, blowing out candles,
        bowling, breakdancing, bungee jumping, catching or throwing baseball, cheerleading, cleaning floor,
        contact juggling, cooking chicken, country line dancing, curling hair, deadlifting, doing nails,
        dribbling basketball, driving tractor, drop kicking, dying hair, eating burger, feeding birds,
        giving or receiving award, hopscotch, jetskiing, jumping into pool, laughing, making snowman,
        massaging back, mowing lawn, opening bottle, playing accordion, playing badminton, playing basketball,
        playing didgeridoo, playing ice hockey, playing keyboard, playing ukulele, playing xylophone,
        presenting weather forecast, punching bag, pushing cart, reading book, riding unicycle, shaking head,
        sharpening pencil, shaving head, shot put, shuffling cards, slacklining, sled dog racing,
        snowboarding, somersaulting, squat, surfing crowd, trapezing, using computer, washing dishes,
        washing hands, water skiing, waxing legs, weaving basket
    """),
    "val": names("""
        baking cookies, crossing river, dunking basketball, feeding fish, flying kite, high kick,
        javelin throw, playing trombone, scuba diving, skateboarding, ski jumping, trimming or shaving beard
    """),
    "test": names("""
        blasting sand, busking, cutting watermelon, dancing ballet, dancing charleston, dancing macarena,
        diving cliff, filling eyebrows, folding paper, hula hooping, hurling (sport), ice skating,
        paragliding, playing drums, playing monopoly, playing trumpet, pushing car, riding elephant,
        shearing sheep, side kick, stretching arm, tap dancing, throwing axe, unboxing
    """),
}
_VIDEOS = "Kinetics-400 as tar.gz parts or folders of mp4, e.g. from https://github.com/cvdfoundation/kinetics-dataset"
_TRX = "https://raw.githubusercontent.com/tobyperrett/trx/c5c23ec0bda1e47a5ce7f4f58a09e6fbee39dc86/splits/kinetics_CMN"
_CLIPFSAR = (
    "https://raw.githubusercontent.com/alibaba-mmai-research/CLIP-FSAR/30cf0a8cf5287a56a9f37bfceb28e82be776fc5d/"
    "configs/projects/CLIPFSAR/kinetics100"
)


def parse_path(path: PurePosixPath) -> ListedClip | None:
    """`air_drumming/-VtLx-mcPds_000012_000022.mp4`: YouTube id, start and end in seconds; some copies lack these."""
    video, times = path.stem[:ID], path.stem[ID:]
    if len(video) < ID or not (times == "" or (times[0] == "_" and times.replace("_", "").isdigit())):
        return None
    return ListedClip(path.stem, path.parent.name, video)


KINETICS100 = Benchmark(
    name="kinetics100",
    title="Kinetics-100 (CMN)",
    source="CMN, Zhu and Yang, ECCV 2018",
    videos=_VIDEOS,
    classes=CLASSES,
    clips={"train": 6_400, "val": 1_200, "test": 2_400},
    digests={
        "train": "5c87aeb81811cb2edc10fa766f022dd4d2fa5ba48d5348583818e900d80986df",
        "val": "aa8c6d3e983613019c6a3445d5117a083efd472cb453a4008483c4b234c3ce89",
        "test": "f649d817f0c5b6ab7fa8a2132ba03d2c061af97c267ff4e38e72727438caf7c4",
    },
    read=parse_path,
    readable=str,
    lists={split: f"{_TRX}/{split}list03.txt" for split in CLASSES},
    key=lambda clip: clip[:ID],
)

KINETICS100_CLIPFSAR = replace(
    KINETICS100,
    name="kinetics100-clipfsar",
    title="Kinetics-100 (CLIP-FSAR)",
    source="CMN's classes, clips as in CLIP-FSAR, Wang et al., IJCV 2024",
    digests={
        "train": "9c79cb97a9ac9325b81aabe87d9b580f827da1ecdb98e6090621bed6c6e4724a",
        "val": "80e65cf494b3ebc532fc7104e0875464eb22279a2865d695d871e3ed995249d7",
        "test": "956c5ee70bcfeb10f5dda5b944b5733ff5674a85276d11c33d26a8ae7d87872f",
    },
    lists={split: f"{_CLIPFSAR}/{split}_few_shot.txt" for split in CLASSES},
)
