"""DINOv2: its pixels, its places at another side, what is refused, and the commands on it."""

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
from torch import Tensor

from checkpoints import bit, class_token, dinov2, frames, write
from forks import Command
from kshot import tuning
from kshot.activations.recipe import Recipe
from kshot.backbones.backbone import Backbone, load
from kshot.backbones.families.dinov2 import Dinov2
from kshot.errors import CheckpointError, OptionError
from kshot.video import FRAMINGS, preprocess

KINDS = ("dinov2", "dinov2_with_registers")
WAY = "another side"
OLD, NEW = "preprocessor_config.json", "processor_config.json"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, folder in made.items():
        write(folder, kind, WAY)
    return made


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to damage, without registers."""
    return shutil.copytree(folders["dinov2"], tmp_path / "dinov2")


@pytest.fixture(scope="module", params=KINDS)
def loaded(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Backbone:
    return load(folders[request.param])


def edit(path: Path, **changed: Any) -> None:
    """Changes settings of a JSON file; ... takes one out."""
    values = {**json.loads(path.read_text()), **changed}
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm())


# pixels


@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (48, 48)])
@pytest.mark.parametrize("margin", [256 / 224, 1.0])
def test_squares_and_pixels_are_those_of_its_image_processor(
    folder: Path, shape: tuple[int, int], margin: float
) -> None:
    processor = bit(40, size={"shortest_edge": round(40 * margin)}, image_mean=[0.5, 0.4, 0.3])
    processor.save_pretrained(folder)
    made = load(folder)
    assert (made.size, made.resize) == (40, "short-256" if margin > 1 else "short")
    images = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    expected = processor(list(images), return_tensors="pt")["pixel_values"].float()
    squares = preprocess(images, made.size, FRAMINGS[made.resized("short")])
    torch.testing.assert_close(made.pixels(squares), expected, atol=3e-6, rtol=2e-6)


def test_a_processors_file_says_the_same_nested_or_not(folder: Path) -> None:
    before = load(folder).fingerprint
    values = json.loads((folder / OLD).read_text())
    (folder / NEW).write_text(json.dumps({"image_processor": values}))
    (folder / OLD).unlink()
    assert load(folder).fingerprint == before
    (folder / NEW).write_text(json.dumps({"image_processor": values | {"image_mean": [0.5, 0.5, 0.5]}}))
    assert load(folder).fingerprint != before
    (folder / NEW).write_text(json.dumps({"image_processor": values | {"size": {"shortest_edge": 40}}}))
    assert load(folder).fingerprint != before


def test_the_key_of_a_store_says_how_frames_became_squares(loaded: Backbone) -> None:
    asked = Recipe(1, resize=loaded.resized("short")).key(loaded)
    assert asked == Recipe(1, resize="short-256").key(loaded)
    assert asked["preprocessing"] == "short side to 256/224 of size (PIL bicubic), centre crop"
    assert loaded.resized("squash-256") == "squash-256"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": {"shortest_edge": 44}}, "size is 44, .*the short side is resized to 46 or 40"),
        ({"size": {"height": 40, "width": 40}}, "size is .'height': 40"),
        ({"crop_size": {"height": 40, "width": 32}}, r"crop_size is \[40, 32\]"),
        ({"crop_size": {"height": 4, "width": 4}}, "crop_size is .*expected a square of 8 to 4096"),
        ({"crop_size": ...}, "says nothing of crop_size"),
        ({"image_mean": ...}, "says nothing of image_mean"),
        ({"do_center_crop": False}, "do_center_crop is False"),
        ({"resample": 2}, "resample is 2"),
        (
            {"image_processor_type": "CLIPImageProcessor"},
            "image_processor_type is 'CLIPImageProcessor', .*DINOv2's own",
        ),
        ({"do_pad": True}, "do_pad is True, .*not known"),
    ],
)
def test_other_preprocessing_is_refused_by_the_settings_name(folder: Path, values: dict[str, Any], words: str) -> None:
    edit(folder / OLD, **values)
    with pytest.raises(CheckpointError, match=f"{OLD}:? ?{words}"):
        load(folder)


# checkpoints


def classifier(folder: Path) -> None:
    from transformers import Dinov2Config, Dinov2ForImageClassification

    config = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, image_size=32, patch_size=8)
    Dinov2ForImageClassification(config).save_pretrained(folder)


def weights(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "model.safetensors"
        save_file(change({name: value.clone() for name, value in load_file(file).items()}), file)

    return damage


def says(**changed: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", **changed)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (classifier, r"architectures \['Dinov2ForImageClassification'\], expected Dinov2Model"),
        (weights(lambda w: {f"module.{n}": v for n, v in w.items()}), "incomplete: 60 of 60 tensors are missing"),
        (weights(lambda w: {n: v for n, v in w.items() if "scale" not in n}), "incomplete: 6 of 60 .*layer_scale1"),
        (weights(lambda w: {n: v for n, v in w.items() if "position" not in n}), "incomplete: 1 of 60 .*position_emb"),
        (weights(lambda w: w | {"classifier.weight": torch.ones(2, 64)}), "holds 1 tensors .*classifier.weight"),
        (weights(lambda w: w | {"layernorm.bias": torch.full((32,), torch.nan)}), "a weight is NaN or infinite"),
        (says(image_size=48), r"position_embeddings has shape \(1, 17, 32\), but config.json asks for \(1, 37, 32\)"),
        (says(mlp_ratio=4), r"mlp.fc1.* has shape \(64.*\), but config.json asks for \(128"),
        (says(hidden_act="wavy"), "unknown activation: 'wavy'"),
        (says(use_swiglu_ffn=True), r"mlp.fc1.weight has shape \(64, 32\), but config.json asks for \(96, 32\)"),
        (says(use_swiglu_ffn="no"), "use_swiglu_ffn is no, expected true or false"),
        (says(qkv_bias=False), "qkv_bias is False, which kshot does not follow"),
        (says(image_size=[32, 32]), "only square ones are supported"),
        (says(patch_size=64), "patch_size 64 is more than image_size 32"),
        (says(num_attention_heads=5), "hidden_size 32 is no multiple of 5 heads"),
        (says(num_attention_heads=True), "num_attention_heads is True, expected a number"),
        (says(mlp_ratio=0), "mlp_ratio is 0, expected"),
        (says(model_type="dinov2_with_registers"), "expected Dinov2WithRegistersModel"),
        (says(model_type="dinov3_vit"), r"architectures .'Dinov2Model'., expected DINOv3ViTModel"),
        (says(model_type="dinov3_convnext"), "model_type 'dinov3_convnext': the ConvNeXt of DINOv3 has no class token"),
        (says(model_type="dino"), "model_type 'dino', expected one of clip, .*dinov2, .*open_clip"),
    ],
)
def test_half_and_foreign_checkpoints_are_one_line(folder: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=words) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_registers_must_be_there(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["dinov2_with_registers"], tmp_path / "copy")
    weights(lambda w: {n: v for n, v in w.items() if "register" not in n})(folder)
    with pytest.raises(CheckpointError, match=r"incomplete: 1 of 61 tensors are missing \(embeddings.register_tokens"):
        load(folder)


@pytest.mark.parametrize("registers", [None, 4])
def test_the_real_width_with_the_published_sides(tmp_path: Path, registers: int | None) -> None:
    """Two blocks of B/14 whose places are those of 518 pixels, given 224."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 2, "patch_size": 14, "mlp_ratio": 4}
    theirs = dinov2(registers, image_size=518, **sizes).eval()
    with torch.no_grad():
        for value in theirs.parameters():
            value.add_(torch.randn_like(value) * 0.02)
    theirs.save_pretrained(tmp_path)
    bit(224).save_pretrained(tmp_path)
    ours = load(tmp_path)
    assert (ours.size, ours.image.tokens, ours.embed_dim) == (224, 257 + (registers or 0), 768)
    x = frames(ours, 2)
    expected = class_token(theirs, x)
    for cut in (0, 1, 2, 3):
        assert distance(ours.encode_from(ours.encode_to(x, cut), cut), expected) <= 1e-5
    stored = ours.condense(ours.encode_to(x, 2))
    tuning.apply("partial", ours)
    ours.encode_from(stored, 2).square().sum().backward()
    expected.square().sum().backward()
    last = theirs.encoder.layer[-1]
    pairs = [
        (ours.image.blocks[-1].mlp.fc1.weight, last.mlp.fc1.weight),
        (ours.image.blocks[-1].self_attn.k_proj.weight, last.attention.k_proj.weight),
        (ours.image.blocks[-1].layer_scale1.lambda1, last.layer_scale1.lambda1),
        (ours.image.norm.weight, theirs.layernorm.weight),
    ]
    for mine, other in pairs:
        assert distance(mine.grad, other.grad) <= 1e-4
    assert ours.describe()["trained"] == 7_090_944  # of B/14: the last block with its scales, and the final norm


