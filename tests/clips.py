"""Small labelled clips for tests, written in a moment: a coloured square crosses a noisy picture of any tint.

A class is a colour of the square and a direction. The tint of the background changes from clip to clip and says
nothing, so that weights which learn to look at the square rather than at the background recognise other classes too.
"""

from __future__ import annotations

import colorsys
import csv
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from PIL import Image

SPLITS = {"train": 6, "val": 4, "test": 4}
"""Classes of each split."""
CLIPS = 8
"""Clips of each class: two of each of four groups."""
SIDE, SQUARE, FRAMES = 32, 14, 10
WORDS = ("clap", "wave", "jump", "open", "close", "arms", "photo", "video", "person", "doing", "of", "the", "a", "up")


def write_clips(folder: Path, seed: int = 0, clips: int = CLIPS) -> Path:
    """Writes H.264 clips, and one folder of PNG frames a class, with `clips.csv` beside them; returns the CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    splits = [split for split, count in SPLITS.items() for _ in range(count)]
    rows = []
    for number, split in enumerate(splits):
        for clip in range(clips):
            path = folder / f"{WORDS[number]}-{clip}{'' if clip == 0 else '.mp4'}"
            pictures = draw(number, len(splits), rng)
            if clip == 0:
                write_folder(path, pictures)
            else:
                write_video(path, pictures)
            rows.append((path.name, WORDS[number], split, f"group-{clip // 2}"))
    table = folder / "clips.csv"
    write_table(table, rows)
    return table


def write_table(path: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    """A CSV of clips: path, label, split and group."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split", "group"))
        writer.writerows(rows)
    return path


def beside_few_val(notes: Iterable[str]) -> list[str]:
    """Notes of a training without the one that says how few val classes these clips have; it must be there."""
    kept = [note for note in notes if not note.startswith(f"{SPLITS['val']} val classes: ")]
    assert len(kept) == len(list(notes)) - 1
    return kept


def draw(number: int, classes: int, rng: np.random.Generator, frames: int = FRAMES) -> np.ndarray:
    """Frames (frames, 32, 32, 3) uint8 of class `number`, each call another clip."""
    colour = np.array(colorsys.hsv_to_rgb(number * 5 % classes / classes, 1.0, 1.0)) * 255
    angle = 2 * np.pi * number / classes
    tint = rng.uniform(80, 175, 3)
    pictures = np.clip(tint + rng.normal(0, 12, (frames, SIDE, SIDE, 3)), 0, 255)
    start = rng.uniform(6, 12, 2)
    for t in range(frames):
        reach = 12 * (t / (frames - 1) - 0.5)
        x, y = start[0] + reach * np.cos(angle), start[1] + reach * np.sin(angle)
        x, y = (int(np.clip(v, 0, SIDE - SQUARE)) for v in (x, y))
        pictures[t, y : y + SQUARE, x : x + SQUARE] = colour
    return pictures.astype(np.uint8)


def write_video(path: Path, pictures: np.ndarray) -> Path:
    """An H.264 file of frames (T, H, W, 3)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "12"})
        stream.height, stream.width, stream.pix_fmt, stream.thread_count = *pictures.shape[1:3], "yuv420p", 1
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


def write_folder(path: Path, pictures: np.ndarray) -> Path:
    """A folder of PNG frames."""
    path.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(path / f"{number:03d}.png")
    return path
