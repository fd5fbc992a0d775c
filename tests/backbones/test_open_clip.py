"""open_clip's layout: which files of a folder count, its pixels and texts, the attention pool, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import open_clips
from checkpoints import frames, visual, write
from forks import Command
from kshot import tuning
from kshot.backbones import hub, resnet
from kshot.backbones.backbone import Backbone, load
from kshot.errors import CheckpointError, OptionError

CONFIG, WEIGHTS, BIN = hub.OPEN_CLIP.config, hub.OPEN_CLIP.weights, hub.OPEN_CLIP.bin


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {way: tmp_path_factory.mktemp("open_clip") for way in ("", "ResNet")}
    for way, folder in made.items():
        write(folder, "open_clip", way)
        letters(folder)
    return made


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the Vision Transformer to damage."""
    return shutil.copytree(folders[""], tmp_path / "open_clip")


@pytest.fixture
def net(folders: dict[str, Path]) -> Backbone:
    return load(folders["ResNet"])


def letters(folder: Path) -> None:
    """A tokenizer of letters, whose end-of-text token is the highest, as CLIP's."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

    vocabulary = {
        "?": 0,
        **{letter: i + 1 for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz")},
        "<s>": 598,
        "</s>": 599,
    }
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    split = pre_tokenizers.Split(Regex("."), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), split])
    ends = [("<s>", 598), ("</s>", 599)]
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    made.save(str(folder / "tokenizer.json"))


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm())


# files


def test_weights_as_a_pickle_are_read_where_that_is_allowed(folder: Path) -> None:
    expected = load(folder).fingerprint
    torch.save(load_file(folder / WEIGHTS), folder / BIN)
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=rf"its weights only as {BIN}, a pickle: expected {WEIGHTS}"):
        load(folder)
    assert load(folder, allow_bin=True).fingerprint == expected


def test_a_folder_of_both_layouts_is_read_as_transformers(folder: Path, clip_folder: Path) -> None:
    apart = load(folder).fingerprint
    (folder / "config.json").write_text('{"architecture": "resnet50_clip"}')  # timm's, which names no model_type
    (folder / "model.safetensors").write_bytes(b"timm's")
    assert load(folder).fingerprint == apart
    (folder / "config.json").write_bytes((clip_folder / "config.json").read_bytes())
    (folder / "model.safetensors").unlink()
    assert load(folder).fingerprint == apart  # transformers' weights are not there
    for file in clip_folder.iterdir():
        shutil.copy(file, folder)
    assert load(folder).fingerprint == load(clip_folder).fingerprint


def test_texts_of_a_custom_tower_lie_under_a_name_of_their_own(folder: Path) -> None:
    ids = torch.tensor([[598, 3, 4, 599]])
    expected = load(folder).text.encode_from(ids, 0)
    at_top = ("visual.", "logit_")
    weights = {n if n.startswith(at_top) else f"text.{n}": v for n, v in load_file(folder / WEIGHTS).items()}
    save_file(weights | {"logit_bias": torch.tensor(-10.0)}, folder / WEIGHTS)
    says(custom_text=True, init_logit_bias=-10)(folder)
    assert torch.equal(load(folder).text.encode_from(ids, 0), expected)


# pixels and texts


@pytest.mark.parametrize(
    ("pixels", "mean", "resize"),
    [
        ({}, (0.5, 0.4, 0.3), "short"),
        ({"resize_mode": "shortest", "interpolation": "bicubic", "size": 32}, (0.5, 0.4, 0.3), "short"),
        ({"resize_mode": "squash"}, (0.5, 0.4, 0.3), "squash"),
        ({"resize_mode": "squash", "interpolation": "bilinear", "size": [32, 32]}, (0.5, 0.4, 0.3), "squash-bilinear"),
        ({"mean": None, "mode": "RGB", "fill_color": 0}, (0.48145466, 0.4578275, 0.40821073), "short"),
    ],
)
def test_pixels_are_those_of_preprocess_cfg(
    folder: Path, pixels: dict[str, Any], mean: tuple[float, ...], resize: str
) -> None:
    sees(**pixels)(folder)
    made = load(folder)
    torch.testing.assert_close(made.mean.flatten(), torch.tensor(mean))
    assert made.resize == resize


def test_texts_are_read_by_tokenizer_json_or_refused(folder: Path) -> None:
    made = load(folder)
    theirs = open_clips.OpenClip.from_pretrained(folder)
    padded = torch.zeros(2, 12, dtype=torch.long)  # as open_clip fills up
    padded[:, :5] = torch.tensor([[598, 24, 1, 2, 599], [598, 24, 3, 4, 599]])
    expected = F.normalize(theirs.embed(padded), dim=-1)
    torch.testing.assert_close(made.embed_text(["ab", "cd"], "x{}"), expected, atol=1e-5, rtol=0)
    assert made.logit_scale == pytest.approx(float(theirs.logit_scale.detach().exp()))
    (note,) = made.text_notes(["abcdefghijklmnop", "cd"], "x{}")
    assert "1 of 2 class texts are longer than the" in note and "of 'abcdefghijklmnop' it does not see" in note
    with pytest.raises(OptionError, match="leaves no room for 'a'"):
        made.embed_text(["a", "b"], "abcdefghijklmnop{}")
    (folder / "tokenizer.json").rename(folder / "spiece.model")
    with pytest.raises(CheckpointError, match=r"its tokenizer only as spiece.model, .*: add tokenizer.json"):
        load(folder)
    (folder / "spiece.model").unlink()
    with pytest.raises(CheckpointError, match=r"came without a tokenizer: put tokenizer\.json into its folder"):
        load(folder).embed_text(["a"])


# the ResNet


def test_the_attention_pool_of_rn50_is_the_published_one_at_a_tenth_of_its_work() -> None:
    """Its numbers and gradients at RN50's width; the gradient of what enters it, too."""
    torch.manual_seed(0)
    theirs, ours = (
        open_clips.Pool(49, 2048, 32, 1024),
        resnet.AttentionPool(resnet.Config((3, 4, 6, 3), 64, 32, 224, 1024)),
    )
    with torch.no_grad():
        nn.init.normal_(theirs.positional_embedding, std=2048**-0.5)
    ours.load_state_dict(theirs.state_dict())
    assert sum(value.numel() for value in ours.parameters()) == 14_789_632
    t = torch.randn(3, 49, 2048).relu_().requires_grad_()
    found, plain = ours.pool(t), ours(t.detach())
    found.square().sum().backward()
    same = t.detach().clone().requires_grad_()
    expected = theirs(same.mT.unflatten(2, (7, 7)))
    expected.square().sum().backward()
    assert max(distance(found, expected), distance(plain, expected)) <= 1e-5
    assert distance(t.grad, same.grad) <= 1e-4  # type: ignore[arg-type]
    largest = max(float(value.grad.norm()) for value in theirs.parameters())  # type: ignore[union-attr]
    for (name, mine), other in zip(
        sorted(ours.named_parameters()), (v for _, v in sorted(theirs.named_parameters())), strict=True
    ):
        assert mine.grad is not None and other.grad is not None
        scale = max(float(other.grad.norm()), 1e-3 * largest)  # the keys' bias has no gradient but rounding noise
        assert float((mine.grad - other.grad).norm()) / scale <= 1e-4, name
    work = {}
    for way in (ours.pool, ours.forward):
        with FlopCounterMode(display=False) as counter:
            way(t)
        work[way] = counter.get_total_flops()
    assert work[ours.forward] > 10 * work[ours.pool]


