"""Views: other frames of the same clips for training, drawn as a pure function of the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clips import write_clips
from kshot import backbone, datasets, video
from kshot.errors import DataError, OptionError
from kshot.extraction import extract
from kshot.training import train
from tiny import random_clip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("views")
    write_clips(folder / "clips")
    random_clip(folder / "clip")
    return folder


def test_a_view_holds_random_frames_and_view_0_the_middle_ones(place: Path):
    spine = backbone.load(place / "clip")
    data = datasets.load(place / "clips/clips.csv").select("val")
    parts = [extract(data, spine, "frames", place / "store", frames=4, view=view) for view in (0, 1, 2)]
    clip = 3
    middle = video.read(data.paths[clip], 4, size=spine.size)
    assert (parts[0].gather([clip])[0] == middle).all()
    shots = [part.gather([clip])[0] for part in parts]
    assert (shots[1] != shots[0]).any() and (shots[1] != shots[2]).any()
    again = extract(data, spine, "frames", place / "other", frames=4, view=2)
    assert (again.gather([clip])[0] == shots[2]).all()


def test_a_visit_draws_views_by_its_number_alone(place: Path):
    spine = backbone.load(place / "clip")
    data = datasets.load(place / "clips/clips.csv").select("val")
    parts = [extract(data, spine, "last", place / "store", frames=4, view=view) for view in (0, 1, 2)]
    joined = parts[0].with_views(parts[1:])
    clips = list(range(20))
    assert (joined.gather(clips) == parts[0].gather(clips)).all()
    drawn = joined.gather(clips, visit=5)
    assert (drawn == joined.gather(clips, visit=5)).all()
    assert (drawn[[7]] == joined.gather([7], visit=5)).all()
    source = [next(v for v in range(3) if (parts[v].gather([c])[0] == drawn[c]).all()) for c in clips]
    assert set(source) == {0, 1, 2}
    assert (joined.gather(clips, visit=6) != drawn).any()


def test_views_of_other_clips_are_refused(place: Path):
    spine = backbone.load(place / "clip")
    data = datasets.load(place / "clips/clips.csv").select("val")
    one = extract(data, spine, "last", place / "store", frames=4)
    other = extract(data.subset(np.arange(5)), spine, "last", place / "store", frames=4, view=1)
    with pytest.raises(DataError, match="different clips"):
        one.with_views([other])


def test_training_sees_the_views(place: Path, tmp_path: Path):
    common = {"backbone": place / "clip", "store": place / "store", "frames": 4, "way": 3, "query": 2, "steps": 2}
    table = place / "clips/clips.csv"
    for views in (1, 3):
        train(table, tmp_path / str(views), views=views, val_episodes=5, select="none", **common)
    one, three = ((tmp_path / str(v) / "metrics.jsonl").read_text() for v in (1, 3))
    assert one != three
    with pytest.raises(OptionError, match="views must be at least 1"):
        train(table, tmp_path / "0", views=0, **common)
