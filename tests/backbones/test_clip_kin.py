"""CLIP's kin: MetaCLIP 2, whose texts end at token 2, and image towers alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from checkpoints import pooled_text, write
from forks import Command
from kshot import tuning
from kshot.backbones.backbone import load
from kshot.errors import CheckpointError, OptionError

WORDS = ["<s>", "<pad>", "</s>", "a", "video", "of", "person", "doing", "clap", "wave", "jump", "stand"]


def tokenizer(folder: Path, ends: bool = True) -> None:
    """One as MetaCLIP 2 has it: texts begin with token 0 and end with token 2, the lowest but one of a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    single = "<s> $A </s>" if ends else "<s> $A"
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 0), ("</s>", 2)])
    made.save(str(folder / "tokenizer.json"))


def test_texts_of_metaclip_2_end_at_their_own_token_though_it_is_2(tmp_path: Path) -> None:
    theirs = write(tmp_path, "metaclip_2", "end of text is 2")
    tokenizer(tmp_path)
    ours = load(tmp_path)
    names, prompt = ["clap", "wave", "jump stand"], "a video of {}"
    rows = ours.tokenize([prompt.replace("{}", name) for name in names])
    assert rows[0].tolist() == [0, 3, 4, 5, 8, 2, 2]
    expected = F.normalize(pooled_text(theirs, rows), dim=-1)
    torch.testing.assert_close(ours.embed_text(names, prompt), expected, atol=1e-5, rtol=0)
    assert ours.text_notes(names, prompt) == []
    (note,) = ours.text_notes(["clap " * 20, "wave"], prompt)
    assert "longer than the 10 tokens" in note
    tokenizer(tmp_path, ends=False)
    with pytest.raises(CheckpointError, match="does not end texts with the end-of-text token"):
        load(tmp_path).embed_text(names, prompt)


def test_the_same_weights_as_clip_and_as_metaclip_2_are_two_backbones(tmp_path: Path) -> None:
    write(tmp_path, "metaclip_2", "end of text is 2")
    first = load(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "clip", "architectures": ["CLIPModel"]}))
    other = load(tmp_path)
    assert (first.text.highest, other.text.highest) == (False, True)
    assert first.fingerprint != other.fingerprint


def test_a_sentencepiece_model_alone_is_refused_with_the_way_out(tmp_path: Path) -> None:
    write(tmp_path, "metaclip_2")
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"pieces")
    with pytest.raises(CheckpointError, match=r"only as sentencepiece.bpe.model, .*: add tokenizer.json, which"):
        load(tmp_path)
    tokenizer(tmp_path)
    assert load(tmp_path).has_text


@pytest.mark.parametrize("kind", ["clip_vision_model", "metaclip_2_vision_model"])
def test_image_towers_have_all_tuning_methods_but_those_of_texts(tmp_path: Path, kind: str) -> None:
    write(tmp_path, kind)
    made = load(tmp_path)
    x = torch.randn(4, *made.input_shape)
    for method in tuning.TUNING:
        tuned = made.copy()
        if method == "coop":
            with pytest.raises(OptionError, match=r"'coop' does not fit .*, which has no text tower that could learn"):
                tuning.apply(method, tuned)
            continue
        cut = tuning.apply(method, tuned, **({"frames": 2} if method == "aim" else {}))
        found = tuned.encode_from(tuned.encode_to(x, cut), cut, frames=2)
        assert found.shape == (4, 16)
        if method not in ("vpt", "clip-adapter"):
            torch.testing.assert_close(found, made(x), atol=1e-5, rtol=1e-5)
    with pytest.raises(OptionError, match=r"class texts are needed, but backbone .* has no text side"):
        made.embed_text(["clap"])


def test_halves_of_a_clip_are_one_line(tmp_path: Path, clip_folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tower = tmp_path / "tower"
    write(tower, "clip_vision_model")
    whole = Path(shutil.copytree(clip_folder, tmp_path / "whole"))

    def said(folder: Path, **changed: Any) -> str:
        path = folder / "config.json"
        values = json.loads(path.read_text())
        path.write_text(json.dumps(values | changed))
        with pytest.raises(CheckpointError) as caught:
            load(folder)
        path.write_text(json.dumps(values))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "architectures ['CLIPVisionModel'], expected CLIPVisionModelWithProjection" in said(
        tower, architectures=["CLIPVisionModel"]
    )
    assert "architectures ['CLIPVisionModelWithProjection'], expected CLIPModel" in said(
        whole, architectures=["CLIPVisionModelWithProjection"]
    )
    assert "tensors that its config.json knows nothing of" in said(
        whole, **json.loads((tower / "config.json").read_text())
    )
    weights = load_file(tower / "model.safetensors")
    save_file({n: v for n, v in weights.items() if "projection" not in n}, tower / "model.safetensors")
    assert "1 of 56 tensors are missing (visual_projection.weight)" in said(tower)
    assert "projection_dim is 0, expected 1 to" in said(tower, projection_dim=0)


def test_the_commands_work_on_an_image_tower(command: Command, clips_csv: Path, tmp_path: Path) -> None:
    write(tmp_path / "tower", "clip_vision_model")
    place = ("--backbone", tmp_path / "tower", "--store", tmp_path / "store", "--frames", 2, "--json")
    shape = ("--way", 3, "--query", 1, "--episodes", 5)
    code, out, err = command("evaluate", clips_csv, *place, *shape)
    assert code == 0 and json.loads(out)["accuracy"] >= 0, err
    code, out, err = command("evaluate", clips_csv, *place, *shape, "--head", "text")
    assert code == 2 and "has no text side" in err