def test_half_stored_places_are_pooled_as_single_ones(net: Backbone) -> None:
    t = net.encode_to(frames(net), net.depth).half()
    assert torch.equal(net.encode_from(t, net.depth), net.encode_from(t.float(), net.depth))


def test_statistics_of_batch_norms_stay(net: Backbone) -> None:
    tuned = net.copy()
    assert tuning.apply("layernorm", tuned) == 0
    before = {name: value.clone() for name, value in tuned.named_buffers()}
    tuned.train()
    tuned(frames(tuned)).square().sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in tuned.named_buffers())
    learns = [value for value in tuned.parameters() if value.requires_grad]
    norms = [part for part in tuned.image.modules() if type(part).__name__ == "BatchNorm"]
    assert len(learns) == 2 * len(norms) == 2 * (3 + 5 * 3 + 4)
    assert all(value.grad is not None and value.grad.any() for value in learns)
    with pytest.raises(OptionError, match=r"the last blocks of backbone .* have no norm; take more"):
        tuning.apply("layernorm", net.copy(), blocks=1)


def test_weights_by_change_take_the_place_of_the_query(net: Backbone, folders: dict[str, Path]) -> None:
    x = frames(net, 4)
    seen = net.encode_from(x, 0, frames=2, changing=True)
    t = net.encode_to(x, net.depth)
    torch.testing.assert_close(seen, net.encode_from(t, net.depth, frames=2, changing=True))
    pool: Any = net.image.blocks[-1]
    weights = torch.rand(4, 4).softmax(1)
    mean = torch.einsum("nm,nmd->nd", weights, t + pool.positional_embedding[1:])
    torch.testing.assert_close(pool.attend(t, weights), pool.c_proj(pool.v_proj(mean)), atol=1e-4, rtol=1e-4)
    with pytest.raises(OptionError, match="only the embedding was kept"):
        net.encode_from(net(x), net.depth + 1, frames=2, changing=True)
    with pytest.raises(OptionError, match="nothing to condense"):
        net.condense(t)


def test_the_whole_tower_is_that_of_open_clip(net: Backbone, folders: dict[str, Path]) -> None:
    theirs = open_clips.OpenClip.from_pretrained(folders["ResNet"])
    assert distance(net(frames(net)), visual(theirs, frames(net))) <= 1e-5
    with pytest.raises(OptionError, match=r"expected frames of shape \(N, 3, 64, 64\)"):
        net(torch.zeros(1, 3, 32, 32))


# what is refused


