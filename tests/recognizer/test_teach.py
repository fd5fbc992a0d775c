"""From clips to a decider and a report, on made-up embeddings whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from kshot.errors import OptionError
from kshot.heads.formulas import unit
from kshot.recognizer import suspects
from kshot.recognizer.methods import Support
from kshot.recognizer.teach import NEVER, teach


def clips(ways: int = 4, each: int = 6, spread: float = 0.8, seed: int = 0, text: bool = False) -> Support:
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(ways, 1, 1, 16, generator=draw)
    embeddings = (centres + spread * torch.randn(ways, each, 4, 16, generator=draw)).flatten(0, 1)
    labels = np.repeat(np.arange(ways), each)
    names = tuple(f"{'abcdefgh'[c]}/{i}.mp4" for c in range(ways) for i in range(each))
    return Support(
        tuple("abcdefgh"[:ways]), labels, np.array(names), names, embeddings, unit(centres[:, 0, 0]) if text else None
    )


def test_the_report_is_whole_and_plain():
    found = teach(clips(spread=1.2, text=True))
    report = json.loads(json.dumps(found.report))
    assert [row["name"] for row in report["methods"]] == ["text", "prototype", "fusion", "linear-probe", "otam"]
    assert report["method"] == "text", "texts that are the very centres are best, and the simplest"
    told = report["accuracy"]
    assert 0 <= told["low"] <= told["value"] <= told["high"] <= 1 and told["clips"] == 24
    assert [row["clips"] for row in report["classes"]] == [6] * 4
    assert sum(row["count"] for row in report["confusions"]) == round(24 * (1 - _answered(report)))
    assert 0.5 < report["unknown"]["auroc"] <= 1 and report["unknown"]["refused"] <= 0.1
    assert [point["clips"] for point in report["curve"]] == [1, 2, 4, 5]
    proba, known = found.decider(clips(spread=1.2, text=True).embeddings)
    assert proba.shape == (24, 4) and torch.allclose(proba.sum(1), torch.ones(24))
    assert found.threshold == report["unknown"]["threshold"] and (known > found.threshold).float().mean() > 0.8


def _answered(report: dict) -> float:
    return float(np.average([row["accuracy"] for row in report["classes"]], weights=[6] * 4))


def test_the_same_clips_give_the_same_lesson():
    one, other = teach(clips()), teach(clips())
    assert one.report == other.report and one.threshold == other.threshold
    assert all(torch.equal(a, b) for a, b in zip(one.decider.buffers(), other.decider.buffers(), strict=True))


def test_one_clip_an_action_says_what_cannot_be_told():
    report = teach(clips(each=1)).report
    assert report["accuracy"] is None and "one clip of some actions" in report["why"]
    assert report["method"] == "prototype" and report["curve"] == [] and report["confusions"] == []
    assert report["unknown"]["threshold"] is None and "cannot be set" in report["unknown"]["how"]
    assert all(row["accuracy"] is None and "one clip only" in row["advice"] for row in report["classes"])
    together = replace(clips(), groups=np.repeat(["m", "t", "w", "f"], 6))
    report = teach(together).report
    assert report["accuracy"] is None and "were filmed together" in report["why"]
    assert all("filmed elsewhere" in row["advice"] for row in report["classes"])


def test_a_single_clip_among_many_is_named():
    lone = clips()
    keep = np.r_[np.arange(18), 18]
    report = teach(_part(lone, keep)).report
    assert report["accuracy"]["clips"] == 18
    assert any("one clip only: d" in note for note in report["notes"])


def _part(whole: Support, keep: np.ndarray) -> Support:
    return replace(
        whole, labels=whole.labels[keep], groups=whole.groups[keep], names=tuple(whole.names[i] for i in keep),
        embeddings=whole.embeddings[torch.from_numpy(keep)],
    )  # fmt: skip


def test_two_actions_cannot_say_unknown():
    found = teach(clips(ways=2))
    assert found.threshold == -np.inf and "fewer than three actions" in found.report["unknown"]["how"]
    assert any("every video gets one of the labels" in note for note in found.report["notes"])


def test_unknown_can_be_declined():
    found = teach(clips(), reject=False)
    assert found.threshold == -np.inf and found.report["unknown"]["auroc"] is not None
    assert found.report["unknown"]["threshold"] is None


def test_what_looks_like_the_background_is_unknown():
    whole = replace(clips(), background=True)  # the last class shows none of the actions
    found = teach(whole)
    proba, known = found.decider(whole.embeddings)
    assert proba.shape == (24, 3), "the background is no answer"
    refused = (known < found.threshold).numpy()
    assert refused[18:].mean() > 0.8 and refused[:18].mean() < 0.2
    two = teach(replace(_part(clips(ways=3), np.arange(18)), background=True))
    assert two.threshold == NEVER and two.report["accuracy"]["clips"] == 18
    assert not any("taken_for" in row and row["label"] == "c" and row["taken_for"] == "unknown"
                   for row in two.report["confusions"])  # fmt: skip


def test_planted_faults_are_found():
    whole = clips(spread=0.6)
    labels = whole.labels.copy()
    labels[3] = 1  # an "a" that is called "b"
    frames = whole.embeddings.clone()
    frames[20] = frames[19] + 0.001 * torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    report = teach(replace(whole, labels=labels, embeddings=frames)).report
    wrong = [row for row in report["suspects"] if row["reason"] == "mislabelled"]
    double = [row for row in report["suspects"] if row["reason"] == "duplicate"]
    assert [(row["clip"], row["label"], row["looks_like"]) for row in wrong] == [("a/3.mp4", "b", "a")]
    assert [(row["clip"], row["other"]) for row in double] == [("d/2.mp4", "d/1.mp4")]
    assert any("near-duplicate" in note for note in report["notes"])
    assert teach(whole).report["suspects"] == []


def test_near_duplicates_are_one_group():
    assert suspects.joined(np.array(["a", "b", "c", "d"]), [(0, 2), (2, 3)]).tolist() == ["a", "b", "a", "a"]


def test_a_method_can_be_told():
    found = teach(clips(), "otam")
    assert found.method == "otam" and [row["name"] for row in found.report["methods"]] == ["otam"]
    with pytest.raises(OptionError, match="did you mean 'prototype'"):
        teach(clips(), "protoype")
    with pytest.raises(OptionError, match="method 'text' needs class texts"):
        teach(clips(), "text")
    with pytest.raises(OptionError, match="method 'partial' needs weights"):
        teach(clips(), "partial")


def test_the_promise_is_kept_where_the_truth_is_known():
    """16 draws of 4 x 6 clips: the interval must cover the share of 400 further clips that get their label."""
    covered = []
    for seed in range(16):
        whole = clips(each=106, spread=1.6, seed=seed)
        number = np.tile(np.arange(106), 4)
        found = teach(_part(whole, np.flatnonzero(number < 6)), seed=seed)
        rest = np.flatnonzero(number >= 6)
        proba, known = found.decider(whole.embeddings[torch.from_numpy(rest)])
        answered = np.where(known >= found.threshold, proba.argmax(1), -1)
        truth = (answered == whole.labels[rest]).mean()
        covered.append(found.report["accuracy"]["low"] <= truth <= found.report["accuracy"]["high"])
    assert np.mean(covered) >= 0.9