# tuning


@pytest.mark.parametrize("method", Dinov2.tunings)
def test_tuning_that_fits_starts_from_the_frozen_model_and_learns(loaded: Backbone, method: str) -> None:
    torch.manual_seed(0)
    tuned, x = loaded.copy(), frames(loaded, 4)
    cut = tuning.apply(method, tuned)
    found = tuned.encode_from(tuned.encode_to(x, cut), cut, frames=2, support=1 if tuned.episodic else 0)
    if method not in ("vpt", "clip-adapter"):
        assert distance(found, loaded(x)) <= 1e-5
    found.square().sum().backward()
    learns = [value for value in tuned.parameters() if value.requires_grad]
    assert learns and any(value.grad is not None and value.grad.any() for value in learns)
    assert tuned.image.exact is (method not in ("vpt", "st-adapter", "task-adapter"))


@pytest.mark.parametrize("method", sorted(set(tuning.TUNING) - set(Dinov2.tunings)))
def test_tuning_that_does_not_fit_is_refused_in_one_line(loaded: Backbone, method: str) -> None:
    lack = "text tower that could learn" if method == "coop" else "residuals without LayerScale"
    with pytest.raises(OptionError, match=f"'{method}' does not fit backbone .* which has no {lack}: take partial, "):
        tuning.apply(method, loaded.copy())
    for line in (Path(__file__).parents[2] / "docs" / "backbones.md").read_text("utf-8").splitlines():
        if line.startswith((f"| `{KINDS[0]}`", f"| `{KINDS[1]}`")):
            assert f"`{method}`" in line


