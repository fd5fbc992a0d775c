"""Long videos of the bundled data: how well their timelines are found, and the picture in docs/long-video.md.

    python scripts/long_video.py [--seeds 5] [--picture docs/img/timeline.png]

A recognizer is taught 5 clips each of 5 of the novel actions of `motion`. The video is made of clips that it has not
seen, by other performers in other rooms: stretches of one to three clips of one action, hard cuts between them, every
fourth stretch an action that was not taught. Each seed draws other actions, other clips and another order.

Told for each: the share of the taught actions' clips that `predict` names rightly, the share of the video's time that
the timeline names rightly ("unknown" where the action was not taught), and F1 of its segments, where one counts as
found if it has the right label and overlaps a true one by more than half of what the two cover together.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import av
import numpy as np
from PIL import Image

from kshot import Recognizer, datasets, video
from kshot.recognizer import UNKNOWN
from kshot.recognizer.stream.windows import Segment

RATE = 24
ACTIONS, SHOT, STRETCHES = 5, 5, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--picture", type=Path, help="of the first seed's timeline")
    options = parser.parse_args()
    data = datasets.load("motion:12").select("test")
    clips: dict[str, list[Path]] = {name: [] for name in data.classes}
    for path, number in zip(data.paths, data.labels, strict=True):
        clips[data.classes[number]].append(path)
    rows = []
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        taught = rng.choice(data.classes, ACTIONS, replace=False).tolist()
        recognizer = Recognizer().fit([p for name in taught for p in clips[name][:SHOT]], np.repeat(taught, SHOT))
        stretches = draw(rng, clips, taught)
        known = [(name, path) for name, paths in stretches for path in paths if name != UNKNOWN]
        right = np.mean(recognizer.predict([path for _, path in known]) == [name for name, _ in known])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "long.mp4"
            truth = join(file, stretches)
            timeline = recognizer.timeline(file)
        rows.append((right, agreement(truth, timeline.segments), f1(truth, timeline.segments)))
        print(
            f"seed {seed}: {timeline.duration:.0f} s of {len(truth)} stretches; clips {rows[-1][0]:.0%}, "
            f"time {rows[-1][1]:.0%}, segments F1 {rows[-1][2]:.2f} ({len(timeline.segments)} found)"
        )
        if options.picture and seed == 0:
            small = Image.open(timeline.picture(options.picture)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
            small.save(options.picture, optimize=True)
    clip, time, segments = np.mean(rows, axis=0)
    print(f"mean: clips {clip:.0%}, time {time:.0%}, segments F1 {segments:.2f}")


def draw(rng: np.random.Generator, clips: dict[str, list[Path]], taught: list[str]) -> list[tuple[str, list[Path]]]:
    """What is shown in turn: the label that is right, and clips that were not taught."""
    others = [name for name in clips if name not in taught]
    stretches: list[tuple[str, list[Path]]] = []
    before = ""
    for number in range(STRETCHES):
        pool = others if number % 4 == 3 else [name for name in taught if name != before]
        before = str(rng.choice(pool))
        chosen = rng.choice(len(clips[before]) - SHOT, int(rng.integers(1, 4)), replace=False) + SHOT
        stretches.append((before if before in taught else UNKNOWN, [clips[before][i] for i in chosen]))
    return stretches


def join(file: Path, stretches: list[tuple[str, list[Path]]]) -> list[Segment]:
    """Writes the clips one after another; returns the true segments."""
    truth, frames = [], 0
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "20"})
        stream.width = stream.height = 112
        stream.pix_fmt = "yuv420p"
        for label, paths in stretches:
            start = frames
            for path in paths:
                for _, image in video.iterate(path):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                    frames += 1
            truth.append(Segment(start / RATE, frames / RATE, label, None))
        container.mux(stream.encode())
    return truth


def agreement(truth: list[Segment], found: list[Segment]) -> float:
    """Share of the time with the right label."""
    return sum(shared(one, other) for one in truth for other in found if one.label == other.label) / truth[-1].end


def f1(truth: list[Segment], found: list[Segment]) -> float:
    """Of the segments of taught actions; a true one can be found once."""
    wanted = [s for s in truth if s.label != UNKNOWN]
    given = [s for s in found if s.label != UNKNOWN]
    hits = sum(
        any(
            one.label == other.label
            and shared(one, other) > 0.5 * (max(one.end, other.end) - min(one.start, other.start))
            for other in given
        )
        for one in wanted
    )  # more than half: no two can share a partner
    return 2 * hits / (len(wanted) + len(given))


def shared(one: Segment, other: Segment) -> float:
    """Seconds that both cover."""
    return max(0.0, min(one.end, other.end) - max(one.start, other.start))


if __name__ == "__main__":
    main()
