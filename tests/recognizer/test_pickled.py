"""Copies of a taught recognizer: pickled, dumped or copied, it answers and learns as the first one does."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kshot import Recognizer
from kshot.backbones.backbone import Backbone
from kshot.datasets import load
from kshot.recognizer.methods import METHODS

pytestmark = pytest.mark.slow


def _joblib(model: Recognizer) -> Recognizer:
    joblib = pytest.importorskip("joblib")
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


WAYS: dict[str, Callable[[Recognizer], Recognizer]] = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "joblib": _joblib,
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(scope="module")
def shown(clips_csv: Path) -> tuple[list[Path], list[str]]:
    data = load(clips_csv).select("test")
    return list(data.paths), [data.classes[number] for number in data.labels]


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_a_copy_answers_to_the_bit(
    method: str, shown: tuple[list[Path], list[str]], backbone: Backbone, warm_store: Path
) -> None:
    paths, labels = shown
    model = Recognizer(backbone, method=method, store=warm_store).fit(paths, labels)
    answers, again = model.predict_proba(paths[:5]), None
    for name, way in WAYS.items():
        made = way(model)
        assert np.array_equal(made.predict_proba(paths[:5]), answers), name
        assert made.classes_.tolist() == model.classes_.tolist() and made.threshold_ == model.threshold_
        assert made.report_ == model.report_ and made.get_params().keys() == model.get_params().keys()
        if method == "prototype":  # and it still learns, from the same stored activations
            further = made.forget(labels[0]).predict_proba(paths[:5])
            again = further if again is None else again
            assert np.array_equal(further, again), name
    assert np.array_equal(model.predict_proba(paths[:5]), answers)


def test_arrays_are_taken_along(backbone: Backbone) -> None:
    draw = np.random.default_rng(0)
    clips = [draw.integers(0, 255, (8, 32, 32, 3), dtype=np.uint8) for _ in range(8)]
    model = Recognizer(backbone, method="partial").fit(clips[:6], ["a"] * 3 + ["b"] * 3)
    made = pickle.loads(pickle.dumps(model))
    more = [m.partial_fit(clips[6:], ["a", "b"]).predict_proba(clips) for m in (model, made)]
    assert np.array_equal(*more)


def test_a_pickle_answers_in_another_process(
    shown: tuple[list[Path], list[str]], clip_folder: Path, warm_store: Path, tmp_path: Path
) -> None:
    paths, labels = shown
    model = Recognizer(clip_folder, method="prototype", store=warm_store).fit(paths, labels)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    script = (
        "import pickle, sys; m = pickle.load(open(sys.argv[1], 'rb')); sys.stdout.write(m.predict_proba([sys.argv[2]])"
        ".tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "model.pkl"), str(paths[0])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == model.predict_proba([paths[0]]).tobytes().hex()


def test_scikit_learns_clone_is_untaught(shown: tuple[list[Path], list[str]], warm_store: Path) -> None:
    from sklearn.base import clone

    model = Recognizer("kshot-tiny", method="prototype", store=warm_store, seed=3).fit(*shown)
    made = clone(model)
    assert made.get_params() == model.get_params() and not hasattr(made, "classes_")
