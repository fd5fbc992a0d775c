"""Class texts: what the text tower does not see is said, and a lost name is an error wherever texts are made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clips import beside_few_val
from kshot import tuning
from kshot.backbones.backbone import Backbone, load
from kshot.backbones.texts import expect_prompts, written
from kshot.errors import DataError, OptionError
from kshot.fewshot.evaluation import evaluate
from kshot.fewshot.training import train
from kshot.recognizer import Recognizer

LONG = "word " * 20 + "{}"  # the tiny text tower reads 24 tokens, a letter each in "word"
NAMES = ["clap", "wave"]


def test_a_text_is_the_template_with_the_name() -> None:
    made = written(["open_arms", "{}"], ["a {} now", "{}, {}"])
    assert [text.words for text in made] == ["a open arms now", "open arms, open arms", "a {} now", "{}, {}"]
    assert [text.words[text.begin : text.end] for text in made] == ["open arms", "open arms", "{}", "{}"]


def test_a_name_may_be_as_it_is_spelled() -> None:
    (made,) = written(["brush_hair"], ["a photo of action about {spelled}"])
    assert made.words == "a photo of action about brush_hair"
    assert made.words[made.begin : made.end] == made.name == "brush_hair"
    assert expect_prompts("about {spelled}") == ["about {spelled}"]
    with pytest.raises(OptionError, match="a prompt needs"):
        expect_prompts("{} or {spelled}")


def test_whole_texts_need_no_note(backbone: Backbone) -> None:
    assert backbone.text_notes(NAMES) == []


def test_a_prompt_that_leaves_no_room_is_refused(backbone: Backbone) -> None:
    for act in (backbone.embed_text, backbone.text_notes):
        with pytest.raises(OptionError, match=r"'word word .*\.\.\.' leaves no room for 'clap': .* 22 tokens"):
            act(NAMES, LONG)
    with pytest.raises(OptionError, match="leaves no room"):  # one of several is enough
        backbone.embed_text(NAMES, ["a photo of {}", LONG])


def test_what_is_cut_off_behind_the_name_is_said(backbone: Backbone) -> None:
    [note] = backbone.text_notes(["clap", "wave"], ["a photo of {} " + "jump " * 30])
    assert "2 of 2 class texts are longer than the 22 tokens that this text tower reads" in note
    assert "of 'clap' it does not see 'jump jump" in note
    [note] = backbone.text_notes(["clap", "jump " * 40], ["{}"])
    assert note.startswith("prompt '{}': 1 of 2 class texts")
    assert backbone.embed_text(["clap", "jump " * 40], ["{}"]).shape == (2, 16)


def test_names_cut_off_before_they_differ_are_refused(backbone: Backbone) -> None:
    same = "jump " * 30
    with pytest.raises(OptionError, match=r"classes 'jump .*' and 'jump .*' are cut off before they differ"):
        backbone.embed_text([same + "clap", same + "wave"], ["{}"])


@pytest.mark.parametrize(
    ("one", "other"), [("Wave", "wave"), ("open_arms", "open arms"), ("open  arms", "open arms"), ("e\u0301", "\u00e9")]
)
def test_names_that_are_one_text_are_refused_naming_both(backbone: Backbone, one: str, other: str) -> None:
    with pytest.raises(DataError, match=f"classes '{one}' and '{other}' are one text to this backbone"):
        backbone.embed_text([one, "clap", other])


def test_a_name_of_which_nothing_is_left_is_refused(backbone: Backbone) -> None:
    for name in ("___", " ", ""):
        with pytest.raises(DataError, match="nothing is left of the class name"):
            backbone.embed_text(["clap", name])


@pytest.mark.parametrize("eos", [None, 2], ids=["end by its id", "end by the highest id"])
def test_a_token_that_is_taken_for_the_end_ends_the_text(clip_folder: Path, tmp_path: Path, eos: int | None) -> None:
    """Letters that a vocabulary lacks become its unknown token, which CLIP's tokenizer makes the end-of-text token."""
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    if eos is not None:
        config = json.loads((folder / "config.json").read_text())
        config["text_config"]["eos_token_id"] = eos
        (folder / "config.json").write_text(json.dumps(config))
    said = json.loads((folder / "tokenizer.json").read_text())
    for piece in ("q", "q</w>"):
        del said["model"]["vocab"][piece]
    (folder / "tokenizer.json").write_text(json.dumps(said))
    made = load(folder)
    with pytest.raises(OptionError, match="leaves no room for 'clap'"):
        made.embed_text(["clap", "wave"], "q {}")
    with pytest.raises(OptionError, match=r"leaves no room for 'q clap'|cut off before they differ"):
        made.embed_text(["q clap", "q wave"])