def weights(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        made = change({name: value.clone() for name, value in load_file(folder / WEIGHTS).items()})
        save_file(made, folder / WEIGHTS)

    return damage


def edit(folder: Path, *places: str, **changed: Any) -> None:
    values = json.loads((folder / CONFIG).read_text())
    inside = values
    for place in places:
        inside = inside[place]
    inside.update(changed)
    (folder / CONFIG).write_text(json.dumps(values))


def says(part: str = "", **changed: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, "model_cfg", *filter(None, [part]), **changed)


def sees(**changed: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, "preprocess_cfg", **changed)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (weights(lambda w: {f"module.{n}": v for n, v in w.items()}), "incomplete: .* without 'module.' before every"),
        (
            weights(lambda w: {n: v for n, v in w.items() if n.startswith("visual")}),
            "incomplete: 38 of .*image and text",
        ),
        (weights(lambda w: {n: v for n, v in w.items() if n != "visual.proj"}), "1 of .*visual_projection"),
        (weights(lambda w: w | {"classifier.weight": torch.ones(2)}), f"holds 1 tensors that its {CONFIG} knows"),
        (weights(lambda w: w | {"visual.proj": torch.ones(4)}), r"visual_projection.weight has shape \(4,\)"),
        (weights(lambda w: w | {"logit_scale": torch.tensor(99.0)}), "logit_scale is 99"),
        (weights(lambda w: w | {"visual.ln_pre.weight": torch.full((32,), torch.nan)}), "NaN or infinite"),
        (says(multimodal_cfg={"width": 8}), "multimodal_cfg is set: a CoCa"),
        (says("vision_cfg", timm_model_name="vit_base"), "timm_model_name is 'vit_base': a tower of timm's"),
        (says("text_cfg", hf_model_name="roberta-base"), "hf_model_name is 'roberta-base': a tower of transformers's"),
        (says("vision_cfg", attentional_pool=True), "attentional_pool is True, which kshot does not follow"),
        (says("vision_cfg", pool_type="avg"), "pool_type is 'avg'"),
        (says("text_cfg", pool_type="last"), "pool_type of texts is 'last'"),
        (says("text_cfg", no_causal_mask=True), "no_causal_mask is True"),
        (says("text_cfg", eos_id=600, pool_type="eos"), "eos_id 600 is not in a vocabulary of 600"),
        (says("vision_cfg", tomorrow=1), "tomorrow is 1"),
        (says("vision_cfg", image_size=[32, 48]), "only square ones"),
        (says("vision_cfg", layers=[1, 2]), r"layers is \[1, 2\], expected the blocks of four stages"),
        (says("vision_cfg", layers=[1, 1, 1, 1], image_size=48), "only square ones, of a multiple of 32"),
        (says("vision_cfg", layers=[1, 1, 1, 1], width=8, head_width=16), "incomplete: .*visual.attnpool"),
        (says("vision_cfg", width="32"), "width is '32', expected a number"),
        (says(vision_cfg=None), "expected an object as vision_cfg, found None"),
        (says(embed_dim=None), "projection_dim is None"),
        (says(quick_gelu="yes"), "quick_gelu is 'yes', expected true or false"),
        (sees(resize_mode="longest"), "resize_mode is 'longest'"),
        (sees(interpolation="bilinear"), "interpolation is 'bilinear'"),
        (sees(size=48), "size is 48"),
        (sees(blur=1), "blur is 1, .*not known"),
        (sees(std=[0.5, 0.0, 0.5]), "expected three numbers above 0"),
        (sees(mean=[0.5]), r"mean is \[0.5\]"),
        (lambda folder: (folder / CONFIG).write_text("[]"), "holds a list, expected an object"),
        (lambda folder: (folder / CONFIG).write_text("{}"), "expected an object as model_cfg, found None"),
        (lambda folder: (folder / WEIGHTS).unlink(), f"has no weights: expected {WEIGHTS}"),
    ],
)
def test_half_and_foreign_checkpoints_are_one_line(folder: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=words) as caught:
        load(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


# commands


@pytest.mark.slow
def test_the_commands_work_on_a_resnet(
    command: Command, folders: dict[str, Path], clips_csv: Path, tmp_path: Path
) -> None:
    place = ("--backbone", folders["ResNet"], "--store", tmp_path / "store", "--frames", 2)
    shape = ("--way", 3, "--query", 1, "--prompt", "{}", "--episodes", 5)
    for name in ("prototype", "where", "text", "fusion"):
        code, out, err = command("evaluate", clips_csv, *place, *shape, "--head", name, "--json")
        assert code == 0 and json.loads(out)["head"] == name, err
    code, out, err = command(
        "train", clips_csv, *place, *shape[:-2], "--tuning", "partial", "--steps", 2, "--val-every", 2,
        "--val-episodes", 3, "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    code, out, err = command("evaluate", clips_csv, "--adapted", tmp_path / "run", *place[2:4], *shape)
    assert code == 0, err
    code, out, err = command("train", clips_csv, *place, *shape[:-2], "--tuning", "lora", "--out", tmp_path / "no")
    assert code == 2 and "which has no transformer blocks in its image tower: take partial" in err
