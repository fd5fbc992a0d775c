"""The recogniser: teach, ask, keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kshot import Recognizer
from kshot.datasets import load


@pytest.fixture(scope="module")
def taught(spine, clips_csv):
    data = load(clips_csv).only(["clap", "wave", "jump"])
    return Recognizer(spine).fit(data.paths, [data.classes[label] for label in data.labels])


def test_a_taught_recogniser_knows_its_own_clips(taught, clips_csv):
    data = load(clips_csv).only(["clap", "wave", "jump"])
    found = taught.predict(data.paths)
    assert (found == np.array(data.classes)[data.labels]).mean() > 0.5  # a third is chance, the weights are random
    proba = taught.predict_proba(data.paths)
    assert proba.shape == (24, 3) and np.allclose(proba.sum(1), 1, atol=1e-5)


def test_states_and_decide_are_predict(taught, clips_csv):
    from kshot import video

    path = load(clips_csv).paths[5]
    frames = video.read(path, 8, size=32)
    decision = taught.decide(taught.states(frames)[None])
    assert decision.labels.tolist() == taught.predict([path]).tolist()
    assert np.allclose(decision.proba, taught.predict_proba([path]), atol=1e-6)


def test_a_saved_model_answers_the_same(taught, clips_csv, tmp_path: Path):
    paths = load(clips_csv).paths[:6]
    again = Recognizer.load(taught.save(tmp_path / "model"))
    assert np.array_equal(again.predict_proba(paths), taught.predict_proba(paths))
