"""A small random CLIP in the transformers folder format, for tests that need a whole backbone and no download."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WORDS = ("a", "video", "of", "person", "doing", "photo", "clap", "wave", "jump", "open", "close", "arms", "the")


def random_clip(
    folder: Path | str,
    seed: int = 0,
    width: int = 32,
    depth: int = 3,
    size: int = 32,
    patch: int = 8,
    eos: int | None = None,
) -> Path:
    """Writes a CLIP with random weights, affine parts included, and a byte-level CLIP tokenizer into `folder`.

    Args:
        folder: made where absent; files of the same names are replaced.
        seed: of the weights; nothing else is random and the global random state is left alone.
        width: channels of the image tower, a multiple of 8 (heads of 8); the text tower has three quarters of it.
        depth: blocks of the image tower; the text tower has one fewer (at least one).
        size: image side in pixels.
        patch: patch side in pixels.
        eos: `eos_token_id` written to the configuration; 2 asks for the rule of early checkpoints.

    Returns:
        The folder.
    """
    from safetensors.torch import save_file
    from transformers.models.clip.configuration_clip import CLIPConfig
    from transformers.models.clip.modeling_clip import CLIPModel

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vocab, merges = vocabulary()
    start, end = vocab["<|startoftext|>"], vocab["<|endoftext|>"]
    text = max(8, width * 3 // 4 // 8 * 8)
    config = CLIPConfig(
        text_config={
            "vocab_size": len(vocab),
            "hidden_size": text,
            "intermediate_size": 2 * text,
            "num_hidden_layers": max(1, depth - 1),
            "num_attention_heads": text // 8,
            "max_position_embeddings": 24,
            "bos_token_id": start,
            "eos_token_id": end if eos is None else eos,
            "pad_token_id": end,
        },
        vision_config={
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": depth,
            "num_attention_heads": width // 8,
            "image_size": size,
            "patch_size": patch,
        },
        projection_dim=width // 2,
    )
    config.architectures = ["CLIPModel"]
    with torch.device("meta"):
        model = CLIPModel(config)
    generator = torch.Generator().manual_seed(seed)
    weights = {name: _draw(name, value.shape, generator) for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2))
    (folder / "preprocessor_config.json").write_text(json.dumps(_preprocessing(size), indent=2))
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    _fast_tokenizer(vocab, merges).save(str(folder / "tokenizer.json"))
    return folder


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The 256 bytes, alone and ending a word, then one merged word for each of `WORDS`, then start and end."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        left = word[0]
        for i, letter in enumerate(word[1:], 1):
            right = letter + ("</w>" if i == len(word) - 1 else "")
            if (left, right) not in merges:
                merges.append((left, right))
            left += right
    for left, right in merges:
        if left + right not in pieces:
            pieces.append(left + right)
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    return {piece: i for i, piece in enumerate(pieces)}, merges


def _fast_tokenizer(vocab: dict[str, int], merges: list[tuple[str, str]]):  # type: ignore[no-untyped-def]
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    return CLIPTokenizer(vocab=vocab, merges=merges).backend_tokenizer


def _draw(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Weights at which a random tower is lively: activations of order one and attention that is not uniform."""
    value = torch.randn(shape, generator=generator)
    if name == "logit_scale":
        return torch.tensor(4.6052)  # log 100, the value that CLIP was trained to
    if "norm" in name or "layrnorm" in name:
        return value * 0.1 + (1.0 if name.endswith("weight") else 0.0)
    if name.endswith("bias"):
        return value * 0.1
    if "embedding" in name:
        return value * 0.5
    return value * shape[-1] ** -0.5


def _preprocessing(size: int) -> dict[str, object]:
    return {
        "image_processor_type": "CLIPImageProcessor",
        "crop_size": {"height": size, "width": size},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": size},
    }
