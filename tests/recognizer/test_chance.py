"""Where a recognizer is not shown to be better than chance, that comes first, with what to do about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_fitting import clips as support

from forks import Command
from kshot.recognizer.card import card
from kshot.recognizer.chance import beside_chance
from kshot.recognizer.fitting import fit
from kshot.recognizer.report import Accuracy, CurvePoint, Report, Share, Suspect

LARGER = "take a better backbone (`--backbone ViT-B/16`, 0.6 GB, fetched once from the Hugging Face hub)"
MORE = "then more or other clips."


@pytest.fixture(scope="module")
def clear() -> Report:
    """Four actions that are told apart."""
    found = fit(support(spread=0.5)).report
    assert found.accuracy is not None and found.accuracy.low > 0.5 and len(found.classes) == 4
    return found


def share(value: float, low: float, high: float) -> Accuracy:
    return Accuracy(value, low, high, 24, "by hand", Share(value, low, high))


def test_nothing_is_said_where_actions_are_told_apart(clear: Report) -> None:
    found = beside_chance(clear, "lite")
    assert (found.backbone, found.chance, found.warning) == ("lite", 0.25, "")
    assert found.suspects == clear.suspects


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.6), (0.25, 0.6), (0.05, 0.2)])
def test_an_interval_that_holds_chance_or_lies_below(clear: Report, low: float, high: float) -> None:
    suspects = [Suspect("a", "x", "y", "mislabelled", None), Suspect("b", "x", "x", "duplicate", "c")]
    found = beside_chance(replace(clear, accuracy=share(0.4, low, high), suspects=suspects), "lite")
    assert found.warning == (
        f"It is not shown that backbone lite can tell these actions apart (40 % expected, 95 % interval "
        f"{100 * low:.0f} % to {100 * high:.0f} %, chance 25 %): {LARGER}, {MORE}"
    )
    assert found.suspects == suspects[1:], "no clip is called mislabelled where actions are not told apart"
    assert found.accuracy == share(0.4, low, high) and found.notes == clear.notes


def test_an_interval_just_above_chance_is_none(clear: Report) -> None:
    assert beside_chance(replace(clear, accuracy=share(0.5, 0.251, 0.7)), "lite").warning == ""


def test_frequent_actions_hide_nothing(clear: Report) -> None:
    """Nine of ten clips of one action: always its name is right in 90 %, and at chance where all are alike frequent."""
    lopsided = replace(share(0.9, 0.8, 0.95), balanced=Share(0.24, 0.2, 0.3))
    found = beside_chance(replace(clear, accuracy=lopsided), "lite")
    assert "24 % expected, 95 % interval 20 % to 30 %, chance 25 %" in found.warning


@pytest.mark.parametrize(
    ("first", "last", "said"), [(0.42, 0.44, True), (0.5, 0.4, True), (0.42, 0.46, False), (0.95, 0.95, False)]
)
def test_clips_that_did_not_help(clear: Report, first: float, last: float, said: bool) -> None:
    """Unless they could not, because nearly all is right already."""
    curve = [CurvePoint(1, first), CurvePoint(2, 0.9), CurvePoint(4, last)]
    found = beside_chance(replace(clear, accuracy=share(0.45, 0.36, 0.55), curve=curve), "lite")
    assert (found.warning != "") is said
    if said:
        assert found.warning.startswith("More clips did not help backbone lite to tell these actions apart (")
        assert f"{100 * first:.0f} % right with 1 an action" in found.warning and LARGER in found.warning


def test_without_an_accuracy_the_reason_is_said_elsewhere() -> None:
    lone = fit(support(each=1)).report
    found = beside_chance(lone, "lite")
    assert found.warning == "" and found.chance == 0.25 and found.why


def test_the_next_step_is_the_backbones(clear: Report) -> None:
    blind = replace(clear, accuracy=share(0.3, 0.2, 0.5))
    real = beside_chance(blind, "kshot-tiny").warning
    assert real.endswith(
        f": take a better backbone (`--backbone lite`, which is installed and knows real video), {MORE}"
    )
    same = "take more or other clips, or actions that look less alike."
    assert beside_chance(blind, "kshot-tiny", drawn=True).warning.endswith(f": {same}")
    assert beside_chance(blind, "models/mine").warning.endswith(f": {same}")
    assert ": adapt a better backbone by `kshot train` (" in beside_chance(blind, "lite", adapted=True).warning
    assert real.count("\n") == 0 and real.count(". ") == 0, "one sentence"


def test_the_command_and_the_card_say_it_first(command: Command, tmp_path: Path) -> None:
    """Noise under two names: nothing can tell them apart."""
    from clips import write_video

    random = np.random.default_rng(0)
    for label in ("one", "two"):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for clip in range(6):
            noise = random.integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
            write_video(tmp_path / "clips" / label / f"{clip}.mp4", noise)
    words = ("fit", tmp_path / "clips", "--out", tmp_path / "model", "--frames", 2, "--store", tmp_path / "store")
    code, out, err = command(*words, "--backbone", "kshot-tiny")
    assert code == 0, err
    first = out.splitlines()[0]
    assert "backbone kshot-tiny" in first and "chance 50 %" in first
    assert "`--backbone lite`, which is installed" in first
    assert "looks like" not in out and "chance: 50 %, by guessing one of 2" in out
    about = (tmp_path / "model" / "README.md").read_text("utf-8").split("## What to expect\n\n")[1]
    assert about.splitlines()[0].replace("\\", "") == first


def test_a_card_of_an_older_report_has_no_chance(clear: Report) -> None:
    plain = clear.plain()
    for name in ("backbone", "chance", "warning"):
        del plain[name]
    config = {
        "report": plain, "arguments": {"background": None, "frames": 8, "seed": 0}, "classes": ["a", "b", "c", "d"],
        "clips": [], "kshot": "0.1.0", "threshold": None, "method": "prototype", "adapted": None,
        "backbone": {"name": "kshot-tiny", "fingerprint": "f" * 64},
    }  # fmt: skip
    assert "Chance" not in card(config, []) and Report.of_plain(plain) == clear
