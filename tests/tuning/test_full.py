from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kshot import tuning
from kshot.backbones import backbone
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from tiny import random_clip


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return backbone.load(random_clip(tmp_path_factory.mktemp("clip")))


def frames() -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tower, cut, prefixes", [("image", 0, ("image.",)), ("text", 4, ("text.",)),
                                                  ("both", 0, ("image.", "text."))])  # fmt: skip
def test_every_weight_of_the_tower_learns_and_no_other(
    loaded: Backbone, tower: str, cut: int, prefixes: tuple[str, ...]
) -> None:
    ours = loaded.copy()
    assert tuning.apply("full", ours, tower=tower) == cut
    assert torch.equal(ours(frames()), loaded(frames()))
    before = {name: value.clone() for name, value in loaded.named_parameters()}

    scores = ours(frames()) @ ours.embed_text(["clap", "wave", "jump", "run"]).T
    torch.nn.functional.cross_entropy(scores, torch.arange(4)).backward()
    torch.optim.SGD([value for value in ours.parameters() if value.requires_grad], lr=1.0).step()
    for name, value in ours.named_parameters():
        assert value.requires_grad == (value.grad is not None) == name.startswith(prefixes), name
        assert torch.equal(before[name], loaded.get_parameter(name))
    changed = [name for name, value in ours.named_parameters() if not torch.equal(value, before[name])]
    assert any("embedding" in name for name in changed)
    assert all(name.startswith(prefixes) for name in changed)


def test_a_tower_or_option_that_does_not_exist_is_refused(loaded: Backbone) -> None:
    with pytest.raises(OptionError, match="option 'tower': it should be 'image', 'text' or 'both', found 'images'"):
        tuning.apply("full", loaded.copy(), tower="images")
    with pytest.raises(OptionError, match="tuning 'full' has no option 'layers'; its options: tower='image'"):
        tuning.apply("full", loaded.copy(), layers=2)


def test_count_at_the_size_of_vit_b16() -> None:
    from transformers.models.clip.configuration_clip import CLIPConfig
    from transformers.models.clip.modeling_clip import CLIPModel

    with torch.device("meta"):
        ours = Backbone(CLIPModel(CLIPConfig(vision_config={"patch_size": 16})))
    assert tuning.apply("full", ours) == 0
    assert ours.describe()["trained"] == 86_192_640
