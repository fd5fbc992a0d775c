"""What holds for every head, whatever it computes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import CheckpointError, OptionError
from kshot.heads import HEADS, Head, get_head, options

SMALL: dict[str, dict[str, Any]] = {
    "trx": {"width": 24}, "product-trx": {"width": 24}, "baseline++": {"epochs": 4}, "tip-adapter-f": {"epochs": 4},
    "clap": {"steps": 20}, "lp++": {"steps": 20},
}  # fmt: skip
CHOICES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in HEADS),
    ("otam", {"variant": "clip-fsar"}),
    ("baseline++", {"norm": "unit", "fresh": False}),
    ("bimhm", {"shots": "distances"}),
    ("clip-fsar", {"shots": "distances", "align": "bimhm"}),
    ("clip-fsar", {"shots": "distances", "merge": False}),
    ("clip-fsar", {"merge": False, "layer": "pre-norm"}),
    ("tip-adapter", {"alpha": "loo", "beta": "loo"}),
    ("tip-adapter-f", {"alpha": "loo"}),
    ("fusion", {"beta": "loo"}),
    ("fusion", {"beta": 0.5}),
    ("product", {"visual": "otam"}),
    ("clap", {"constraint": False}),
    ("hoso", {"refit": True}),
]
each_head = pytest.mark.parametrize(("name", "chosen"), CHOICES, ids=lambda value: str(value))
Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def make(name: str, chosen: dict[str, Any], channels: int = 16, dtype: torch.dtype = torch.float64) -> Head:
    """A head as after training, with parameters that are not the trivial first ones."""
    torch.manual_seed(0)
    sized = {"dim": channels} if "dim" in options(name) else {}
    head = get_head(name, **sized, **SMALL.get(name, {}), **chosen).to(dtype).eval()
    for parameter in head.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    head.trained = True
    return head


@each_head
@torch.inference_mode()
def test_order_of_support_clips_does_not_matter(name: str, chosen: dict[str, Any], draw: Draw) -> None:
    query, support, labels, text = draw(shot=3)
    head, order = make(name, chosen), torch.randperm(9)
    moved = head(query, support[:, order], labels[:, order], text)
    torch.testing.assert_close(moved, head(query, support, labels, text), rtol=1e-7, atol=1e-7)


@each_head
@torch.inference_mode()
def test_relabelled_classes_move_their_scores(name: str, chosen: dict[str, Any], draw: Draw) -> None:
    if name == "baseline++":
        pytest.skip("each class starts from first weights of its own")
    query, support, labels, text = draw()
    head, new = make(name, chosen), torch.tensor([2, 0, 1])
    moved = head(query, support, new[labels], text[:, new.argsort()])
    torch.testing.assert_close(moved[..., new], head(query, support, labels, text), rtol=1e-7, atol=1e-7)


@each_head
@torch.inference_mode()
def test_chunks_of_episodes_equal_the_whole(name: str, chosen: dict[str, Any], draw: Draw) -> None:
    inputs, head = draw(episodes=5), make(name, chosen)
    parts = [
        head(*(x[start:stop] for x in inputs), numbers=range(start, stop)) for start, stop in ((0, 1), (1, 4), (4, 5))
    ]
    torch.testing.assert_close(torch.cat(parts), head(*inputs), rtol=1e-7, atol=1e-7)


@each_head
@torch.inference_mode()
def test_queries_do_not_see_each_other(name: str, chosen: dict[str, Any], draw: Draw) -> None:
    """Unless the head says that they do, and then in no order of theirs."""
    query, support, labels, text = draw(query=6)
    head = make(name, chosen)
    together = head(query, support, labels, text)
    alone = torch.cat([head(query[:, i : i + 1], support, labels, text) for i in range(6)], dim=1)
    if head.transductive:
        assert not torch.allclose(alone, together, rtol=1e-2)
        order = torch.randperm(6)
        alone, together = head(query[:, order], support, labels, text), together[:, order]
    torch.testing.assert_close(alone, together, rtol=1e-7, atol=1e-7)


@each_head
@torch.inference_mode()
def test_clips_may_be_prepared_once(name: str, chosen: dict[str, Any], draw: Draw) -> None:
    query, support, labels, text = draw()
    head = make(name, chosen)
    own_text = text.gather(1, labels[:, :, None].expand(-1, -1, text.shape[2]))
    far = head.prepare(query.flatten(0, 1)).unflatten(0, query.shape[:2])
    near = head.prepare_support(support.flatten(0, 1), own_text.flatten(0, 1)).unflatten(0, support.shape[:2])
    prepared = head(far, near, labels, text, prepared=True)
    torch.testing.assert_close(prepared, head(query, support, labels, text), rtol=1e-7, atol=1e-7)


@each_head
@torch.inference_mode()
def test_classes_may_differ_in_size(name: str, chosen: dict[str, Any], draw: Draw) -> None:
    query, support, _, text = draw()
    labels = torch.tensor([[0, 1, 1, 2, 1, 2], [2, 0, 1, 2, 2, 2], [0, 1, 2, 2, 1, 0]])
    head = make(name, chosen)
    scores = head(query, support, labels, text)
    assert scores.shape == (3, 4, 3)
    alone = head(query[1:2], support[1:2], labels[1:2], text[1:2], numbers=[1])
    torch.testing.assert_close(scores[1:2], alone)
    assert scores.isfinite().all()


def extremes(kind: str, draw: Draw) -> tuple[Tensor, ...]:
    query, support, labels, text = draw(dtype=torch.float32)
    if kind == "identical":
        query, support = torch.ones_like(query), torch.ones_like(support)
    elif kind == "zero":
        query, support, text = torch.zeros_like(query), torch.zeros_like(support), torch.zeros_like(text)
    elif kind == "one zero clip":
        query[:, 0], support[:, 0] = 0, 0
    elif kind == "large":
        query, support = 6e4 * query.sign(), 6e4 * support.sign()  # the end of half precision
    elif kind == "tiny":
        query, support = 1e-6 * query, 1e-6 * support
    elif kind == "opposed":
        query, support = torch.ones_like(query), -torch.ones_like(support)
    return query, support, labels, text


@pytest.mark.parametrize("kind", ["identical", "zero", "one zero clip", "large", "tiny", "opposed"])
@each_head
def test_gradients_are_finite_at_the_extremes(name: str, chosen: dict[str, Any], kind: str, draw: Draw) -> None:
    query, support, labels, text = extremes(kind, draw)
    head = make(name, chosen, dtype=torch.float32)
    query.requires_grad_()
    support.requires_grad_()
    scores = head(query, support, labels, text)
    assert scores.isfinite().all()
    F.cross_entropy(scores.flatten(0, 1), torch.zeros(12, dtype=torch.long)).backward()
    gradients = [query.grad, support.grad, *(parameter.grad for parameter in head.parameters())]
    assert query.grad is not None
    assert all(g.isfinite().all() for g in gradients if g is not None)


@pytest.mark.slow
@each_head
def test_gradients_reach_the_query_and_agree_with_differences(name: str, chosen: dict[str, Any], draw: Draw) -> None:
    query, support, labels, text = draw(episodes=1, query=2, way=2, frames=3, channels=8)
    head = make(name, chosen, channels=8)
    query.requires_grad_()
    assert torch.autograd.gradcheck(lambda q: head(q, support, labels, text), query, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "chosen"),
    [*((name, {}) for name in ("nearest", "prototype", "otam", "bimhm", "trx", "clip-fsar", "meta-baseline")),
     ("fusion", {"beta": 0.5})],  # a weight that was earned is a constant to the gradient
)  # fmt: skip
def test_gradients_reach_the_support(name: str, chosen: dict[str, Any], draw: Draw) -> None:
    query, support, labels, text = draw(episodes=1, query=2, way=2, frames=3, channels=8)
    head = make(name, chosen, channels=8)
    support.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: head(query, s, labels, text), support, atol=1e-4)


@each_head
@torch.inference_mode()
def test_half_precision_and_autocast_lose_nothing_but_the_input(name: str, chosen: dict[str, Any], draw: Draw) -> None:
    query, support, labels, text = (x.half() if x.is_floating_point() else x for x in draw(dtype=torch.float32))
    head = make(name, chosen, dtype=torch.float32)
    expected = head(query.float(), support.float(), labels, text.float())
    torch.testing.assert_close(head(query, support, labels, text), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(head(query, support, labels, text), expected)


@pytest.mark.parametrize("channels", [96, 512])
@pytest.mark.parametrize("name", HEADS)
@torch.inference_mode()
def test_any_number_of_channels_and_frames(name: str, channels: int, draw: Draw) -> None:
    for frames in (3, 8):
        query, support, labels, text = draw(2, 1, 5, 1, frames, channels, dtype=torch.float32)
        scores = make(name, {}, channels, torch.float32)(query, support, labels, text)
        assert scores.shape == (2, 1, 5)
        assert scores.isfinite().all()


@pytest.mark.parametrize("name", [name for name in HEADS if get_head(name).learns])
def test_a_head_that_learns_says_whether_it_did(name: str, draw: Draw) -> None:
    inputs = draw(dtype=torch.float32)
    sized = {"dim": 16} if "dim" in options(name) else {}
    head = get_head(name, **sized)
    assert not head.trained
    assert head.train()(*inputs).isfinite().all()  # training is how it gets there
    if not head.works_untrained:
        with pytest.raises(
            CheckpointError, match=rf"'{name}' learns and was never trained.*kshot train .* --head {name}"
        ):
            head.eval()(*inputs)
    head.trained = True
    again = get_head(name, **sized).eval()
    again.load_state_dict(head.state_dict())
    assert again.trained
    torch.testing.assert_close(again(*inputs), head.eval()(*inputs), rtol=0, atol=0)


@pytest.mark.parametrize("name", HEADS)
def test_learns_tells_whether_there_are_parameters(name: str) -> None:
    head = get_head(name)
    assert head.learns == bool(list(head.parameters()))
    assert head.learns or (head.trained and not head.state_dict())


@pytest.mark.parametrize("name", [name for name in HEADS if get_head(name).needs_text])
def test_missing_class_texts_are_named(name: str, draw: Draw) -> None:
    query, support, labels, _ = draw()
    with pytest.raises(
        OptionError, match=f"'{re.escape(name)}' compares clips with class names, and found no class texts"
    ):
        make(name, {})(query, support, labels)


@pytest.mark.parametrize("name", [name for name in HEADS if get_head(name).needs_text and name != "clip-fsar"])
def test_texts_of_another_backbone_are_refused(name: str, draw: Draw) -> None:
    query, support, labels, text = draw()
    with pytest.raises(OptionError, match="16 channels of the clips, found 15 channels"):
        make(name, {})(query, support, labels, text[..., :-1])


@pytest.mark.parametrize("name", ["trx", "product-trx", "clip-fsar"])
def test_clips_of_another_width_are_refused(name: str, draw: Draw) -> None:
    inputs = draw(channels=24)
    with pytest.raises(OptionError, match=rf"'{name}' was made for 16 channels, found 24: make it with dim=24"):
        make(name, {}, 16)(*inputs)


def test_shapes_that_do_not_belong_together_are_shown(draw: Draw) -> None:
    query, support, labels, _ = draw()
    head = get_head("prototype")
    with pytest.raises(OptionError, match=r"found query \(3, 4, 4, 16\), support \(3, 6, 4, 16\), labels \(3, 5\)"):
        head(query, support, labels[:, :5])
    with pytest.raises(OptionError, match=r"query \(4, 4, 16\)"):
        head(query[0], support, labels)
    with pytest.raises(OptionError, match=r"support \(3, 6, 4, 15\)"):
        head(query, support[..., :15], labels)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "clip-fsar"])
def test_no_further_loss(name: str, draw: Draw) -> None:
    query, support, labels, text = draw()
    head = make(name, {})
    assert float(head.auxiliary(query, support, labels[:, :4], labels, text[0])) == 0


@each_head
@torch.inference_mode()
def test_what_is_fitted_once_scores_later_queries_alike(name: str, chosen: dict[str, Any], draw: Draw) -> None:
    """With classes of two clips and with one of one; a head that fits something keeps less than the clips."""
    query, support, labels, text = draw()
    head = make(name, chosen)
    for near, of in (
        (support, labels),
        (support, torch.tensor([[0, 1, 1, 2, 1, 2], [2, 0, 1, 2, 2, 2], [0, 1, 2, 2, 1, 0]])),
    ):
        own_text = text.gather(1, of[:, :, None].expand(-1, -1, text.shape[2])).flatten(0, 1)
        prepared = head.prepare_support(near.flatten(0, 1), own_text).unflatten(0, near.shape[:2])
        fitted = head.fit_support(prepared, of, text, 3)
        far = head.prepare(query.flatten(0, 1)).unflatten(0, query.shape[:2])
        torch.testing.assert_close(head.score_fitted(far, fitted, 3), head(query, near, of, text), rtol=1e-7, atol=1e-7)
