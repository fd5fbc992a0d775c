from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from blocks import make_block, tokens
from kshot.backbones import last_block

SHAPES = {  # width, heads, tokens
    "ViT-B/32": (768, 12, 50),
    "ViT-B/16": (768, 12, 197),
    "ViT-L/14": (1024, 16, 257),
    "text of ViT-B": (512, 8, 77),
    "text of ViT-L": (768, 12, 77),
}


def whole(block: nn.Module, x: Tensor, read: Tensor | None, causal: bool) -> Tensor:
    out = block(x, None, is_causal=causal)
    return out[:, 0] if read is None else out[torch.arange(len(x)), read]


def fast(block: nn.Module, x: Tensor, read: Tensor | None, causal: bool) -> Tensor:
    n = last_block.normalise(x, block.layer_norm1.eps)
    token = x[:, 0] if read is None else x[torch.arange(len(x)), read]
    return last_block.forward(block, n, token, read, causal)


def gradients(block: nn.Module, out: Tensor, *inputs: Tensor) -> dict[str, Tensor]:
    """Gradients of a loss that weighs every output differently; those of `inputs` by their position."""
    named = dict(block.named_parameters())
    wanted = [*named.values(), *inputs]
    found = torch.autograd.grad((out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum(), wanted)
    return dict(zip([*named, *map(str, range(len(inputs)))], found, strict=True))


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm())


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_whole_block_at_the_sizes_of_clip(shape: str) -> None:
    width, heads, count = SHAPES[shape]
    causal = shape.startswith("text")
    block = make_block(width, heads)
    x = tokens(3, count, width)
    read = torch.tensor([4, 11, count - 1]) if causal else None

    expected, found = whole(block, x, read, causal), fast(block, x, read, causal)
    assert distance(found, expected) <= 1e-5

    reference, ours = gradients(block, expected), gradients(block, found)
    assert not ours.pop("self_attn.k_proj.bias").any()
    reference.pop("self_attn.k_proj.bias")  # rounding noise around zero
    for name, value in reference.items():
        assert distance(ours[name], value) <= 1e-4, name


@pytest.mark.parametrize("causal", [False, True])
def test_equals_the_whole_block_in_double_precision_and_passes_gradients_to_its_input(causal: bool) -> None:
    block = make_block(24, 3, torch.float64)
    x = tokens(5, 7, 24, torch.float64).requires_grad_()
    read = torch.tensor([0, 6, 3, 3, 1])

    expected, found = whole(block, x, read, causal), fast(block, x, read, causal)
    assert distance(found, expected) < 1e-13

    reference, ours = gradients(block, expected, x), gradients(block, found, x)
    assert reference.pop("self_attn.k_proj.bias").norm() < 1e-12
    for name, value in reference.items():
        assert distance(ours[name], value) < 1e-12, name


def test_causal_rows_do_not_see_what_follows_the_token_read() -> None:
    block, x = make_block(16, 2), tokens(1, 9, 16)
    changed = x.clone()
    changed[:, 5:] = 100
    read = torch.tensor([4])
    assert torch.equal(fast(block, x, read, True), fast(block, changed, read, True))
    assert not torch.allclose(fast(block, x, read, False), fast(block, changed, read, False))


def test_rows_in_chunks_equal_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    block = make_block(16, 2)
    x = tokens(7, 5, 16).requires_grad_()
    at_once = fast(block, x, None, False)
    reference = gradients(block, at_once, x)
    for rows in (1, 2, 3):
        monkeypatch.setitem(last_block.CHUNK, "cpu", rows * 5 * 16 * 4)
        in_chunks = fast(block, x, None, False)
        torch.testing.assert_close(in_chunks, at_once)
        torch.testing.assert_close(gradients(block, in_chunks, x), reference)


def test_tokens_stored_in_half_precision_are_read_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    block, x = make_block(64, 8), tokens(5, 9, 64)
    n, token = last_block.normalise(x, 1e-5).half(), x[:, 0].half()
    monkeypatch.setitem(last_block.CHUNK, "cpu", 2 * 9 * 64 * 4)
    half = last_block.forward(block, n, token)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, last_block.forward(block, n.float(), token.float()))
    assert distance(half, whole(block, x, None, False)) < 2e-3


def test_no_rows_give_no_rows() -> None:
    out = last_block.forward(make_block(16, 2), torch.zeros(0, 5, 16), torch.zeros(0, 16))
    assert out.shape == (0, 16)


def test_every_parameter_has_a_gradient_so_that_weight_decay_acts_alike() -> None:
    block = make_block(16, 2)
    fast(block, tokens(2, 5, 16), None, False).sum().backward()
    assert all(value.grad is not None for value in block.parameters())


class _Low(nn.Linear):
    """A linear layer as LoRA would put in its place."""


def _replace(block: nn.Module) -> None:
    block.self_attn.v_proj = _Low(16, 16)


def _patch(block: nn.Module) -> None:
    block.self_attn.forward = block.self_attn.forward


@pytest.mark.parametrize(
    "alter",
    [
        _replace,
        _patch,
        lambda block: block.register_forward_pre_hook(lambda *_: None),
        lambda block: block.self_attn.register_forward_hook(lambda *_: None),
        lambda block: block.mlp.fc1.register_forward_hook(lambda *_: None),
        lambda block: torch.nn.utils.parametrizations.weight_norm(block.self_attn.q_proj),
    ],
    ids=["linear replaced", "forward patched", "hook before", "hook inside", "hook in the MLP", "parametrised"],
)
def test_an_altered_block_is_not_taken_for_exact(alter) -> None:  # type: ignore[no-untyped-def]
    block = make_block(16, 2)
    assert last_block.exact(block)
    alter(block)
    assert not last_block.exact(block)


def test_attention_dropout_counts_only_in_training() -> None:
    block = make_block(16, 2, dropout=0.1)
    assert last_block.exact(block.eval())
    assert not last_block.exact(block.train())
    assert not last_block.exact(nn.Identity())


def test_work_at_the_size_of_vit_b16_is_a_hundredth_of_the_whole_block() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    width, heads, count = SHAPES["ViT-B/16"]
    block = make_block(width, heads).to("meta")
    x = torch.empty(1, count, width, device="meta")
    work = {}
    for way in (fast, whole):
        with FlopCounterMode(display=False) as counter:
            way(block, x, None, False)
        work[way] = counter.get_total_flops() / 2e6  # million multiply-adds
    assert work[fast] < 12
    assert work[whole] > 120 * work[fast]
