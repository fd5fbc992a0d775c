"""Long videos cut from clips: how well their timelines are found, and the picture in docs/long-video.md.

    python scripts/long_video.py [--data motion:12] [--split test] [--seeds 5] [--picture docs/img/timeline.png]
    python scripts/long_video.py --data 'clips.csv?dataset=jhmdb' --split all

A recognizer is taught 5 clips each of 5 actions. The video is made of clips that it has not seen, none from the source
of a clip that was taught: stretches of one to three clips of one action, hard cuts between them, every fourth stretch
an action that was not taught. Each seed draws other actions, other clips and another order. The backbone is the default
of the data.

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
from kshot.datasets import Dataset
from kshot.recognizer import UNKNOWN
from kshot.recognizer.stream.windows import Segment

ACTIONS, SHOT, STRETCHES = 5, 5, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="motion:12")
    parser.add_argument("--split", default="test")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--picture", type=Path, help="of the first seed's timeline")
    options = parser.parse_args()
    data = datasets.load(options.data)
    data = data if options.split == "all" else data.select(options.split)
    rows = []
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        taught = rng.choice(data.classes, ACTIONS, replace=False).tolist()
        shown, clips = parts(data, taught)
        recognizer = Recognizer().fit(
            [data.paths[i] for i in shown], [data.classes[data.labels[i]] for i in shown], data.groups[shown]
        )
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


def parts(data: Dataset, taught: list[str]) -> tuple[list[int], dict[str, list[Path]]]:
    """The clips to teach, as indices, and for each action the others, none of which shares a source with those."""
    own = {name: np.flatnonzero(data.labels == number) for number, name in enumerate(data.classes)}
    shown = [int(i) for name in taught for i in own[name][:SHOT]]
    free = ~np.isin(data.groups, data.groups[shown])
    return shown, {name: [Path(data.paths[i]) for i in which[SHOT:] if free[i]] for name, which in own.items()}


def draw(
    rng: np.random.Generator, clips: dict[str, list[Path]], taught: list[str], rest: int = 0
) -> list[tuple[str, list[Path]]]:
    """What is shown in turn: the label that is right, and clips that were not taught.

    With `rest` every second stretch is of so many clips, each of any action that was not taught.
    """
    others = [name for name in clips if name not in taught and clips[name]]
    known = [name for name in taught if clips[name]]
    stretches: list[tuple[str, list[Path]]] = []
    before = ""
    for number in range(STRETCHES):
        if rest and number % 2:
            drawn = [str(rng.choice(others)) for _ in range(rest)]
            stretches.append((UNKNOWN, [clips[name][rng.integers(len(clips[name]))] for name in drawn]))
            continue
        pool = others if number % 4 == 3 and not rest else [name for name in known if name != before]
        before = str(rng.choice(pool))
        count = min(int(rng.integers(1, 4)), len(clips[before]))
        chosen = rng.choice(len(clips[before]), count, replace=False)
        stretches.append((before if before in taught else UNKNOWN, [clips[before][i] for i in chosen]))
    return stretches


def join(file: Path, stretches: list[tuple[str, list[Path]]]) -> list[Segment]:
    """Writes the clips one after another, at rate and size of the first; returns the true segments."""
    truth, frames = [], 0
    with av.open(str(stretches[0][1][0])) as first:
        like = first.streams.video[0]
        rate, width, height = like.average_rate, like.width, like.height
    assert rate is not None
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        for label, paths in stretches:
            start = frames
            for path in paths:
                for _, image in video.iterate(path):
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(width, height)
                    container.mux(stream.encode(frame))
                    frames += 1
            truth.append(Segment(float(start / rate), float(frames / rate), label, None))
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
