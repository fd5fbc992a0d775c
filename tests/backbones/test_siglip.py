"""SigLIP: its pixels and texts, the pooling head with one query, what is refused, and the commands on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from checkpoints import frames, head, head_text, write
from forks import Command
from kshot import tuning
from kshot.backbones.backbone import Backbone, load
from kshot.backbones.families.siglip import Head, Siglip, VisionConfig
from kshot.errors import CheckpointError, OptionError
from kshot.fewshot.learner import Learner
from kshot.video import FRAMINGS, preprocess

PIECES = ["<pad>", "</s>", "a", "video", "of", "person", "doing", "unknown", *"abcdefghijklmnopqrstuvwxyz"]


def words(folder: Path, filler: str | None = "<pad>") -> None:
    """A tokenizer of letters, as SigLIP 2 has one: no token before a text, one behind it, another to fill it up."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(PIECES)}, unk_token="unknown"))
    letters = pre_tokenizers.Split(Regex("."), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), letters])
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": filler, "model_max_length": 64}))


def processor(**changed: Any) -> Any:
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    return SiglipImageProcessorPil(**{"size": {"height": 32, "width": 32}, **changed})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("siglip")
    theirs = write(folder, "siglip")
    words(folder)
    processor(resample=2).save_pretrained(folder)
    return folder, theirs


@pytest.fixture(scope="module")
def loaded(written: tuple[Path, Any]) -> Backbone:
    return load(written[0])


@pytest.fixture
def folder(written: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(written[0], tmp_path / "siglip")


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm())


# pixels and texts


@pytest.mark.parametrize(("resample", "resize"), [(3, "squash"), (2, "squash-bilinear")])
@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (20, 24)])
def test_squares_and_pixels_are_those_of_its_image_processor(
    folder: Path, shape: tuple[int, int], resample: int, resize: str
) -> None:
    made = processor(resample=resample, image_mean=[0.5, 0.4, 0.3])
    made.save_pretrained(folder)
    ours = load(folder)
    assert (ours.size, ours.resize) == (32, resize)
    images = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    expected = made(list(images), return_tensors="pt")["pixel_values"].float()
    squares = preprocess(images, ours.size, FRAMINGS[ours.resized("short")])
    torch.testing.assert_close(ours.pixels(squares), expected, atol=3e-6, rtol=2e-6)


def test_names_are_filled_up_and_read_at_the_last_position(loaded: Backbone, written: tuple[Path, Any]) -> None:
    ids = loaded.tokenize(["ab", "abcdefghijklmnop"])
    assert ids.shape == (2, 12) and ids[0].tolist() == [8, 9, 1, *[0] * 9] and ids[1, -1] == 1
    expected = F.normalize(head_text(written[1], loaded.tokenize(["xab", "xcd"])), dim=-1)
    torch.testing.assert_close(loaded.embed_text(["ab", "cd"], "x{}"), expected, atol=1e-5, rtol=0)
    assert loaded.text_notes(["ab", "cd"], "x{}") == []
    (note,) = loaded.text_notes(["abcdefghijklmnop", "cd"], "x{}")
    assert "1 of 2 class texts are longer than the 11 tokens" in note and "'klmnop'" in note
    with pytest.raises(OptionError, match=r"leaves no room for 'a'"):
        loaded.embed_text(["a", "b"], "abcdefghijklmnop{}")


def test_the_scale_is_that_of_the_sigmoid(loaded: Backbone, written: tuple[Path, Any]) -> None:
    theirs = written[1]
    assert loaded.logit_scale == pytest.approx(float(theirs.logit_scale.detach().exp()))
    x, ids = frames(loaded, 3), loaded.tokenize(["ab", "cd"])
    with torch.no_grad():
        logits = theirs(pixel_values=x, input_ids=ids).logits_per_image
        cosines = F.normalize(loaded(x), dim=-1) @ F.normalize(loaded.text.encode_from(ids, 0), dim=-1).T
    wanted, found = logits.softmax(-1), (loaded.logit_scale * cosines).softmax(-1)  # the bias changes no softmax
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_condensed_texts_are_read_at_the_last_position(loaded: Backbone) -> None:
    ids, last = loaded.tokenize(["ab", "cd"]), loaded.text.depth
    read = loaded.text.read(ids)
    assert read.tolist() == [11, 11]
    tokens = loaded.text.encode_to(ids, last)
    expected = loaded.text.encode_from(ids, 0)
    assert distance(loaded.text.encode_from(tokens, last), expected) <= 1e-5
    assert distance(loaded.text.encode_from(loaded.text.condense(tokens, read), last), expected) <= 1e-5


# the head