def test_parts_that_it_does_not_have_are_refused(loaded: Backbone) -> None:
    with pytest.raises(OptionError, match="has no projection; take block"):
        tuning.apply("partial", loaded.copy(), layers="proj")
    with pytest.raises(OptionError, match="has no text tower that could learn: tune tower image"):
        tuning.apply("lora", loaded.copy(), tower="text")
    with pytest.raises(OptionError, match=r"class texts are needed, but backbone .* has no text side"):
        loaded.embed_text(["clap"])


def test_adapters_over_space_and_weights_by_change_leave_registers_alone(folders: dict[str, Path]) -> None:
    made = load(folders["dinov2_with_registers"])
    assert made.image.first == 5
    x = frames(made, 4)
    tokens = made.encode_to(x, made.depth)
    seen = made.encode_from(tokens, made.depth, frames=2, changing=True)
    assert torch.equal(seen, made.encode_from(made.condense(tokens), made.depth, frames=2, changing=True))
    other = tokens.clone()
    other[:, 1:5] += torch.randn(4, 4, made.image.width)
    assert torch.equal(seen, made.encode_from(other, made.depth, frames=2, changing=True))
    tuning.apply("st-adapter", made, blocks=1, place="attention")
    with torch.no_grad():
        made.image.blocks[-1].adapter.activation.convolve.weight.normal_()  # which starts at zero
    asked: list[Tensor] = []
    made.image.blocks[-1].block.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0]))
    made.encode_from(tokens, made.depth, frames=2)
    assert torch.equal(asked[0][:, :5], tokens[:, :5]) and not torch.equal(asked[0][:, 5:], tokens[:, 5:])


# commands


def test_the_commands_work_on_it(command: Command, folders: dict[str, Path], clips_csv: Path, tmp_path: Path) -> None:
    folder = folders["dinov2_with_registers"]
    place = ("--backbone", folder, "--store", tmp_path / "store", "--frames", 2, "--json")
    shape = ("--way", 3, "--query", 1)
    code, out, err = command("extract", clips_csv, *place, "--workers", 0)
    assert code == 0 and json.loads(out)["stored_now"] == 112, err
    code, out, err = command("evaluate", clips_csv, *place, *shape, "--episodes", 10)
    assert code == 0 and json.loads(out)["backbone"] == str(folder), err
    code, out, err = command("evaluate", clips_csv, *place, *shape, "--episodes", 5, "--head", "where")
    assert code == 0, err
    code, out, err = command(
        "train", clips_csv, *place, *shape, "--tuning", "partial", "--steps", 2, "--val-every", 2, "--val-episodes", 3,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    code, out, err = command(
        "evaluate", clips_csv, "--adapted", tmp_path / "run", "--store", tmp_path / "store", *shape, "--episodes", 5
    )
    assert code == 0, err
    for words in (("evaluate", "--head", "text"), ("evaluate", "--head", "fusion"), ("train", "--tuning", "coop")):
        more = ("--out", tmp_path / "no", "--steps", 1) if words[0] == "train" else ("--episodes", 2)
        code, out, err = command(words[0], clips_csv, *place, *shape, *words[1:], *more)
        assert code == 2 and ("has no text side" in err or "which has no text tower" in err), err
        assert len([line for line in err.splitlines() if line.startswith(("kshot:", "error"))]) <= 1


@pytest.mark.slow
def test_a_recognizer_sees_files_and_arrays_as_the_store_does(
    command: Command, folders: dict[str, Path], clips_csv: Path, tmp_path: Path
) -> None:
    from kshot.recognizer import Recognizer
    from kshot.video import read

    model = tmp_path / "model"
    place = ("--backbone", folders["dinov2"], "--store", tmp_path / "store")
    code, _, err = command("fit", f"{clips_csv}?split=test", *place, "--out", model)
    assert code == 0, err
    made = Recognizer.load(model)
    backbone = made.learner_.backbone
    assert backbone is not None and backbone.resize == "short-256" and made.framing == FRAMINGS["short-256"]
    clip = next(Path(clip.name) for clip in made.clips_)
    squares = read(clip, made.frames, size=made.size, framing=made.framing)
    assert not np.array_equal(squares, read(clip, made.frames, size=made.size))
    expected = made.decide(made.states(squares)[None]).proba[0]
    (answer,) = made.answers([clip])
    assert np.allclose(answer.proba[0], expected, atol=1e-6)
