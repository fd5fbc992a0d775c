from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kshot.backbones import backbone, hub
from kshot.backbones.backbone import Backbone
from kshot.errors import CheckpointError, OptionError
from tiny import random_clip

NAMES = ["clap", "open_arms", "a very long name " * 9]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Backbone:
    return backbone.load(folder)


@pytest.fixture
def broken(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder to damage."""
    return shutil.copytree(folder, tmp_path / "broken")


def transformers_clip(folder: Path) -> Any:
    from transformers.models.clip.modeling_clip import CLIPModel

    return CLIPModel.from_pretrained(folder).eval()


def frames(count: int = 5, size: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm())


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def edit_weights(folder: Path, change: Any) -> None:
    from safetensors.torch import load_file, save_file

    weights = {name: value.clone() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})


# cuts


@pytest.mark.parametrize("width, depth, size, patch", [(32, 3, 32, 8), (16, 1, 24, 4)])
def test_image_tower_equals_transformers_at_every_cut(
    tmp_path: Path, width: int, depth: int, size: int, patch: int
) -> None:
    folder = random_clip(tmp_path, width=width, depth=depth, size=size, patch=patch)
    clip, ours, x = transformers_clip(folder), backbone.load(folder), frames(size=size)
    expected = clip.visual_projection(clip.vision_model(x).pooler_output)
    hidden = clip.vision_model(x, output_hidden_states=True).hidden_states
    for cut in range(depth + 2):
        assert distance(ours.encode_from(ours.encode_to(x, cut), cut), expected) <= 1e-5
        if 1 <= cut <= depth:
            assert distance(ours.encode_to(x, cut), hidden[cut - 1]) <= 1e-5
    assert torch.equal(ours.encode_to(x, 0), x)
    assert torch.equal(ours(x), ours.encode_to(x, depth + 1))
    condensed = ours.condense(ours.encode_to(x, depth))
    assert condensed.shape == (len(x), ours.image.tokens + 1, width)
    assert distance(ours.encode_from(condensed, depth), expected) <= 1e-5
    assert distance(ours.encode_from(condensed.half(), depth), expected) <= 5e-3


@pytest.mark.parametrize("eos", [None, 2], ids=["end by its id", "end by the highest id"])
def test_text_tower_equals_transformers_at_every_cut(tmp_path: Path, eos: int | None) -> None:
    folder = random_clip(tmp_path, eos=eos)
    clip, ours = transformers_clip(folder), backbone.load(folder)
    ids = ours.tokenize(["clap", "a video of a person doing jump", "open the arms"])
    ids[0, 5] = 17  # whatever follows the end of a text must not matter
    ids[1, 3] = ids.max() - 1  # the start token, second highest
    expected = clip.text_projection(clip.text_model(ids).pooler_output)
    read = ours.text.read(ids)
    assert read.tolist() == [2, 8, 6]
    for cut in range(ours.text.depth + 2):
        assert distance(ours.text.encode_from(ours.text.encode_to(ids, cut), cut, read), expected) <= 1e-5
    last = ours.text.depth
    condensed = ours.text.condense(ours.text.encode_to(ids, last), read)
    assert distance(ours.text.encode_from(condensed, last, read, condensed=True), expected) <= 1e-5


def test_full_length_texts_are_known_to_be_condensed_by_their_rows(loaded: Backbone) -> None:
    ids = loaded.tokenize(["person " * 40, "clap"])
    assert ids.shape == (2, loaded.text.tokens)
    read, last = loaded.text.read(ids), loaded.text.depth
    condensed = loaded.text.condense(loaded.text.encode_to(ids, last), read)
    assert distance(loaded.text.encode_from(condensed, last, read), loaded.text.encode_to(ids, last + 1)) <= 1e-5


def test_gradients_of_the_whole_tower_equal_those_of_transformers(folder: Path) -> None:
    clip, ours, x = transformers_clip(folder), backbone.load(folder).image, frames()
    ours.requires_grad_(True)
    ours.encode_from(x, 0).square().sum().backward()
    clip.visual_projection(clip.vision_model(x).pooler_output).square().sum().backward()
    pairs = zip(ours.blocks.parameters(), clip.vision_model.encoder.layers.parameters(), strict=True)
    pairs = [*pairs, *zip(ours.embeddings.parameters(), clip.vision_model.embeddings.parameters(), strict=True)]
    for mine, theirs in pairs:
        scale = theirs.grad.norm().clamp_min(0.1)  # the keys' bias has no gradient but rounding noise
        assert (mine.grad - theirs.grad).norm() / scale <= 1e-4


def test_an_altered_last_block_runs_whole(folder: Path) -> None:
    def shift(module: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output + output.mean(0, keepdim=True)

    clip, ours, x = transformers_clip(folder), backbone.load(folder), frames()
    assert ours.image.exact
    ours.image.blocks[-1].self_attn.v_proj.register_forward_hook(shift)
    clip.vision_model.encoder.layers[-1].self_attn.v_proj.register_forward_hook(shift)
    assert not ours.image.exact
    expected = clip.visual_projection(clip.vision_model(x).pooler_output)
    tokens = ours.encode_to(x, ours.depth)
    assert distance(ours.encode_from(tokens, ours.depth), expected) <= 1e-5
    assert distance(ours(x), expected) <= 1e-5
    with pytest.raises(OptionError, match="that block is altered: pass the tokens themselves"):
        ours.encode_from(ours.condense(tokens), ours.depth)


def test_inputs_that_do_not_fit_are_refused(loaded: Backbone) -> None:
    with pytest.raises(OptionError, match="cut 5 does not exist: this tower has cuts 0 to 4"):
        loaded.encode_to(frames(), 5)
    with pytest.raises(OptionError, match="cut -1 does not exist"):
        loaded.encode_from(frames(), -1)
    with pytest.raises(OptionError, match=r"expected frames of shape \(N, 3, 32, 32\), got \(5, 3, 24, 24\)"):
        loaded(frames(size=24))
    with pytest.raises(OptionError, match="expected token ids"):
        loaded.text.encode_to(torch.zeros(1, 99, dtype=torch.long), 1)
    with pytest.raises(OptionError, match="needs `read`"):
        loaded.text.encode_from(torch.zeros(1, 4, 24), 1)
    with pytest.raises(OptionError, match="condensed tokens serve only"):
        loaded.image.encode_from(torch.zeros(1, 18, 32), 1, condensed=True)


# preprocessing and words


def test_pixels_equal_the_image_processor(loaded: Backbone, folder: Path) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    expected = processor(list(images), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(loaded.pixels(images), expected, atol=2e-6, rtol=0)
    assert torch.equal(loaded.pixels(torch.from_numpy(images)), loaded.pixels(images))
    with pytest.raises(OptionError, match=r"expected uint8 frames of shape \(N, 32, 32, 3\), got float32 of shape"):
        loaded.pixels(images.astype(np.float32))


def test_names_become_unit_means_over_prompts(loaded: Backbone, folder: Path) -> None:
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    clip, tokenizer = transformers_clip(folder), CLIPTokenizer.from_pretrained(folder)
    rows = []
    for template in ("a photo of {}", "a video of a person doing {}"):
        texts = [template.replace("{}", name.replace("_", " ")) for name in NAMES]
        ids = tokenizer(texts, padding=True, truncation=True, max_length=24, return_tensors="pt")["input_ids"]
        rows.append(torch.nn.functional.normalize(clip.text_projection(clip.text_model(ids).pooler_output), dim=-1))
    expected = torch.nn.functional.normalize((rows[0] + rows[1]) / 2, dim=-1)
    found = loaded.embed_text(NAMES, ("a photo of {}", "a video of a person doing {}"))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(loaded.embed_text(NAMES), rows[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(loaded.embed_text(NAMES, "a photo of {}"), rows[0], atol=1e-5, rtol=0)


def test_many_names_go_through_in_batches(loaded: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{'jump ' * (i % 3)}{i}" for i in range(11)]
    at_once = loaded.embed_text(names)
    monkeypatch.setattr(backbone, "TEXTS_PER_BATCH", 4)
    torch.testing.assert_close(loaded.embed_text(names), at_once, atol=1e-6, rtol=0)


def test_prompts_and_names_that_cannot_be_used_are_refused(loaded: Backbone) -> None:
    with pytest.raises(OptionError, match=r"a prompt needs \{\} where the class name goes, got 'a photo'"):
        loaded.embed_text(["clap"], ["a photo"])
    with pytest.raises(OptionError, match="a prompt needs"):
        loaded.embed_text(["clap"], [])
    with pytest.raises(OptionError, match="no class names"):
        loaded.embed_text([])


def test_a_folder_without_a_tokenizer_serves_images_only(broken: Path) -> None:
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (broken / name).unlink()
    ours = backbone.load(broken)
    assert ours(frames()).shape == (5, 16)
    with pytest.raises(CheckpointError, match=r"came without a tokenizer: put tokenizer.json into its folder"):
        ours.embed_text(["clap"])


def test_vocabulary_and_merges_stand_in_for_tokenizer_json(loaded: Backbone, broken: Path) -> None:
    (broken / "tokenizer.json").unlink()
    ours = backbone.load(broken)
    assert torch.equal(ours.tokenize(NAMES), loaded.tokenize(NAMES))
    assert ours.fingerprint == loaded.fingerprint


def test_a_tokenizer_that_does_not_end_texts_is_refused(broken: Path) -> None:
    edit(broken / "tokenizer.json", post_processor=None)
    with pytest.raises(CheckpointError, match="does not end texts"):
        backbone.load(broken).embed_text(["clap"])


# fingerprint


def test_fingerprint_is_that_of_the_numbers_alone(loaded: Backbone, broken: Path) -> None:
    assert len(loaded.fingerprint) == 64
    assert backbone.load(broken, precision="bfloat16").fingerprint == loaded.fingerprint
    edit(broken / "config.json", transformers_version="4.0.0", _name_or_path="elsewhere")
    shard(broken)
    assert backbone.load(broken).fingerprint == loaded.fingerprint


@pytest.mark.parametrize("change", ["weight", "mean", "end", "heads", "word"])
def test_fingerprint_changes_with_whatever_changes_an_embedding(loaded: Backbone, broken: Path, change: str) -> None:
    config = json.loads((broken / "config.json").read_text())
    if change == "weight":
        edit_weights(broken, lambda weights: weights | {"logit_scale": weights["logit_scale"] + 1e-4})
    elif change == "mean":
        edit(broken / "preprocessor_config.json", image_mean=[0.5, 0.4578275, 0.40821073])
    elif change == "end":
        edit(broken / "config.json", text_config=config["text_config"] | {"eos_token_id": 2})
    elif change == "heads":
        edit(broken / "config.json", vision_config=config["vision_config"] | {"num_attention_heads": 2})
    else:
        tokens = json.loads((broken / "vocab.json").read_text())
        tokens["!"], tokens['"'] = tokens['"'], tokens["!"]
        (broken / "tokenizer.json").unlink()
        (broken / "vocab.json").write_text(json.dumps(tokens))
    assert backbone.load(broken).fingerprint != loaded.fingerprint


# loading


def shard(folder: Path) -> None:
    """Splits the weights into two shards with an index, as large checkpoints come."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, chosen in parts.items():
        save_file({name: weights[name].clone() for name in chosen}, folder / file)
    index = {"weight_map": {name: file for file, chosen in parts.items() for name in chosen}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def test_loading_is_silent_late_and_runs_no_code_of_the_folder(broken: Path) -> None:
    (broken / "evil.py").write_text("open('ran', 'w')")
    edit(broken / "config.json", auto_map={"AutoModel": "evil.CLIPModel", "AutoConfig": "evil.CLIPConfig"})
    code = (
        "import sys; import kshot.backbones.backbone as b; assert 'transformers' not in sys.modules;"
        f"b.load({str(broken)!r}).embed_text(['clap'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=broken, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (broken / "ran").exists()


def test_a_loaded_backbone_is_frozen_and_does_not_hold_on_to_its_file(broken: Path) -> None:
    ours = backbone.load(broken)
    before = ours(frames())
    (broken / "model.safetensors").write_bytes(b"")
    assert torch.equal(ours(frames()), before)
    assert not ours.training
    assert not any(value.requires_grad for value in ours.parameters())
    assert not any(value.is_meta for value in [*ours.parameters(), *ours.buffers()])


def test_position_ids_half_precision_and_old_configurations_are_read(broken: Path, loaded: Backbone) -> None:
    config = json.loads((broken / "config.json").read_text())
    edit(broken / "config.json", text_config_dict=config["text_config"], vision_config_dict=config["vision_config"])
    ids = {f"{tower}_model.embeddings.position_ids": torch.arange(4)[None] for tower in ("text", "vision")}
    edit_weights(broken, lambda weights: {name: value.half() for name, value in weights.items()} | ids)
    ours = backbone.load(broken)
    assert all(value.dtype == torch.float32 for value in ours.parameters())
    assert distance(ours(frames()), loaded(frames())) < 5e-3


def test_shards_equal_one_file_and_a_lost_shard_is_named(broken: Path, loaded: Backbone) -> None:
    shard(broken)
    assert torch.equal(backbone.load(broken)(frames()), loaded(frames()))
    (broken / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks model-00002-of-00002\.safetensors, named in its index"):
        backbone.load(broken)
    (broken / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../elsewhere.safetensors"}}')
    with pytest.raises(CheckpointError, match="names shards outside its folder"):
        backbone.load(broken)
    (broken / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(CheckpointError, match="is damaged"):
        backbone.load(broken)


def test_pickled_weights_need_permission(broken: Path, loaded: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(broken / "model.safetensors"), broken / "pytorch_model.bin")
    (broken / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"only as pytorch_model.bin, a pickle: expected model.safetensors"):
        backbone.load(broken)
    ours = backbone.load(broken, allow_bin=True)
    assert ours.fingerprint == loaded.fingerprint
    monkeypatch.setenv("KSHOT_ALLOW_BIN", "1")
    assert backbone.load(broken).fingerprint == loaded.fingerprint

    class Evil:
        def __reduce__(self) -> Any:
            return print, ("ran",)

    torch.save({"weight": Evil()}, broken / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin is damaged"):
        backbone.load(broken, allow_bin=True)


def _cut_short(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def _drop(prefix: str) -> Any:
    return lambda weights: {name: value for name, value in weights.items() if not name.startswith(prefix)}


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            lambda f: (f / "config.json").unlink(),
            "has no config.json: expected a checkpoint of clip.* in transformers format",
        ),
        (lambda f: (f / "config.json").write_text("{"), "config.json is no JSON .*: fetch it again"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json holds a list, expected an object"),
        (
            lambda f: edit(f / "config.json", model_type="bert"),
            "config.json says model_type 'bert', expected one of clip",
        ),
        (lambda f: edit(f / "config.json", model_type=["clip"]), r"says model_type \['clip'\], expected one of clip"),
        (lambda f: edit(f / "config.json", vision_config={"hidden_size": 33}), "does not describe a CLIP"),
        (lambda f: edit(f / "config.json", vision_config={"hidden_size": "x"}), "does not describe a CLIP"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights: expected model.safetensors"),
        (_cut_short, "model.safetensors is damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors is damaged"),
        (lambda f: edit_weights(f, _drop("text_model")), r"is incomplete: 36 of 94 tensors are missing \(text_model"),
        (lambda f: edit_weights(f, _drop("visual_projection")), r"1 of 94 tensors are missing \(visual_projection"),
        (
            lambda f: edit_weights(f, lambda w: w | {"bias": torch.ones(1)}),
            r"holds 1 tensors .* knows nothing of \(bias",
        ),
        (
            lambda f: edit_weights(f, lambda w: w | {"visual_projection.weight": torch.ones(8, 32)}),
            r"visual_projection.weight has shape \(8, 32\), but config.json asks for \(16, 32\)",
        ),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "the tokenizer in .* is damaged"),
        (
            lambda f: edit(f / "preprocessor_config.json", crop_size=48),
            "crop_size is 48, but config.json asks for 32",
        ),
        (
            lambda f: edit(f / "preprocessor_config.json", image_std=[1, 1, 0]),
            r"image_std is \[1.0, 1.0, 0.0\], expected three numbers above 0",
        ),
        (lambda f: edit(f / "preprocessor_config.json", image_mean="x"), "expected three numbers in image_mean"),
    ],
)
def test_damaged_folders_are_refused_with_a_reason(broken: Path, damage: Any, message: str) -> None:
    damage(broken)
    with pytest.raises(CheckpointError, match=message) as caught:
        backbone.load(broken)
    assert "\n" not in str(caught.value)


def test_preprocessing_falls_back_to_that_of_clip(broken: Path, loaded: Backbone) -> None:
    (broken / "preprocessor_config.json").unlink()
    assert backbone.load(broken).fingerprint == loaded.fingerprint


def test_the_bundled_backbone_is_a_clip_like_any_other() -> None:
    bundled = Path(hub.__file__).parents[1] / "weights" / hub.BUNDLED
    if not bundled.is_dir():
        pytest.skip("the bundled weights are not built yet")
    ours = backbone.load()
    assert ours.name == "kshot-tiny"
    rows = ours.embed_text(["clap", "wave"])
    assert rows.shape == (2, ours.embed_dim)
    assert ours(frames(2, ours.size)).isfinite().all()


# device and precision


def test_devices_and_precisions_that_do_not_exist_are_refused(folder: Path) -> None:
    with pytest.raises(OptionError, match=r"unknown device 'gpu'.*Known: cpu, cuda, mps, auto"):
        backbone.load(folder, device="gpu")
    with pytest.raises(OptionError, match=r"unknown precision 'bfloat'.*did you mean 'bfloat16'"):
        backbone.load(folder, precision="bfloat")
    with pytest.raises(OptionError, match=r"device 'cuda:99' was asked for, but PyTorch sees \d GPUs here: use cpu"):
        backbone.load(folder, device="cuda:99")
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert backbone.pick_device("auto") == torch.device(expected)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_gives_float32_embeddings_nearby(folder: Path, loaded: Backbone, precision: str) -> None:
    half = backbone.load(folder, precision=precision)
    assert half.precision == precision
    assert all(value.dtype == torch.float32 for value in half.parameters())
    tokens = half.encode_to(frames(), 2)
    assert tokens.dtype == torch.float32
    assert not torch.equal(tokens, loaded.encode_to(frames(), 2))
    for found, expected in [
        (half.encode_from(tokens, 2), loaded(frames())),
        (half.embed_text(NAMES), loaded.embed_text(NAMES)),
    ]:
        assert found.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.999


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_gpu_agrees_with_the_cpu(folder: Path, loaded: Backbone, precision: str) -> None:
    gpu = backbone.load(folder, device="cuda", precision=precision)
    assert gpu.fingerprint == loaded.fingerprint
    pixels = gpu.pixels(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))
    expected = loaded(pixels.cpu())
    for found in (gpu(pixels), gpu.encode_from(gpu.condense(gpu.encode_to(pixels, gpu.depth)).half(), gpu.depth)):
        assert torch.nn.functional.cosine_similarity(found.cpu(), expected).min() > 0.999
    torch.testing.assert_close(gpu.embed_text(NAMES).cpu(), loaded.embed_text(NAMES), atol=2e-2, rtol=0)


# copies and counts


def test_a_copy_shares_frozen_memory_and_nothing_else(folder: Path) -> None:
    ours = backbone.load(folder)
    ours.image.norm.requires_grad_(True)
    other = ours.copy()
    for (name, a), b in zip(ours.named_parameters(), other.parameters(), strict=True):
        assert a is not b
        assert a.requires_grad == b.requires_grad == name.startswith("image.norm")
        assert (a.data_ptr() == b.data_ptr()) == (not a.requires_grad), name
    other.image.blocks[0].register_forward_hook(lambda *_: None)
    other.image.projection.requires_grad_(True)
    other.set_precision(torch.bfloat16)
    assert not ours.image.blocks[0]._forward_hooks
    assert not ours.image.projection.weight.requires_grad
    assert ours.precision == "float32"
    assert other.fingerprint == ours.fingerprint
    assert torch.equal(ours.embed_text(["clap"]), backbone.load(folder).embed_text(["clap"]))


def test_description_counts_parameters(loaded: Backbone, folder: Path) -> None:
    clip = transformers_clip(folder)
    facts = loaded.describe()
    assert facts["parameters"] == sum(value.numel() for value in clip.parameters()) - 1  # without the logit scale
    assert facts["image"]["parameters"] + facts["text"]["parameters"] == facts["parameters"]
    assert (facts["image"]["depth"], facts["image"]["width"], facts["image"]["tokens"]) == (3, 32, 17)
    assert (facts["text"]["depth"], facts["text"]["width"], facts["text"]["tokens"]) == (2, 24, 24)
    assert facts["trained"] == 0
    assert loaded.logit_scale == pytest.approx(100, rel=1e-4)
    assert json.loads(json.dumps(facts)) == facts
