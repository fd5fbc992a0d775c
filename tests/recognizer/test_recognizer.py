"""The recognizer: teach, ask, add, forget; the same whatever way the clips come."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from films import film, films, write
from sklearn.base import clone, is_classifier
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.utils.validation import check_is_fitted

from kshot import Recognizer
from kshot.backbones.backbone import Backbone
from kshot.datasets import load
from kshot.errors import DataError, NotEnoughClips, OptionError, VideoError

PLAIN = {"method": "prototype"}


@pytest.fixture(scope="module")
def taught(backbone: Backbone) -> Recognizer:
    """Three actions of four clips each. Tests that change it work on a copy."""
    return Recognizer(backbone).fit(*films())


def same(one: Recognizer, other: Recognizer) -> None:
    """Both answer bit for bit alike, and expect the same."""
    clips, _ = films(each=2, first=50)
    assert one.classes_.tolist() == other.classes_.tolist()
    assert np.array_equal(one.predict_proba(clips), other.predict_proba(clips))
    assert one.predict(clips).tolist() == other.predict(clips).tolist()
    assert one.threshold_ == other.threshold_ and one.method_ == other.method_
    assert one.report_["accuracy"] == other.report_["accuracy"] and one.report_["curve"] == other.report_["curve"]


def test_unseen_clips_get_their_label(taught: Recognizer):
    clips, labels = films(each=6, first=50)
    assert taught.score(clips, labels) > 0.8
    proba = taught.predict_proba(clips)
    assert proba.shape == (18, 3) and np.allclose(proba.sum(1), 1, atol=1e-5)
    assert taught.report_["accuracy"]["low"] <= taught.score(clips, labels)
    assert {row["name"] for row in taught.report_["methods"]} >= {"text", "prototype", "otam", "partial"}


def test_what_was_never_taught_looks_less_known(taught: Recognizer):
    strange, usual = [film("bow", n) for n in range(8)], films(each=8, first=70)[0]
    known = taught.answer(usual).known
    assert taught.answer(strange).known.mean() < known.mean()
    picky = copy.copy(taught)
    picky.threshold_ = float(np.median(known)) + 1e-6
    assert 0.4 <= (picky.predict(usual) == "unknown").mean() <= 0.6
    assert taught.odds is not None and picky.odds is None, "a threshold set by hand decides alone"


def test_states_and_decide_are_predict(taught: Recognizer):
    from kshot.recognizer.videos import prepare

    clip = film("wave", 60)
    decision = taught.decide(taught.states(prepare(clip, 8, 32))[None])
    assert decision.labels.tolist() == taught.predict([clip]).tolist()
    assert np.allclose(decision.proba, taught.predict_proba([clip]), atol=1e-6)


def test_asking_changes_nothing_and_order_does_not_matter(taught: Recognizer):
    before = pickle.dumps((taught.classifier_.state_dict(), taught.threshold_, taught.report_))
    clips, _ = films(each=2, first=50)
    there = taught.predict_proba(clips)
    back = taught.predict_proba(clips[::-1])[::-1]
    alone = np.concatenate([taught.predict_proba(clip) for clip in clips])
    assert np.array_equal(there, back) and np.array_equal(there, alone)
    assert pickle.dumps((taught.classifier_.state_dict(), taught.threshold_, taught.report_)) == before
    assert taught.predict_proba([]).shape == (0, 3) and taught.predict([]).shape == (0,)


def test_clips_in_another_order_teach_the_same(taught: Recognizer, backbone: Backbone):
    clips, labels = films()
    order = np.random.default_rng(0).permutation(len(clips))
    same(Recognizer(backbone).fit([clips[i] for i in order], [labels[i] for i in order]), taught)


def test_files_arrays_and_tensors_are_one(backbone: Backbone, tmp_path: Path):
    clips, labels = films(each=2)
    paths = write(tmp_path, clips)
    files = Recognizer(backbone, **PLAIN).fit(paths, labels)
    for others in (clips, [*paths[:3], *clips[3:]], write(tmp_path / "again", clips)):
        made = Recognizer(backbone, **PLAIN).fit(others, labels)
        assert torch.allclose(made.classifier_.means, files.classifier_.means, atol=1e-6)
        assert made.predict(clips).tolist() == files.predict(clips).tolist()
    tensors = [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in clips]
    assert np.array_equal(files.predict_proba(tensors), files.predict_proba(paths))


def test_clips_that_come_later_are_as_if_they_had_been_there(taught: Recognizer, backbone: Backbone):
    clips, labels = films()
    some = [i for i in range(12) if i % 4 < 2 and labels[i] != "wave"]
    rest = [i for i in range(12) if i not in some]
    grown = Recognizer(backbone).partial_fit([clips[i] for i in some], [labels[i] for i in some])
    assert grown.classes_.tolist() == ["clap", "jump"]
    same(grown.partial_fit([clips[i] for i in rest], [labels[i] for i in rest]), taught)


def test_forgetting_is_as_if_it_had_never_been_there(taught: Recognizer, backbone: Backbone):
    shrunk = copy.copy(taught).forget("jump")
    same(shrunk, Recognizer(backbone).fit(*films("clap wave")))
    assert taught.classes_.tolist() == ["clap", "jump", "wave"]
    with pytest.raises(OptionError, match="unknown action 'jmp': did you mean 'jump'"):
        taught.forget("jmp")
    with pytest.raises(NotEnoughClips, match="only 'wave'"):
        shrunk.forget("clap")
    assert shrunk.classes_.tolist() == ["clap", "wave"], "what fails leaves the model as it was"


def test_a_background_is_answered_unknown(backbone: Backbone):
    clips, labels = films("clap jump bow")
    made = Recognizer(backbone, background="bow", **PLAIN).fit(clips, labels)
    assert made.classes_.tolist() == ["clap", "jump"]
    far, wanted = films("clap jump bow", each=4, first=60)
    assert made.score(far, wanted) > 0.7 and (made.predict(far[8:]) == "unknown").mean() > 0.7
    with pytest.raises(OptionError, match="unknown background label 'bw': did you mean 'bow'"):
        Recognizer(backbone, background="bw").fit(clips, labels)


def test_clips_that_cannot_be_read_are_named_and_left_out(backbone: Backbone, tmp_path: Path):
    clips, labels = films(each=2)
    paths = write(tmp_path, clips)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    made = Recognizer(backbone, **PLAIN).fit([*paths, tmp_path / "broken.mp4"], [*labels, "wave"])
    assert made.n_clips_ == 6 and list(made.report_["unreadable"]) == [str(tmp_path / "broken.mp4")]
    assert made.report_["notes"][0].startswith("1 clip could not be read: left out")
    with pytest.raises(DataError, match=r"no clip of 'bow' can be read; the first reason: .*broken.mp4"):
        Recognizer(backbone, **PLAIN).fit([*paths, tmp_path / "broken.mp4"], [*labels, "bow"])
    with pytest.raises(VideoError, match="broken"):
        made.predict([paths[0], tmp_path / "broken.mp4"])
    first, second = made.answers([paths[0], tmp_path / "broken.mp4"])
    assert first.proba.shape == (1, 3) and isinstance(second, VideoError)


@pytest.mark.parametrize(
    ("clips", "labels", "options", "message"),
    [
        (3, ["a", "b"], {}, "one label a clip, found 3 clips and 2 labels"),
        (3, ["a"] * 3, {}, "at least two actions to tell apart, found only 'a'"),
        (1, ["a"], {}, "at least two actions"),
        (0, [], {}, "at least two actions to tell apart, found none"),
        (2, ["a", "unknown"], {}, "no action can be called that"),
        (2, ["a", ""], {}, "clip 1 has no label"),
        (2, ["a", "b"], {"method": "magic"}, "unknown method 'magic'"),
        (2, ["a", "b"], {"frames": 0}, "frames must be at least 1, found 0"),
        (2, ["a", "b"], {"prompts": ["no place"]}, "needs {}"),
    ],
)
def test_what_cannot_be_learned_from_is_one_clear_line(clips, labels, options, message, backbone: Backbone):
    from kshot.errors import KshotError

    with pytest.raises(KshotError) as told:
        Recognizer(backbone, **options).fit([film("clap", n) for n in range(clips)], labels)
    assert message in str(told.value) and "\n" not in str(told.value)


def test_groups_are_one_a_clip(backbone: Backbone):
    with pytest.raises(DataError, match="one group a clip, found 12 clips and 2 groups"):
        Recognizer(backbone).fit(*films(), groups=["a", "b"])


def test_an_untaught_recognizer_says_so(backbone: Backbone):
    for ask in (
        lambda r: r.predict([]),
        lambda r: r.save("nowhere"),
        lambda r: r.forget("x"),
        lambda r: r.timeline("x"),
    ):
        with pytest.raises(OptionError, match="has not been fitted yet"):
            ask(Recognizer(backbone))


def test_scikit_learn_takes_it_for_a_classifier(backbone: Backbone, taught: Recognizer):
    made = Recognizer(backbone, frames=4, **PLAIN)
    twin = clone(made, safe=False)
    assert twin is not made and twin.get_params()["frames"] == 4 and is_classifier(made)
    assert made.set_params(frames=6).frames == 6 and twin.frames == 4
    with pytest.raises(OptionError, match="no argument 'frame'"):
        made.set_params(frame=3)
    assert repr(Recognizer(frames=4)) == "Recognizer(frames=4)"
    check_is_fitted(taught)
    clips, labels = films(each=3)
    scores = cross_val_score(made, clips, labels, groups=[0, 1, 2] * 3, cv=LeaveOneGroupOut())
    assert scores.shape == (3,) and scores.mean() > 0.6
    assert pickle.loads(pickle.dumps(taught)).predict(clips[:2]).tolist() == taught.predict(clips[:2]).tolist()


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable", "check_estimator_repr",
        "check_estimator_tags_renamed", "check_get_params_invariance", "check_no_attributes_set_in_init",
        "check_parameters_default_constructible", "check_set_params", "check_valid_tag_types",
    ],
)  # fmt: skip
def test_scikit_learns_own_checks_that_need_no_table_of_numbers(check: str):
    from sklearn.utils import estimator_checks

    getattr(estimator_checks, check)("Recognizer", Recognizer())


def test_a_run_that_looks_across_frames_is_asked_window_by_window(
    backbone: Backbone, clip_folder: Path, clips_csv: Path, warm_store: Path, tmp_path: Path
):
    from kshot.fewshot.training import train

    run = tmp_path / "run"
    train(
        clips_csv, run, backbone=clip_folder, way=3, query=2, steps=3, lr=3e-2, val_every=3, val_episodes=10,
        tuning="st-adapter", tuning_options={"blocks": 1, "place": "attention"}, store=warm_store,
    )  # fmt: skip
    made = Recognizer(backbone, adapted=run, **PLAIN).fit(*films(each=2))
    clip = film("wave", 60)
    learner = made.learner_
    from kshot.recognizer.videos import prepare

    with torch.no_grad():
        whole = learner.backbone.encode_from(learner.backbone.pixels(prepare(clip, 8, 32)), 0, 8)[None]
        wanted, _ = made.classifier_(whole)
    np.testing.assert_allclose(made.predict_proba([clip]), wanted, atol=1e-5)
    assert made.timeline(np.concatenate([clip, clip])).proba.shape[1] == 3


def test_real_clips(backbone: Backbone, clips_csv: Path):
    data = load(clips_csv).only(["clap", "wave", "jump"])
    made = Recognizer(backbone).fit(data.paths, [data.classes[n] for n in data.labels], data.groups.tolist())
    assert made.n_clips_ == 24 and made.report_["accuracy"]["clips"] == 24
    assert made.predict_proba(data.paths[:5]).shape == (5, 3)
