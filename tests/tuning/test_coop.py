from __future__ import annotations

from typing import Any

import pytest
import torch

from kshot import tuning
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from tuned import NAMES, check, count_at_vit_b16, frames, trained_state, tuned

VECTORS = {"text.embeddings.token_embedding.vectors"}


@pytest.mark.parametrize("context", [1, 6, "4", "a photo of a"])
def test_coop(loaded: Backbone, context: int | str) -> None:
    ours = check(loaded, "coop", 4, VECTORS, same=False, context=context)
    assert torch.equal(ours(frames()), loaded(frames()))  # the image tower is as it was
    vectors = trained_state(ours)["text.embeddings.token_embedding.vectors"]
    assert vectors.shape == (4 if context == "a photo of a" else int(context), 24)


def test_words_to_start_from_give_the_frozen_prompt(loaded: Backbone) -> None:
    names = ["clap", "open_arms", "close the arms"]
    ours, _ = tuned(loaded, "coop", context="a video of a person doing", stop=False)
    expected = loaded.embed_text(names, "a video of a person doing {}")
    torch.testing.assert_close(ours.embed_text(names), expected, rtol=1e-5, atol=1e-6)
    ours, _ = tuned(loaded, "coop", context="a video of a person doing")
    expected = loaded.embed_text(names, "a video of a person doing {}.")
    torch.testing.assert_close(ours.embed_text(names), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(ours.embed_text(names, "a photo of {}"), ours.embed_text(names))  # prompts are not read


def test_vectors_stand_before_the_name(loaded: Backbone) -> None:
    ours, _ = tuned(loaded, "coop", context=3, stop=False)
    vectors = trained_state(ours)["text.embeddings.token_embedding.vectors"]
    assert 0 < float(vectors.abs().max()) < 0.1
    table: Any = loaded.text.embeddings.token_embedding
    ids = loaded.tokenize(["clap"])[0]  # start, clap, end
    rows = torch.cat([table(ids[:1]), vectors, table(ids[1:])])[None]
    places: Any = loaded.text.embeddings.position_embedding
    tokens = rows + places.weight[: rows.shape[1]]
    expected = torch.nn.functional.normalize(loaded.text.encode_from(tokens, 1, read=torch.tensor([5])), dim=-1)
    torch.testing.assert_close(ours.embed_text(["clap"]), expected, rtol=1e-4, atol=1e-5)


def test_a_copy_of_a_tuned_backbone_keeps_its_context(loaded: Backbone) -> None:
    ours, _ = tuned(loaded, "coop", context=3)
    again = ours.copy()
    assert torch.equal(again.embed_text(NAMES), ours.embed_text(NAMES))
    assert again.prompt == "x x x {}."
    assert loaded.prompt == ""


def test_counts_at_the_size_of_vit_b16() -> None:
    assert count_at_vit_b16("coop") == 16 * 512
    assert count_at_vit_b16("coop", context=4) == 2048  # as CoCoOp (Zhou et al., CVPR 2022) counts CoOp


@pytest.mark.parametrize(
    "options, message",
    [
        ({"context": 0}, "option 'context': it should be greater than or equal to 1 or"),
        ({"context": -3}, "option 'context': it should be greater than or equal to 1 or"),
        ({"context": ""}, "context '': expected a number, or words"),
        ({"context": "a photo of {}"}, "context 'a photo of {}': expected a number, or words"),
        ({"context": 22}, "context '22' is too long: this text tower has room for 20 tokens"),
        ({"stop": 1}, "option 'stop': it should be a valid boolean"),
        ({"context": 10**9}, "context '1000000000' is too long"),
        ({"context": "a " * 30}, "is too long: this text tower has room for 20 tokens"),
        ({"tokens": 4}, "tuning 'coop' has no option 'tokens'; its options: context=16"),
    ],
)
def test_options_that_do_not_exist_are_refused(loaded: Backbone, options: dict[str, Any], message: str) -> None:
    ours = loaded.copy()
    with pytest.raises(OptionError, match=message):
        tuning.apply("coop", ours, **options)
    assert not trained_state(ours)