def test_the_real_width_and_its_work() -> None:
    """The head of B/16: the numbers and gradients of transformers' at less than a tenth of its work."""
    from transformers import SiglipVisionConfig
    from transformers.models.siglip.modeling_siglip import SiglipMultiheadAttentionPoolingHead

    torch.manual_seed(0)
    theirs, ours = SiglipMultiheadAttentionPoolingHead(SiglipVisionConfig()), Head(VisionConfig())
    with torch.no_grad():
        for value in theirs.parameters():
            value.add_(torch.randn_like(value) * 0.02)
    ours.load_state_dict(theirs.state_dict())
    assert sum(value.numel() for value in ours.parameters()) == 7_087_104
    n = torch.randn(3, 196, 768)
    expected, found = theirs(n), ours.pool(n)
    assert distance(found, expected) <= 1e-5
    expected.square().sum().backward()
    found.square().sum().backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert distance(mine.grad, other.grad) <= 1e-4, name
    work = {}
    for way in (ours.pool, ours.forward):
        with FlopCounterMode(display=False) as counter:
            way(n)
        work[way] = counter.get_total_flops()
    assert work[ours.forward] > 10 * work[ours.pool]


def test_weights_by_change_take_the_place_of_the_query(loaded: Backbone) -> None:
    x = frames(loaded, 4)
    seen = loaded.encode_from(x, 0, frames=2, changing=True)
    n = loaded.encode_to(x, loaded.depth)
    torch.testing.assert_close(seen, loaded.encode_from(n, loaded.depth, frames=2, changing=True))
    pooling = loaded.image.blocks[-1]
    assert isinstance(pooling, Head)
    alike = pooling.attend(n, torch.full(n.shape[:2], 1 / n.shape[1]))
    blind = pooling.attention.in_proj_weight.detach().clone()
    blind[: n.shape[2]] = 0  # a query that sees all alike
    even = loaded.copy().image.blocks[-1]
    assert isinstance(even, Head)
    even.attention.in_proj_weight = nn.Parameter(blind)
    even.attention.in_proj_bias = nn.Parameter(pooling.attention.in_proj_bias.detach().clone())
    with torch.no_grad():
        even.attention.in_proj_bias[: n.shape[2]] = 0
    torch.testing.assert_close(even(n), alike, atol=1e-5, rtol=1e-5)
    with pytest.raises(OptionError, match="only the embedding was kept"):
        loaded.encode_from(loaded(x), loaded.depth + 1, frames=2, changing=True)
    with pytest.raises(OptionError, match="nothing to condense"):
        loaded.condense(n)


# what fits, what is refused


@pytest.mark.parametrize("method", sorted(tuning.TUNING))
def test_a_tuning_method_fits_or_is_refused_in_one_line(loaded: Backbone, method: str) -> None:
    tuned, x = loaded.copy(), frames(loaded, 4)
    if method not in Siglip.tunings:
        lack = "token before the first word of a text" if method == "coop" else "class token"
        with pytest.raises(OptionError, match=f"'{method}' does not fit .*, which has no {lack}: take partial, "):
            tuning.apply(method, tuned)
        return
    cut = tuning.apply(method, tuned)
    found = tuned.encode_from(tuned.encode_to(x, cut), cut)
    if method != "clip-adapter":
        assert distance(found, loaded(x)) <= 1e-5
    found.square().sum().backward()
    assert any(value.grad is not None and value.grad.any() for value in tuned.parameters())
    if method == "partial":
        assert cut == loaded.depth and not any(value.requires_grad for value in tuned.image.post.parameters())


