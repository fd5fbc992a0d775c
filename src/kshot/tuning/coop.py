"""CoOp: the words around a class name become learned vectors (Zhou et al., IJCV 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from kshot.options import Count
from kshot.tuning import deepest_cut
from kshot.tuning.adapters import alongside

STD = 0.02
BEFORE = {"stop": False}


def apply(backbone: Backbone, context: Count | str = 16, stop: bool = True) -> int:
    """Class texts become learned vectors, shared by all classes, followed by the class name and a full stop; prompts
    are not read. The stop is that of the authors' code (KaiyangZhou/CoOp at ff61507).

    Only losses and heads that look at class texts learn from it or gain by it: `finetune` with the text classifier,
    `meta` with loss text or both, and the heads text and fusion.

    Args:
        backbone: changed in place; the image tower stays as it was.
        context: how many vectors, random at first, or the words whose vectors they start from: with "a photo of a"
            texts are at first those of the frozen model under the prompt "a photo of a {}.".
        stop: whether a full stop follows the name.

    Returns:
        The deepest cut of the image tower that it allows: the embedding.

    Raises:
        OptionError: a context without words, with a {}, or too long for the text tower.
    """
    text, embeddings = backbone.text, backbone.text.embeddings
    table: nn.Embedding = embeddings.token_embedding  # type: ignore[assignment]
    if isinstance(context, str) and not context.isdigit():
        words = context.strip()
        if not words or "{" in words:
            raise OptionError(f"context '{context}': expected a number, or words without {{}} to start from")
        vectors = table(backbone.tokenize([words])[0, 1:-1]).detach().clone()
    else:
        words = " ".join("x" * min(int(context), text.tokens))  # a token each; only places matter
        vectors = torch.empty((len(words) + 1) // 2, text.width).normal_(std=STD)
    room = text.tokens - 3 - stop  # start, end, and a name of one token
    if len(vectors) > room:
        raise OptionError(f"context '{context}' is too long: this text tower has room for {room} tokens")
    embeddings.token_embedding = alongside(table, Context(table, vectors))
    backbone.prompt = words + (" {}." if stop else " {}")
    return deepest_cut(backbone.image)


class Context(nn.Module):
    """A frozen table of token embeddings, but for the tokens 1..M, which are learned vectors (M, D)."""

    def __init__(self, table: nn.Embedding, vectors: Tensor):
        super().__init__()
        self.table = table
        self.vectors = nn.Parameter(vectors)

    def forward(self, ids: Tensor) -> Tensor:
        rows: Tensor = self.table(ids)
        vectors = self.vectors.expand(len(rows), -1, -1)
        return torch.cat([rows[:, :1], vectors, rows[:, 1 + len(self.vectors) :]], 1)
