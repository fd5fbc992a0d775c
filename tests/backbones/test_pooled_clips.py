"""V-JEPA 2 and VideoPrism: their pooling heads with one query, pixels, texts, tuning, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from checkpoints import frames, write
from forks import Command
from kshot import tuning
from kshot.backbones import families
from kshot.backbones import videoprism as modules
from kshot.backbones.backbone import Backbone, load
from kshot.backbones.families import vjepa2
from kshot.backbones.units import POOLED, UnitBackbone
from kshot.errors import CheckpointError, OptionError
from kshot.video import FRAMINGS, preprocess

PIECES = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
WAYS = (("vjepa2", ""), ("vjepa2", "pooler"), ("videoprism", ""), ("videoprism_vision_model", ""))


def words(folder: Path) -> Any:
    """Writes a tokenizer of letters as VideoPrism's own; gives it as transformers has it."""
    from transformers import VideoPrismTokenizer

    made = VideoPrismTokenizer(vocab=[(piece, -1.0) for piece in PIECES], extra_ids=0, additional_special_tokens=[])
    made.save_pretrained(folder)
    return made


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm())


@pytest.fixture(scope="module", params=WAYS, ids=lambda pair: " ".join(pair).strip())
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = tmp_path_factory.mktemp(request.param[0])
    write(folder, *request.param)
    return load(folder)


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A Clip model with its tokenizer: folder, network, tokenizer."""
    folder = tmp_path_factory.mktemp("prism")
    theirs = write(folder, "videoprism")
    return folder, theirs, words(folder)


# heads with one query


def heads(name: str) -> tuple[nn.Module, nn.Module, int]:
    """Ours, the library's, and how many weights it has at the width of V-JEPA 2 L and of VideoPrism B."""
    if name == "vjepa2":
        from transformers import VJEPA2Config
        from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2AttentivePooler

        pooler = VJEPA2AttentivePooler(VJEPA2Config(num_pooler_layers=0))
        return vjepa2.Head(vjepa2.Config().block(1, 4)), pooler, 11_547_648
    from transformers import VideoPrismVisionConfig
    from transformers.models.videoprism.modeling_videoprism import VideoPrismMultiheadAttentionPoolingHead

    config = VideoPrismVisionConfig(attn_implementation="eager")
    return modules.Head(modules.VisionConfig(), True), VideoPrismMultiheadAttentionPoolingHead(config), 9_448_192


@pytest.mark.parametrize("name", ["vjepa2", "videoprism"])
def test_the_real_width_and_its_work(name: str) -> None:
    """The numbers and gradients of the library's head at less than a tenth of its work, and of plain keys and values
    for one query."""
    torch.manual_seed(0)
    ours, theirs, count = heads(name)
    with torch.no_grad():
        for value in theirs.parameters():
            value.add_(torch.randn_like(value) * 0.02)
    named = {vjepa2._named(f"pooler.{n}").removeprefix("head."): v for n, v in theirs.state_dict().items()}
    ours.load_state_dict(theirs.state_dict() if name == "videoprism" else named)
    assert sum(value.numel() for value in ours.parameters()) == count
    x = torch.randn(2, 1024, ours.get_parameter("q_proj.weight").shape[1])
    expected: Any = theirs(x)
    expected = expected[0][:, 0] if isinstance(expected, tuple) else expected
    assert distance(ours.pool(x), expected) <= 1e-5 and distance(ours(x), expected) <= 1e-5
    expected.square().sum().backward()
    ours.pool(x).square().sum().backward()
    largest = max(float(value.grad.norm()) for value in ours.parameters() if value.grad is not None)
    pairs = {id(v): o for v in ours.parameters() for o in theirs.parameters() if torch.equal(v, o)}
    for value in ours.parameters():
        same = pairs[id(value)].grad
        assert value.grad is not None
        assert float((value.grad - same).norm()) / max(float(same.norm()), 1e-3 * largest) <= 1e-4
    work = {}
    for way in (ours.pool, ours.forward, theirs):
        with FlopCounterMode(display=False) as counter:
            way(x)
        work[way] = counter.get_total_flops()
    assert min(work[ours.forward], work[theirs]) > 10 * work[ours.pool]


