"""CLIP-FSAR: support clips see the name of their class, then alignment."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import OptionError
from kshot.heads import get_head
from kshot.heads.clip_fsar import ClipFSAR

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


BEFORE = {"layer": "pre-norm", "merge": False}


def make(**options: object) -> ClipFSAR:
    """A trained head, by default as before kshot followed the published layer."""
    torch.manual_seed(0)
    head = get_head("clip-fsar", **{**BEFORE, **options}).double().eval()
    assert isinstance(head, ClipFSAR)
    for parameter in head.layer.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    head.trained = True
    return head


def silence(head: ClipFSAR) -> None:
    """A transformer layer that adds nothing to its residual stream."""
    for module in (head.layer.self_attn.out_proj, head.layer.linear2):
        module.weight.data.zero_()
        module.bias.data.zero_()


def layer(head: ClipFSAR, tokens: Tensor) -> Tensor:
    """Pre-norm attention and feed-forward, written out for the tokens (n, D) of one clip."""
    own, heads = head.layer, head.layer.self_attn.num_heads
    weight, bias = own.self_attn.in_proj_weight, own.self_attn.in_proj_bias
    query, key, value = (
        F.layer_norm(tokens, tokens.shape[1:], own.norm1.weight, own.norm1.bias) @ weight.T + bias
    ).chunk(3, 1)
    mixed = []
    for q, k, v in zip(query.chunk(heads, 1), key.chunk(heads, 1), value.chunk(heads, 1), strict=True):
        mixed.append((q @ k.T / math.sqrt(q.shape[1])).softmax(1) @ v)
    tokens = tokens + own.self_attn.out_proj(torch.cat(mixed, 1))
    inner = own.linear1(F.layer_norm(tokens, tokens.shape[1:], own.norm2.weight, own.norm2.bias))
    return tokens + own.linear2(F.gelu(inner))


@pytest.mark.parametrize("align", ["otam", "bimhm"])
def test_a_silent_layer_leaves_the_alignment(align: str) -> None:
    head = make(dim=8, align=align)
    silence(head)
    forward = torch.eye(2, 8, dtype=torch.float64)[None, None]
    support = torch.cat([forward, forward.flip(2)], dim=1)
    scores = head(forward, support, torch.tensor([[0, 1]]), torch.ones(1, 2, 8, dtype=torch.float64))
    # By hand in test_otam and test_bimhm
    e2, e4 = math.exp(-2), math.exp(-4)
    expected = [math.log(1 + 5 * e2), math.log(4 * e2 + 2 * e4)] if align == "otam" else [0.0, 0.0]
    torch.testing.assert_close(scores[0, 0], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("shots", ["features", "distances"])
@torch.no_grad()
def test_plain_loop(shots: str, draw: Draw) -> None:
    query, support, labels, text = draw(episodes=2, frames=5)
    head, aligned = make(dim=16, shots=shots), get_head("otam", smooth=0.5, shots=shots)
    for e in range(2):
        asked = torch.stack([layer(head, clip) for clip in query[e]])
        shown = torch.stack(
            [
                layer(head, torch.cat([clip, text[e, k][None]]))[:-1]
                for clip, k in zip(support[e], labels[e], strict=True)
            ]
        )
        expected = aligned(asked[None], shown[None], labels[e : e + 1])
        scores = head(*(x[e : e + 1] for x in (query, support, labels, text)))
        torch.testing.assert_close(scores, expected)


def published(head: ClipFSAR, tokens: Tensor) -> Tensor:
    """The layer of the authors' code, written out for the tokens (n, D) of one clip."""
    own = head.layer
    n = F.layer_norm(tokens, tokens.shape[1:], own.norm.weight, own.norm.bias)
    query, key, value = (n @ part.T for part in own.attend.weight.chunk(3))
    mixed = [
        (q @ k.T / math.sqrt(q.shape[1])).softmax(1) @ v
        for q, k, v in zip(*(x.chunk(own.heads, 1) for x in (query, key, value)), strict=True)
    ]
    tokens = tokens + torch.cat(mixed, 1) @ own.out[0].weight.T + own.out[0].bias
    inner = F.gelu(tokens @ own.forth[0].weight.T + own.forth[0].bias)
    return tokens + inner @ own.forth[3].weight.T + own.forth[3].bias


