"""The bundled backbone loads like any CLIP and knows poses and words for them; its training goes on after a kill."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import kshot
from kshot.backbones import backbone
from kshot.datasets import bodies, drawing, figures, filming
from kshot.datasets.actions import ACTIONS

FOLDER = Path(kshot.__file__).parent / "weights" / "kshot-tiny"
SCRIPT = Path(__file__).parents[2] / "scripts" / "train_tiny.py"


@pytest.fixture(scope="module")
def tiny() -> backbone.Backbone:
    return backbone.load("kshot-tiny")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_tiny", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def embed(tiny: backbone.Backbone, pictures: np.ndarray) -> torch.Tensor:
    """Normalised embeddings (N, P) of pictures (N, 64, 64, 3)."""
    frames = tiny.pixels(torch.from_numpy(pictures))
    return F.normalize(tiny.encode_to(frames, tiny.depth + 1), dim=-1)


def test_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 6e6


def test_loads_in_transformers_and_gives_the_same_numbers(tiny: backbone.Backbone) -> None:
    from transformers import AutoTokenizer, CLIPModel

    model, info = CLIPModel.from_pretrained(FOLDER, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    frames = tiny.pixels(torch.from_numpy(pictures))
    with torch.no_grad():
        theirs = model.get_image_features(pixel_values=frames).pooler_output
        torch.testing.assert_close(tiny.encode_to(frames, tiny.depth + 1), theirs, rtol=1e-4, atol=1e-5)
        names, prompt = ["wave", "sit down"], "a video of a person doing {}"
        tokens = AutoTokenizer.from_pretrained(FOLDER)(
            [prompt.format(n) for n in names], padding=True, return_tensors="pt"
        )
        texts = F.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)
    torch.testing.assert_close(tiny.embed_text(names, [prompt]), texts, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("text", ["a person waving", "héhé, ça va?", "日本語 🙂", "tab\tand 1234567890 %$§", "x" * 60])
def test_any_text_has_tokens(text: str) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(FOLDER)
    tokens = tokenizer(text).input_ids
    assert tokens[0] == tokenizer.bos_token_id
    assert tokens.index(tokenizer.eos_token_id) == len(tokens) - 1  # so no unknown token, which is the same as the end
    assert tokenizer.decode(tokens, skip_special_tokens=True).replace(" ", "") == " ".join(text.split()).replace(
        " ", ""
    )


def test_a_pose_is_found_again_in_another_performer(tiny: backbone.Backbone, script: ModuleType) -> None:
    pictures = script.draw_chunk(seed=12345, chunk=0, count=200)[0]
    one, other = embed(tiny, pictures[:, 0]), embed(tiny, pictures[:, 1])
    rank = ((one @ other.T) > (one * other).sum(-1, keepdim=True)).sum(-1)
    assert (rank == 0).float().mean() > 0.1  # chance 0.005
    assert rank.float().median() < 10  # chance 100


def test_words_find_poses(tiny: backbone.Backbone) -> None:
    rng = np.random.default_rng(5)
    poses = {
        "sitting": bodies.pose(legs=(86, 8, 0, 4)),
        "standing with both arms raised": bodies.pose(arms=(0, 168)),
        "lying on the back": bodies.pose(pitch=-90),
        "bowing": bodies.pose(lean=75),
        "with arms spread wide": bodies.pose(arms=(0, 90)),
    }
    pictures = []
    for angles in poses.values():
        for _ in range(20):
            look, camera = figures.Look.random(rng), figures.Viewpoint.random(rng, yaw=rng.uniform(-50, 50))
            picture = drawing.scene(rng, 128)
            figures.draw_figure(picture, figures.project(bodies.joints(angles, look.body), camera), look, camera)
            pictures.append(np.asarray(picture.reduce(2)))
    texts = tiny.embed_text(list(poses), ["a person {}"])
    right = (embed(tiny, np.stack(pictures)) @ texts.T).argmax(-1) == torch.arange(5).repeat_interleave(20)
    assert right.float().mean() > 0.6  # chance 0.2


@pytest.mark.slow
def test_motion_is_neither_trivial_nor_hopeless(tiny: backbone.Backbone, script: ModuleType) -> None:
    novel = [name for name, action in ACTIONS.items() if action.split == "test"]
    features, labels = [], []
    for name in novel:
        for clip in range(0, 20, 2):  # ten groups: nobody is met twice
            frames = list(filming.frames(name, clip, seed=0))
            chosen = [frames[int((i + 0.5) * len(frames) / 8)] for i in range(8)]
            pictures = [
                script.Image.fromarray(frame).resize((64, 64), script.Image.Resampling.BICUBIC) for frame in chosen
            ]
            features.append(embed(tiny, np.stack(pictures)).mean(0))
            labels.append(name)
    accuracy = script.nearest_mean(torch.stack(features).numpy(), np.array(labels), shot=1, episodes=1000)
    assert 40 < accuracy < 80


class Killed(Exception):
    """Stands for a kill between two steps."""


def test_training_goes_on_after_a_kill(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "POSES_A_CHUNK", 24)
    options = {"steps": 6, "chunks": 1, "batch": 8, "clips": 0, "processes": 1, "save-every": 0, "captions-from": 0.4}
    arguments = [f"--{name}={value}" for name, value in options.items()]

    def weights(folder: Path) -> dict[str, torch.Tensor]:
        script.main(["--out", str(folder), *arguments])
        from safetensors.torch import load_file

        return load_file(folder / "weights" / "model.safetensors")

    whole = weights(tmp_path / "whole")
    steps: list[int] = []

    def pixels_of_four_steps(pictures: np.ndarray) -> torch.Tensor:
        steps.append(len(pictures))
        if len(steps) == 5:
            raise Killed
        return pixels(pictures)

    pixels = script.pixels
    monkeypatch.setattr(script, "pixels", pixels_of_four_steps)
    with pytest.raises(Killed):
        weights(tmp_path / "killed")
    monkeypatch.setattr(script, "pixels", pixels)
    resumed = weights(tmp_path / "killed")
    assert steps == [16] * 5
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, msg=name)
    untrained = script.build(script.CLIPTokenizer.from_pretrained(tmp_path / "whole" / "weights")).state_dict()
    assert any(
        not torch.allclose(untrained[name], whole[name]) for name in whole if name.startswith("text_model.encoder")
    )
