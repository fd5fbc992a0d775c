"""A video that is hardly a clip of an action is asked about before it becomes one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from clips import draw, write_video
from kshot.errors import DataError
from kshot.studio.doubts import doubt
from kshot.studio.engine import StudioEngine

MOVING = draw(0, 3, np.random.default_rng(0), 8)
NOISE = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("seconds", "count", "frames", "said"),
    [
        (60.0, 1500, MOVING, ""),
        (61.0, 1500, MOVING, "lasts 1:01 min: .* the model sees 8 frames, 8 s apart"),
        (3723.0, 90_000, MOVING, "lasts 1:02:03 h: .* 7:45 min apart"),
        (0.04, 1, MOVING, "is a single picture"),
        (2.0, 50, np.full((8, 32, 32, 3), 128, np.uint8), "one plain colour"),
        (
            2.0,
            50,
            np.arange(0, 160, 20, np.uint8)[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3),
            "plain",
        ),
        (2.0, 50, NOISE.repeat(8, 0), "does not move"),
        (2.0, 50, np.concatenate([NOISE.repeat(7, 0), 255 - NOISE]), ""),
    ],
)
def test_what_is_odd_about_a_clip(seconds: float, count: int, frames: np.ndarray, said: str) -> None:
    found = doubt(seconds, count, frames)
    assert re.search(said, found) if said else not found


def test_an_odd_clip_waits_for_its_answer(engine: StudioEngine, tmp_path: Path, clip: Path) -> None:
    """And leaves nothing behind where the answer is no; an ordinary one, and a query, ask nothing."""
    project, wave = engine.project, engine.project.add_label("wave")

    def put(source: Path, label: str | None) -> str:
        id, path = project.place(".mp4")
        path.write_bytes(source.read_bytes())
        engine.receive(id, path, source.name, "file", label)
        return id

    grey = write_video(tmp_path / "grey.mp4", np.full((10, 32, 32, 3), 128, np.uint8))
    plain, query = put(clip, wave.id), put(grey, None)
    no, yes = put(grey, wave.id), put(grey, wave.id)
    assert list(engine.doubtful) == [no, yes] and engine.doubtful[no][1].startswith("shows one plain colour")
    assert [video.id for video in project.clips()] == [plain] and [video.id for video in project.queries()] == [query]
    assert engine.strip(yes, 8).exists()
    engine.answer(no, keep=False)
    engine.answer(yes, keep=True)
    assert [video.id for video in project.clips()] == [plain, yes] and not engine.doubtful
    left = {
        path.name.split("-")[0].split(".")[0]
        for part in ("videos", "strips")
        for path in (project.folder / part).iterdir()
    }
    assert left == {plain, query, yes}
    with pytest.raises(DataError, match="does not wait for an answer any more"):
        engine.answer(yes, keep=True)