@pytest.mark.parametrize("shots", ["features", "distances"])
@pytest.mark.parametrize("shot", [1, 2])
@torch.no_grad()
def test_plain_loop_of_the_published_code(shot: int, shots: str, draw: Draw) -> None:
    """Clips of a class are averaged, then see the name; with one clip the same as without averaging."""
    query, support, labels, text = draw(episodes=2, frames=5, shot=shot)
    head, aligned = make(dim=16, layer="published", merge=True, shots=shots), get_head("otam", smooth=0.5)
    for e in range(2):
        asked = torch.stack([published(head, clip) for clip in query[e]])
        means = [torch.cat([support[e][labels[e] == k].mean(0), text[e, k][None]]) for k in range(3)]
        shown = torch.stack([published(head, clip)[:-1] for clip in means])
        expected = aligned(asked[None], shown[None], torch.arange(3)[None])
        torch.testing.assert_close(head(*(x[e : e + 1] for x in (query, support, labels, text))), expected)
    apart = make(dim=16, layer="published", shots=shots)
    apart.load_state_dict(head.state_dict())
    inputs = query, support, labels, text
    assert torch.allclose(apart(*inputs), head(*inputs)) == (shot == 1)


def test_queries_keys_and_values_have_no_biases() -> None:
    names = {name for name, _ in get_head("clip-fsar", dim=16).layer.named_parameters()}
    assert "attend.weight" in names and "attend.bias" not in names


def test_names_change_the_support_and_not_the_query(draw: Draw) -> None:
    query, _, _, text = draw()
    head = make(dim=16)
    clips, names = query[0], text[0, :1].expand(4, -1)
    assert not torch.allclose(head.prepare_support(clips, names), head.prepare(clips))
    assert not torch.allclose(head.prepare_support(clips, names), head.prepare_support(clips, -names))


def test_auxiliary_loss_by_hand() -> None:
    head = make(dim=8, weight=1.2)
    east, north = torch.eye(2, 8, dtype=torch.float64)
    query, support = torch.stack([3 * east, east])[None, None], torch.stack([north, north])[None, None]
    texts = torch.stack([2 * east, 2 * north])
    loss = head.auxiliary(query, support, torch.tensor([[0]]), torch.tensor([[0]]), texts)
    # Logits (1, 0) with class 0, and (0, 1) with class 0; s is 1
    expected = 1.2 * (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2
    assert math.isclose(loss.item(), expected, rel_tol=1e-6)
    loss.backward()
    assert head.text_scale.grad is not None
    assert head.text_scale.grad != 0


def test_auxiliary_loss_needs_names(draw: Draw) -> None:
    query, support, labels, _ = draw()
    with pytest.raises(OptionError, match="'clip-fsar' trains against class names"):
        make(dim=16).auxiliary(query, support, labels[:, :4], labels, None)


def test_it_learns(draw: Draw) -> None:
    """A batch of episodes is fitted in a few steps."""
    torch.manual_seed(0)
    head = get_head("clip-fsar", dim=16, dropout=0.0)
    _, support, labels, text = draw(dtype=torch.float32)
    query = support + 0.1 * torch.randn(support.shape, generator=torch.Generator().manual_seed(1))

    def loss() -> Tensor:
        return F.cross_entropy(head(query, support, labels, text).flatten(0, 1), labels.flatten())

    optimiser, before = torch.optim.Adam(head.parameters(), 1e-2), loss().item()
    for _ in range(20):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert loss().item() < 0.5 * before