@pytest.mark.parametrize("method", sorted(tuning.TUNING))
def test_a_tuning_method_fits_or_is_refused_in_one_line(loaded: Backbone, method: str) -> None:
    tuned, x = loaded.copy(), frames(loaded, 2)
    fits = POOLED if loaded.image.heads else UnitBackbone.tunings or ()  # type: ignore[attr-defined]
    if method not in fits:
        lack = "class token and no tokens of single frames"
        if method == "coop":
            lack = "token before the first word" if loaded.has_text else "text tower that could learn"
        with pytest.raises(OptionError, match=f"'{method}' does not fit .*, which has no {lack}.*: take partial, "):
            tuning.apply(method, tuned)
        return
    cut = tuning.apply(method, tuned)
    found = tuned.encode_from(tuned.encode_to(x, cut), cut)
    if method != "clip-adapter":
        assert distance(found, loaded(x)) <= 1e-5
    (found.square() @ torch.arange(float(loaded.embed_dim))).sum().backward()
    assert any(value.grad is not None and value.grad.any() for value in tuned.parameters())
    if method == "partial":
        learn = {name for name, value in tuned.named_parameters() if value.requires_grad}
        assert cut == loaded.depth
        assert all(name.startswith((f"image.blocks.{cut - 1}.", "image.norm.")) for name in learn)


# pixels


@pytest.mark.parametrize("side", [224, 256, 288, 384])
def test_the_short_side_of_vjepa2_is_rounded_down(side: int) -> None:
    from kshot.backbones.preprocessing import read_pixels

    framing = FRAMINGS["short-256-bilinear"]
    assert framing.length(side) == int(side * 256 / 224)
    images = np.random.default_rng(0).integers(0, 256, (1, side + 50, side + 90, 3), dtype=np.uint8)
    length = int(side * 256 / 224)
    wide = int(length * images.shape[2] / images.shape[1])
    whole = Image.fromarray(images[0]).resize((wide, length), Image.Resampling.BILINEAR)
    left, top = (wide - side) // 2, (length - side) // 2
    expected = np.asarray(whole.crop((left, top, left + side, top + side)))
    assert np.array_equal(preprocess(images, side, framing)[0], expected)
    assert read_pixels(Path("nowhere"), side, vjepa2.PROCESSOR).resize == "short-256-bilinear"


@pytest.mark.parametrize(
    ("kind", "says", "said"),
    [
        ("vjepa2", {"resample": 3}, "resample is 3, .*bilinear"),
        ("vjepa2", {"size": {"shortest_edge": 32}}, "short side is resized to 36"),
        ("vjepa2", {"size": {"shortest_edge": 36}, "crop_size": 32, "image_std": [0.2, 0.2, 0.2]}, ""),
        ("videoprism", {"size": {"height": 32, "width": 32}, "do_normalize": False, "resample": 3}, ""),
        ("videoprism", {"size": {"height": 48, "width": 48}}, "both sides are resized to the 32"),
        ("videoprism", {"do_pad": True}, "do_pad is True, .*not known"),
    ],
)
def test_a_video_processor_is_followed_or_refused(tmp_path: Path, kind: str, says: Any, said: str) -> None:
    write(tmp_path, kind)
    name = {"vjepa2": "VJEPA2VideoProcessor", "videoprism": "LlavaOnevisionVideoProcessor"}[kind]
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps({"video_processor_type": name, **says}))
    if said:
        with pytest.raises(CheckpointError, match=said):
            load(tmp_path)
        return
    ours = load(tmp_path)
    wanted = says.get("image_std", [1.0] * 3)
    np.testing.assert_allclose(ours.std.flatten(), wanted, rtol=1e-6)
    assert ours.resize == {"vjepa2": "short-256-bilinear", "videoprism": "squash"}[kind]


# texts


def test_texts_are_those_of_the_library_padded_as_it_pads_them(prism: tuple[Path, Any, Any]) -> None:
    folder, theirs, tokenizer = prism
    ours, said = load(folder), ["ab", "abcdefgh"]
    given = tokenizer(said, padding="max_length", max_length=12, return_tensors="pt")
    expected = theirs.text_model(given["input_ids"], attention_mask=given["attention_mask"]).pooler_output
    torch.testing.assert_close(ours.text.encode_from(ours.tokenize(said), 0), expected, atol=1e-5, rtol=1e-5)
    ids = ours.tokenize(["ab"])[0].tolist()
    assert ids[-1] == 600 and ids[:-1] == given["input_ids"][0, : len(ids) - 1].tolist()
    torch.testing.assert_close(ours.embed_text(said, "{}"), F.normalize(expected, dim=-1), atol=1e-5, rtol=1e-5)
    assert ours.text_notes(said, "{}") == [] and ours.logit_scale == 100
    (note,) = ours.text_notes(["abcdefghijklmnop", "cd"], "{}")
    assert "1 of 2 class texts are longer than the 12 tokens" in note
    with pytest.raises(OptionError, match="'coop' does not fit"):
        tuning.apply("coop", ours.copy())