def weights(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "model.safetensors"
        save_file(change({name: value.clone() for name, value in load_file(file).items()}), file)

    return damage


def says(file: str, part: str | None = None, **changed: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        values = json.loads((folder / file).read_text())
        place = values[part] if part else values
        place.update(changed)
        (folder / file).write_text(json.dumps(values))

    return damage


OLD = "preprocessor_config.json"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (weights(lambda w: {n: v for n, v in w.items() if "text" not in n}), "are missing .*whole SigLIP, image and"),
        (weights(lambda w: {n: v for n, v in w.items() if "probe" not in n}), "1 of .* missing .*head.probe"),
        (weights(lambda w: w | {"logit_scale": torch.full((1,), 99.0)}), "logit_scale is 99"),
        (weights(lambda w: w | {"classifier.weight": torch.ones(2)}), "holds 1 tensors"),
        (says("config.json", architectures=["SiglipVisionModel"]), "expected SiglipModel"),
        (
            says("config.json", model_type="siglip2"),
            "model_type 'siglip2': SigLIP 2 NaFlex takes pictures of any shape",
        ),
        (says("config.json", "vision_config", vision_use_head=False), "vision_use_head is not true"),
        (says("config.json", "text_config", projection_size=24), "texts become vectors of 24, images of 32"),
        (says("config.json", "vision_config", image_size=[32, 48]), "only square ones"),
        (says("tokenizer_config.json", pad_token=None), "names no pad_token"),
        (lambda folder: (folder / "tokenizer_config.json").unlink(), "names no pad_token"),
        (says(OLD, resample=1), "resample is 1, .*bilinear or the bicubic"),
        (says(OLD, do_center_crop=True), r"do_center_crop is True, .*nothing is cut off"),
        (says(OLD, size={"height": 32, "width": 48}), "size is .*both sides are resized to the 32 pixels"),
        (says(OLD, size={"shortest_edge": 32}), "size is .'shortest_edge': 32"),
        (says(OLD, image_processor_type="CLIPImageProcessor"), "expected one of SigLIP's own"),
    ],
)
def test_half_and_foreign_checkpoints_are_one_line(folder: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=said) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_the_image_tower_alone_is_read_as_both_transformers_write_it(tmp_path: Path) -> None:
    write(tmp_path, "siglip_vision_model")
    made, file = load(tmp_path), tmp_path / "model.safetensors"
    assert not made.has_text and made.tunings == Siglip.tunings
    save_file({f"vision_model.{name}": value for name, value in load_file(file).items()}, file)  # transformers 4
    assert load(tmp_path).fingerprint == made.fingerprint
    with pytest.raises(OptionError, match="has no text side"):
        made.embed_text(["a"])
    says("config.json", vision_use_head=False)(tmp_path)
    with pytest.raises(CheckpointError, match=r"does not describe a SigLIP's image tower .vision_use_head is not true"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["text", "fusion", "tip-adapter"])
def test_heads_that_read_texts_take_the_sigmoids_scale_wherever_none_is_chosen(loaded: Backbone, name: str) -> None:
    option = "scale" if name == "text" else "text_scale"
    assert loaded.logit_scale != pytest.approx(100, abs=10)
    for made in (Learner.frozen(loaded, name), Learner.build(loaded, "partial", head=name)):
        assert made.head_options[option] == loaded.logit_scale
    assert Learner.frozen(loaded, name, {option: 7.0}).head_options[option] == 7.0
    assert option not in Learner.frozen(loaded, "prototype").head_options
    assert option not in Learner.frozen(load("kshot-tiny"), name).head_options  # CLIP's 100, as ever


def test_a_sentencepiece_model_alone_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "spiece.model")
    with pytest.raises(CheckpointError, match=r"its tokenizer only as spiece.model"):
        load(folder)
    (folder / "spiece.model").unlink()
    made = load(folder)  # a folder without one embeds frames
    with pytest.raises(CheckpointError, match="came without a tokenizer"):
        made.embed_text(["a"])


# commands


@pytest.mark.slow
def test_the_commands_work_on_it(command: Command, written: tuple[Path, Any], clips_csv: Path, tmp_path: Path) -> None:
    place = ("--backbone", written[0], "--store", tmp_path / "store", "--frames", 2, "--json")
    shape = ("--way", 3, "--query", 1, "--prompt", "{}")
    code, out, err = command("extract", clips_csv, *place, "--workers", 0)
    assert code == 0 and json.loads(out)["stored_now"] == 112, err
    for name in ("prototype", "where", "text", "fusion"):
        code, out, err = command("evaluate", clips_csv, *place, *shape, "--episodes", 5, "--head", name)
        assert code == 0 and json.loads(out)["head"] == name, err
    code, out, err = command(
        "train", clips_csv, *place, *shape, "--tuning", "partial", "--steps", 2, "--val-every", 2, "--val-episodes", 3,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    code, out, err = command(
        "evaluate", clips_csv, "--adapted", tmp_path / "run", "--store", tmp_path / "store", *shape, "--episodes", 5
    )
    assert code == 0, err
    code, _, err = command(
        "fit", f"{clips_csv}?split=test", *place[:4], "--out", tmp_path / "model", "--method",
        "prototype",
    )  # fmt: skip
    assert code == 0, err
    code, out, err = command("train", clips_csv, *place, *shape, "--tuning", "lora", "--out", tmp_path / "no")
    assert code == 2 and "which has no class token" in err


def test_head_is_what_the_whole_tower_gives(loaded: Backbone, written: tuple[Path, Any]) -> None:
    x = frames(loaded)
    half = loaded.encode_to(x, loaded.depth).half()
    assert distance(loaded.encode_from(half, loaded.depth), head(written[1], x)) <= 5e-3