def test_coop_is_looked_at_with_its_own_context(backbone: Backbone) -> None:
    own = backbone.copy()
    tuning.apply("coop", own, context=21, stop=False)
    assert own.embed_text(NAMES).shape == (2, 16)  # 21 vectors, a token of name
    with pytest.raises(OptionError, match=r"leaves no room|cut off before they differ"):
        own.embed_text(["a clap", "a wave"])
    [note] = own.text_notes(["clap", "wave the arms"])
    assert "1 of 2 class texts" in note


def test_evaluation_refuses_or_says_it(backbone: Backbone, clips_csv: Path, warm_store: Path, command: Any) -> None:
    shared: dict[str, Any] = {"way": 3, "query": 2, "episodes": 5, "store": warm_store}
    with pytest.raises(OptionError, match="leaves no room"):
        evaluate(clips_csv, backbone, head="text", prompts=[LONG], **shared)
    assert evaluate(clips_csv, backbone, prompts=[LONG], **shared).notes == []  # no class texts are looked at
    result = evaluate(clips_csv, backbone, head="text", prompts=["a {} " + "jump " * 30], **shared)
    assert len(result.notes) == 1 and "class texts are longer" in result.notes[0]
    assert result.summary()["notes"] == result.notes


def test_training_refuses_or_says_it_before_anything_is_decoded(
    backbone: Backbone, clips_csv: Path, warm_store: Path, tmp_path: Path
) -> None:
    shared: dict[str, Any] = {
        "backbone": backbone, "store": warm_store, "way": 3, "query": 2, "steps": 1, "val_episodes": 2,
    }  # fmt: skip
    refused: tuple[dict[str, Any], ...] = (
        {"prompts": [LONG], "strategy_options": {"loss": "text"}},
        {"prompts": [LONG], "strategy": "finetune", "strategy_options": {"classifier": "text"}},
        {"prompts": [LONG], "strategy": "finetune-meta", "strategy_options": {"classifier": "text"}},
        {"prompts": [LONG], "head": "fusion"},
        {"prompts": [LONG], "head": "text", "tuning": "bitfit", "tuning_options": {"tower": "text"}},
    )
    for options in refused:
        with pytest.raises(OptionError, match="leaves no room"):
            train(clips_csv, tmp_path / "run", **shared, **options)
        assert not (tmp_path / "run").exists()
    done = train(clips_csv, tmp_path / "said", head="text", prompts=["a {} " + "jump " * 30], **shared)
    notes = beside_few_val(done.notes)
    assert len(notes) == 2 and all("class texts are longer" in note for note in notes)  # base and val
    said = json.loads((tmp_path / "said" / "config.json").read_text())
    assert said["result"]["notes"] == list(done.notes) == list(done.report()["notes"])
    assert beside_few_val(train(clips_csv, tmp_path / "quiet", prompts=[LONG], **shared).notes) == []


def test_a_recognizer_does_without_names_that_it_cannot_tell_apart(backbone: Backbone) -> None:
    draw = np.random.default_rng(0)
    clips = [draw.integers(0, 255, (8, 32, 32, 3), dtype=np.uint8) for _ in range(6)]
    labels = ["open arms"] * 3 + ["open_arms"] * 3
    with pytest.raises(DataError, match="classes 'open arms' and 'open_arms' are one text"):
        Recognizer(backbone, method="text").fit(clips, labels)
    taught = Recognizer(backbone).fit(clips, labels)
    assert taught.method_ not in ("text", "fusion")
    [note] = [note for note in taught.report_["notes"] if "one text" in note]
    assert note.startswith("Class names play no part: classes 'open arms' and 'open_arms' are one text")
    plain = Recognizer(backbone, method="prototype").fit(clips, labels)
    assert not any("one text" in note for note in plain.report_["notes"])
    long = Recognizer(backbone, method="text", prompts=["a {} " + "jump " * 30]).fit(clips, ["clap"] * 3 + ["wave"] * 3)
    assert any("class texts are longer" in note for note in long.report_["notes"])
    assert torch.is_tensor(long.classifier_.means)