def test_a_sentencepiece_model_alone_is_refused(prism: tuple[Path, Any, Any], tmp_path: Path) -> None:
    folder = shutil.copytree(prism[0], tmp_path / "prism")
    (folder / "tokenizer.json").rename(folder / "spiece.model")
    with pytest.raises(CheckpointError, match=r"its tokenizer only as spiece.model"):
        load(folder)
    (folder / "spiece.model").unlink()
    with pytest.raises(CheckpointError, match="came without a tokenizer"):
        load(folder).embed_text(["a"])


# what is refused


def says(**changed: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(values | changed))

    return damage


def weights(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "model.safetensors"
        save_file(change({name: value.clone() for name, value in load_file(file).items()}), file)

    return damage


PRISM = "videoprism_vision_model"


@pytest.mark.parametrize(
    ("kind", "way", "damage", "said"),
    [
        ("vjepa2", "", says(frames_per_clip=1), "frames_per_clip is 1, no whole number of tubelets of 2"),
        ("vjepa2", "", says(frames_per_clip=7), "frames_per_clip is 7, no whole number of tubelets of 2"),
        ("vjepa2", "", says(qkv_bias=1), "qkv_bias is 1, expected true or false"),
        ("vjepa2", "", says(architectures=["VJEPA2ForVideoClassification"]), "missing .*whole VJEPA2ForVideoClass"),
        ("vjepa2", "pooler", says(architectures=["VJEPA2Model"]), "knows nothing of"),
        ("vjepa2", "", says(crop_size=[32, 32]), r"crop_size is \[32, 32\], expected a number"),
        (PRISM, "", says(tubelet_size=[2, 8, 8]), r"tubelet_size is \[2, 8, 8\], expected one frame"),
        (PRISM, "", says(tubelet_size=[1, 8, 6]), "expected one frame and a square"),
        (PRISM, "", says(num_frames=8), "between.places has shape"),
        (PRISM, "", says(image_size=[32, 48]), "only square ones"),
        (PRISM, "", says(architectures=["VideoPrismVideoModel"]), "whole VideoPrismVideoModel"),
        (PRISM, "", says(apply_l2norm="yes"), "apply_l2norm is 'yes', expected true or false"),
        ("videoprism", "", weights(lambda w: {n: v for n, v in w.items() if "text" not in n}), "are missing"),
        ("videoprism", "", says(architectures=["VideoPrismVideoModel"]), "expected one of VideoPrismClipModel"),
    ],
)  # fmt: skip
def test_half_and_foreign_checkpoints_are_one_line(
    tmp_path: Path, kind: str, way: str, damage: Callable[[Path], None], said: str
) -> None:
    write(tmp_path, kind, way)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=said) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_places_turned_take_any_number_of_frames(tmp_path: Path) -> None:
    """A V-JEPA 2 of other frames is one line of its config.json."""
    write(tmp_path, "vjepa2")
    says(frames_per_clip=8)(tmp_path)
    assert load(tmp_path).input_shape == (8, 3, 32, 32)


def test_a_transformers_too_old_for_videoprism_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "videoprism"}')
    monkeypatch.setattr(families.metadata, "version", lambda name: "5.12.1")
    with pytest.raises(CheckpointError, match=r"needs transformers 5.18, found 5.12.1: pip install"):
        load(tmp_path)


# commands


@pytest.mark.slow
def test_the_commands_work_on_it(
    command: Command, prism: tuple[Path, Any, Any], clips_csv: Path, tmp_path: Path
) -> None:
    place = ("--backbone", prism[0], "--store", tmp_path / "store", "--json")
    shape = ("--way", 3, "--query", 1, "--prompt", "{}")
    for name in ("prototype", "text", "fusion"):
        code, out, err = command("evaluate", clips_csv, *place, *shape, "--episodes", 5, "--head", name)
        assert code == 0 and json.loads(out)["head"] == name, err
    code, out, err = command(
        "train", clips_csv, *place, *shape, "--tuning", "partial", "--steps", 1, "--val-every", 1, "--val-episodes", 2,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    code, out, err = command("evaluate", clips_csv, *place, *shape, "--frames", 5)
    assert code == 2 and "sees clips of 4 frames" in err and err.count("\n") == 1
