"""Long videos: what the timeline of a file costs beyond its parts, and the memory it takes.

    python benchmarks/timeline.py [--backbone kshot-tiny] [--minutes 10] [--repeat 3] [--memory 1 5 20] [--json]
    python benchmarks/timeline.py --backbone lite --minutes 60 --size 640x360 --looked 4 [--json]
    python benchmarks/timeline.py --memory 60 1440 --size 128x96 --plain --looked 1 [--json]

The file is a synthetic 320x240 H.264 video at 30 frames a second (a minute of it, repeated). Three things in turn, in
one process: decoding alone (every frame decoded here, those that are looked at made into preprocessed pictures), the
bare forward of the encoder on the same frames, and `Recognizer.timeline`, which decodes in a child process. The ratio
is (decoding alone + forward alone) / timeline, goal at least 0.9. B may be "random-b32", a ViT-B/32 of random weights.
The same ratio is given for processor time, that of the child included: it says what is added to the work, and other
processes on the machine disturb it less.

Frames are counted on both sides: what left the decoder, and what entered the first layer of the encoder.

With --looked the film is only watched: seconds of the clock and of processors, times real time, and peak resident MB of
this process, with so many frames a second looked at. The second line is a film of an hour (goal: 20 times, 2 cores).

With --memory, each length runs in a process of its own; its peak is the largest resident set that the kernel saw, and
beside it that of its decoding child. The third line is a film of a day, whose pictures have no noise (--plain): it is
of a few MB an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import av
import numpy as np
import torch
from extraction import random_b32

from kshot import Recognizer, video
from kshot.backbones.backbone import load
from kshot.recognizer.stream.timeline import FRAMES_AT_ONCE
from kshot.recognizer.stream.windows import WindowSettings
from kshot.video.container import FOLDER_FPS

WIDTH, HEIGHT, RATE = 320, 240, 30
CLIP_SECONDS = 2.0  # of the clips that it is trained on, and so of a window


def make(path: Path, minutes: int, width: int = WIDTH, height: int = HEIGHT, noise: int = 8) -> Path:
    """A textured scene that drifts, with noise of so many grey levels; one minute is encoded, its packets repeated."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    minute = path.with_suffix(".minute.mp4")
    with av.open(str(minute), "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"crf": "26", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(60 * RATE):
            top, left = index * 2 % height, index * 3 % width
            image = texture[top : top + height, left : left + width].astype(np.int16)
            image += rng.integers(-noise, noise + 1, (height, width, 1), dtype=np.int16)
            frame = av.VideoFrame.from_ndarray(image.clip(0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with av.open(str(path), "w") as file:
        track = None
        for number in range(minutes):
            with av.open(str(minute)) as source:
                origin = source.streams.video[0]
                track = track or file.add_stream_from_template(origin)
                for packet in source.demux(origin):
                    if packet.size:
                        shift = int(number * 60 / origin.time_base)
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = track
                        file.mux(packet)
    minute.unlink()
    return path


def fitted(backbone: str) -> Recognizer:
    """A recognizer of two actions that never occur."""
    loaded = random_b32() if backbone == "random-b32" else load(backbone)
    rng = np.random.default_rng(0)
    count = round(CLIP_SECONDS * FOLDER_FPS)
    clips = [rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8) for _ in range(6)]
    return Recognizer(loaded, method="prototype", reject=False).fit(clips, ["one", "other"] * 3)


def speed(path: Path, backbone: str, repeat: int) -> dict[str, Any]:
    """Seconds of the three, round by round, and what was counted."""
    recognizer = fitted(backbone)
    encoder = recognizer.learner_.backbone
    assert encoder is not None
    interval = WindowSettings.of(recognizer).interval
    encoded = 0

    def count(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        nonlocal encoded
        encoded += len(given[0])

    hook = encoder.image.embeddings.register_forward_pre_hook(count)
    rounds = []
    for _ in range(repeat):
        clocks = [clock()]
        samples = video.Samples(path, interval, encoder.size)
        frames = [frame for _, frame in samples]
        clocks.append(clock())
        batches = [np.stack(frames[i : i + FRAMES_AT_ONCE]) for i in range(0, len(frames), FRAMES_AT_ONCE)]
        clocks.append(clock())
        with torch.inference_mode():
            for batch in batches:
                encoder(encoder.pixels(batch))
        clocks.append(clock())
        encoded = 0
        timeline = recognizer.timeline(path)
        clocks.append(clock())
        decoding, _, forward, whole = np.diff(clocks, axis=0).round(2).tolist()
        rounds.append({"decoding": decoding, "forward": forward, "timeline": whole})
        expected = {"decoded": samples.frames, "looked_at": len(frames), "encoded": len(frames)}
        found = {"decoded": timeline.frames, "looked_at": timeline.looked_at, "encoded": encoded}
        if found != expected or timeline.frames != round(timeline.duration * RATE):
            raise SystemExit(f"a frame was not seen just once: expected {expected}, found {found}")
    hook.remove()
    ratios, work = np.array([np.add(r["decoding"], r["forward"]) / r["timeline"] for r in rounds]).round(3).T.tolist()
    return {
        "backbone": encoder.name,
        "minutes": round(timeline.duration / 60, 2),
        **found,
        "windows": len(timeline.times),
        "rounds": rounds,  # of each, seconds on the clock and of processors
        "ratios": ratios,
        "ratio": round(float(np.median(ratios)), 3),
        "processor_ratios": work,
        "processor_ratio": round(float(np.median(work)), 3),
        "times_real_time": round(timeline.duration / float(np.median([r["timeline"][0] for r in rounds])), 1),
    }


def watched(path: Path, backbone: str, looked: float) -> dict[str, Any]:
    """What one timeline of a film costs, with so many frames a second looked at."""
    recognizer = fitted(backbone)
    begin, before = clock(), peak(os.getpid())
    timeline = recognizer.timeline(path, window=recognizer.frames_ / looked)
    seconds, processors = np.subtract(clock(), begin).tolist()
    return {
        "backbone": backbone,
        "minutes": round(timeline.duration / 60, 2),
        "decoded": timeline.frames,
        "looked_at": timeline.looked_at,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processors, 1),
        "times_real_time": round(timeline.duration / seconds, 1),
        "megabytes_before": round(before, 1),
        "megabytes_peak": round(peak(os.getpid()), 1),
    }


def clock() -> tuple[float, float]:
    """Seconds now, and of processors so far: this process and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in used)


def memory(path: Path, backbone: str, looked: float | None) -> dict[str, Any]:
    """Peak resident MB of this process before and after a timeline, and of the child that decodes for it."""
    recognizer = fitted(backbone)
    before, decoder, begin = peak(os.getpid()), 0.0, clock()
    done = threading.Event()

    def look() -> None:
        nonlocal decoder
        while not done.wait(0.02):
            for child in [c for task in Path("/proc/self/task").iterdir() for c in read(task / "children").split()]:
                if "kshot.video.workers" in read(Path(f"/proc/{child}/cmdline")):  # no longer a copy of this process
                    decoder = max(decoder, peak(int(child)))

    observer = threading.Thread(target=look)
    observer.start()
    timeline = recognizer.timeline(path, window=recognizer.frames_ / looked if looked else None)
    done.set()
    observer.join()
    found = {"before": before, "peak": peak(os.getpid()), "decoder": decoder}
    found |= {"film": path.stat().st_size / 2**20, "processor_seconds": clock()[1] - begin[1]}
    counted = {"minutes": timeline.duration / 60, "decoded": timeline.frames, "windows": len(timeline.times)}
    return counted | {name: round(value, 1) for name, value in found.items()}


def peak(process: int) -> float:
    """The largest resident set that a process has had, in MB."""
    lines = [line for line in read(Path(f"/proc/{process}/status")).splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has just ended
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="kshot-tiny")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="+", metavar="MINUTES", default=[])
    parser.add_argument("--size", default=f"{WIDTH}x{HEIGHT}")
    parser.add_argument("--looked", type=float, help="frames a second to look at; the film is only watched then")
    parser.add_argument("--plain", action="store_true", help="films without noise, of a few MB an hour")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(memory(options.one, options.backbone, options.looked)))
        return
    width, height = map(int, options.size.split("x"))
    noise = 0 if options.plain else 8
    with tempfile.TemporaryDirectory() as folder:
        result: dict[str, Any] = {}
        if options.memory:
            looked = ["--looked", str(options.looked)] if options.looked else []
            command = [sys.executable, __file__, "--backbone", options.backbone, *looked, "--one"]
            result["memory"] = []
            for minutes in options.memory:
                path = make(Path(folder) / f"{minutes}.mp4", minutes, width, height, noise)
                done = subprocess.run([*command, str(path)], check=True, stdout=subprocess.PIPE)
                result["memory"].append(json.loads(done.stdout))
                path.unlink()
        else:
            film = make(Path(folder) / "long.mp4", options.minutes, width, height, noise)
            if options.looked:
                result = watched(film, options.backbone, options.looked)
            else:
                result = speed(film, options.backbone, options.repeat)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        for line in value if name in ("rounds", "memory") else [value]:
            print(f"{name}: {line}")


if __name__ == "__main__":
    main()
