from __future__ import annotations

import pytest

from kshot.backbones import backbone
from kshot.backbones.backbone import Backbone
from tiny import random_clip


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A small random CLIP: 3 image blocks of width 32 with 17 tokens, 2 text blocks of width 24."""
    return backbone.load(random_clip(tmp_path_factory.mktemp("clip")))
