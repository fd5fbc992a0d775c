"""What every tuning method must hold to, checked on a small CLIP and on the shape of ViT-B/16."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from kshot import tuning
from kshot.backbones.backbone import Backbone
from kshot.fewshot.fit import seeded

CPU = torch.device("cpu")
CLIPS, FRAMES = 4, 4
NAMES = ["clap", "wave", "jump", "open"]


def frames(seed: int = 0) -> Tensor:
    """Four clips of four frames, (16, 3, 32, 32)."""
    return torch.randn(CLIPS * FRAMES, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def tuned(loaded: Backbone, method: str, seed: int = 0, **options: Any) -> tuple[Backbone, int]:
    """A copy with a method applied, new weights drawn from a seed, and the cut."""
    ours = loaded.copy()
    with seeded(seed, CPU):
        cut = tuning.apply(method, ours, **options)
    return ours, cut


def trained_state(ours: Backbone) -> dict[str, Tensor]:
    """Name -> copy of every weight that learns."""
    return {name: value.detach().clone() for name, value in ours.named_parameters() if value.requires_grad}


def clips(ours: Backbone, stored: Tensor, cut: int) -> Tensor:
    """(clips, P) embeddings of clips from what the cut receives."""
    return ours.encode_from(stored, cut, frames=FRAMES).view(CLIPS, FRAMES, -1).mean(1)


def loss(ours: Backbone, stored: Tensor, cut: int) -> Tensor:
    """Cross-entropy of four clips against four texts."""
    words = 10 * ours.embed_text(NAMES)
    return torch.nn.functional.cross_entropy(
        torch.nn.functional.normalize(clips(ours, stored, cut), dim=-1) @ words.T, torch.arange(CLIPS)
    )


def train(ours: Backbone, cut: int, steps: int = 6, lr: float = 1e-2) -> list[float]:
    """Losses of real steps from activations at the cut, as training does them."""
    stored = ours.encode_to(frames(), cut)
    optimiser = torch.optim.Adam([value for value in ours.parameters() if value.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss(ours, stored, cut)
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
    return losses


def check(
    loaded: Backbone,
    method: str,
    cut: int,
    names: set[str],
    same: bool = True,
    unread: Collection[str] = (),
    **options: Any,
) -> Backbone:
    """Checks all that a method promises: cut, names, step zero, gradients, a falling loss, bit-equal reloading.

    same: whether the method promises to change nothing before it has learned.
    unread: weights that the embedding does not depend on, so that they do not learn.

    Returns:
        The trained copy.
    """
    ours, found = tuned(loaded, method, **options)
    assert found == cut
    first = trained_state(ours)
    assert set(first) == names

    again, _ = tuned(loaded, method, **options)
    assert all(torch.equal(value, first[name]) for name, value in trained_state(again).items())

    x = frames()
    stored = ours.encode_to(x, cut)
    assert torch.equal(stored, loaded.encode_to(x, cut))  # nothing is touched before the cut
    if same:
        torch.testing.assert_close(clips(ours, stored, cut), clips(loaded, stored, cut), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.embed_text(NAMES), loaded.embed_text(NAMES), rtol=1e-4, atol=1e-5)

    before = {name: value.detach().clone() for name, value in ours.named_parameters()}
    losses = train(ours, cut)
    assert losses[-1] < losses[0] - 0.01
    for name, value in ours.named_parameters():
        assert value.requires_grad == (name in names) == (value.grad is not None), name
        if name not in names:
            assert torch.equal(value, before[name]), name
        elif name not in unread and not name.endswith("k_proj.bias"):  # softmax ignores a key's bias
            assert not torch.equal(value, before[name]), name
    assert not any(value.requires_grad or value.grad is not None for value in loaded.parameters())

    restored, _ = tuned(loaded, method, seed=1, **options)
    assert not restored.load_state_dict(trained_state(ours), strict=False).unexpected_keys
    whole = clips(ours, x, 0)
    assert torch.equal(clips(restored, x, 0), whole)
    assert torch.equal(restored.embed_text(NAMES), ours.embed_text(NAMES))
    for earlier in range(1, cut + 1):
        torch.testing.assert_close(clips(ours, ours.encode_to(x, earlier), earlier), whole, rtol=1e-4, atol=1e-4)
    if cut == ours.depth and ours.image.exact:
        torch.testing.assert_close(clips(ours, ours.condense(stored), cut), whole, rtol=1e-4, atol=1e-4)
    return ours


def count_at_vit_b16(method: str, **options: Any) -> int:
    """Trained parameters at the size of CLIP's ViT-B/16 (text tower of width 512), without memory."""
    ours = vit_b16()
    tuning.apply(method, ours, **options)
    return int(ours.describe()["trained"])


def vit_b16() -> Backbone:
    """ViT-B/16 without memory."""
    from transformers.models.clip.configuration_clip import CLIPConfig
    from transformers.models.clip.modeling_clip import CLIPModel

    with torch.device("meta"):
        return Backbone(CLIPModel(CLIPConfig(vision_config={"patch_size": 16})))
