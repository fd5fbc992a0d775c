"""A transformer tower as numbered blocks: `encode_to` gives what a block receives, `encode_from` runs the rest.

A cut is a number: 0 stands before the tower (the frames or token ids themselves), k = 1..L before block k, L + 1 behind
the projection. `encode_from(encode_to(x, k), k)` is the whole tower for every k, so whatever lies before the first
block that a tuning method touches can be computed once and stored.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kshot.backbones import last_block, places
from kshot.errors import OptionError


class Tower(nn.Module):
    """A transformer tower: embeddings, L blocks, final norm and projection; one token is read out.

    Attributes:
        embeddings: input -> tokens (N, T, D).
        blocks: the L blocks.
        norm: before the projection.
        projection: (N, D) -> (N, P).
        feature: what `encode_from` does to the projected embedding; nothing, unless a tuning method puts a module
            there.
        depth: L.
        width: D.
        tokens: T, most tokens that a row can have.
        first: of them, before the patches: the class token and registers.
        precision: type of the blocks' arithmetic.
        plain: run the last block whole, by operations that other runtimes know, instead of on its read-out token alone.
        quantises: whether its matrix products may run in 8 bits.
        causal: whether a token attends to earlier ones alone.
    """

    causal = False
    quantises = True
    first = 1
    norm: nn.LayerNorm
    projection: nn.Module

    def __init__(self, embeddings: nn.Module, encoder: Any, norm: nn.LayerNorm, projection: nn.Module, tokens: int):
        super().__init__()
        self.embeddings = embeddings
        self.blocks: nn.ModuleList = encoder.layers
        self.norm = norm
        self.projection = projection
        self.feature: nn.Module = nn.Identity()
        self.depth = len(self.blocks)
        self.width = norm.weight.numel()
        self.tokens = tokens
        self.precision = torch.float32
        self.plain = False

    @property
    def exact(self) -> bool:
        """Whether the last block still may run on its read-out token alone, so that condensed tokens suffice."""
        return not self.plain and last_block.exact(self.blocks[-1])

    @property
    def changes(self) -> bool:
        """Whether frames can be pooled by change, see `encode_changing`."""
        return last_block.unaltered(self.blocks[-1])

    def read(self, x: Tensor) -> Tensor | None:
        """Positions (N,) that are read out of inputs x; None for the first."""
        return None

    def encode_to(self, x: Tensor, cut: int) -> Tensor:
        """What block `cut` receives.

        Args:
            x: the tower's input: frames (N, 3, H, W) from `Backbone.pixels`, or token ids (N, T).
            cut: 0 gives x back, 1..L tokens (N, T, D), L + 1 the projected embedding (N, P), not normalised.

        Raises:
            OptionError: no such cut, or an input of another shape.
        """
        self._check(cut)
        if cut == 0:
            return x
        if cut == self.depth + 1:
            return self._project(x, 0, None, None)
        with last_block.arithmetic(x.device, self.precision):
            tokens = self._embed(x)
            for block in self.blocks[: cut - 1]:
                tokens = self._run(block, tokens)
        return widen(tokens)

    def encode_from(self, x: Tensor, cut: int, read: Tensor | None = None, condensed: bool | None = None) -> Tensor:
        """The projected embedding (N, P), not normalised, from what block `cut` receives.

        Args:
            x: as `encode_to(..., cut)` gave it, in any floating type; before the last block also as `condense` gave it.
            cut: 0..L + 1.
            read: (N,) positions to read out; the text tower needs them at cuts 1..L.
            condensed: whether x is condensed; None decides by the number of tokens (full-length rows only).

        Raises:
            OptionError: no such cut, no `read` where it is needed, or condensed tokens for an altered last block.
        """
        self._check(cut)
        embedding = widen(x) if cut == self.depth + 1 else self._project(x, cut, read, condensed)
        with last_block.arithmetic(embedding.device):
            out: Tensor = self.feature(embedding)
            return out

    def _project(self, x: Tensor, cut: int, read: Tensor | None, condensed: bool | None) -> Tensor:
        """The projected embedding from what block `cut` (0..L) receives, before `feature`."""
        if cut == 0:
            read = self.read(x)
        elif self.causal and read is None:
            raise OptionError(f"leaving the text tower at cut {cut} needs `read`: take it from read(ids)")
        if condensed is None:
            condensed = cut == self.depth and x.shape[1] == self.tokens + 1
        with last_block.arithmetic(x.device, self.precision):
            x = self._embed(x) if cut == 0 else x
            if condensed:
                token = self._last_condensed(x, cut, read)
            else:
                x = widen(x)
                for block in self.blocks[max(cut, 1) - 1 : -1]:
                    x = self._run(block, x)
                token = self._last(x, read)
        with last_block.arithmetic(token.device):
            out: Tensor = self.projection(self.norm(widen(token)))
            return out

    def encode_changing(self, x: Tensor, cut: int, frames: int) -> Tensor:
        """The projected embedding (N, P), its last block attending to patches by how much each changes in its clip.

        In place of the softmax of its query, the class token's weights of patches are those of
        `kshot.backbones.places.weights`, for every head the same.

        Args:
            x: (N, ...) as for `encode_from`, the frames of a clip in a row.
            cut: 0..L.
            frames: of a clip.

        Raises:
            OptionError: a cut behind the last block, a last block that was altered, or clips of one frame.
        """
        self._check(cut)
        if cut > self.depth or not self.changes:
            why = "only the embedding was kept of them" if cut > self.depth else "its last block is altered"
            raise OptionError(f"frames cannot be pooled by change here, {why}: take another head or tuning method")
        with last_block.arithmetic(x.device, self.precision):
            x = self._embed(x) if cut == 0 else x
            if cut == self.depth and x.shape[1] == self.tokens + 1:
                n, token = x[:, :-1], x[:, -1]
            else:
                x = widen(x)
                for block in self.blocks[max(cut, 1) - 1 : -1]:
                    x = self._run(block, x)
                n, token = self._normalise(widen(x)), x[:, 0]
        with last_block.arithmetic(x.device):
            patches = widen(n[:, self.first :])
            token = last_block.attend(self.blocks[-1], patches, widen(token), places.weights(patches, frames))
            out: Tensor = self.feature(self.projection(self.norm(token)))
            return out

    def condense(self, tokens: Tensor, read: Tensor | None = None) -> Tensor:
        """All that the exact last block needs of the tokens (N, T, D) that enter it: (N, T + 1, D).

        Rows 0..T-1 are the tokens after LayerNorm without its affine part, row T is the raw token that is read out.

        Args:
            tokens: (N, T, D).
            read: (N,) positions that are read out; None for the first.
        """
        tokens = widen(tokens)
        return torch.cat([self._normalise(tokens), _pick(tokens, read)[:, None]], dim=1)

    def _last(self, x: Tensor, read: Tensor | None) -> Tensor:
        block = self.blocks[-1]
        if self.exact:
            return last_block.forward(block, self._normalise(widen(x)), _pick(x, read), read, self.causal)
        return _pick(self._run(block, x), read)

    def _last_condensed(self, x: Tensor, cut: int, read: Tensor | None) -> Tensor:
        if cut != self.depth or not self.exact:
            raise OptionError(
                f"condensed tokens serve only an unaltered last block ({self.depth}), but cut {cut} was asked for"
                + ("" if self.exact else " and that block is altered")
                + ": pass the tokens themselves"
            )
        return last_block.forward(self.blocks[-1], x[:, :-1], x[:, -1], read, self.causal)

    def _normalise(self, tokens: Tensor) -> Tensor:
        return last_block.normalise(tokens, self.blocks[-1].layer_norm1.eps)  # type: ignore[union-attr, arg-type]

    def _embed(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _run(self, block: nn.Module, tokens: Tensor) -> Tensor:
        out: Tensor = block(tokens, None, is_causal=self.causal)
        return out

    def _check(self, cut: int) -> None:
        if not 0 <= cut <= self.depth + 1:
            raise OptionError(f"cut {cut} does not exist: this tower has cuts 0 to {self.depth + 1}")


class ImageTower(Tower):
    """The image tower; reads out the class token. Its other attributes are those of `Tower`.

    Attributes:
        pre: the norm before the first block.
        size: side of its images, in pixels.
    """

    def __init__(self, vision: Any, projection: nn.Module):
        tokens = int(vision.embeddings.num_positions)
        super().__init__(vision.embeddings, vision.encoder, vision.post_layernorm, projection, tokens)
        self.pre = vision.pre_layrnorm
        self.size = int(vision.embeddings.image_size)
        self.first = int(getattr(vision.embeddings, "first", 1))

    def _embed(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, self.size, self.size):
            raise OptionError(f"expected frames of shape (N, 3, {self.size}, {self.size}), got {tuple(x.shape)}")
        out: Tensor = self.pre(self.embeddings(x))
        return out


class TextTower(Tower):
    """The text tower; reads out the end-of-text token, before which tokens see only earlier ones. Its other attributes
    are those of `Tower`.

    Attributes:
        end: id of the end-of-text token.
        highest: whether a text ends at its highest id instead. `eos_token_id` 2 marks early CLIPs, whose configuration
            is wrong in this.
        words: number of tokens that it has a vector for.
    """

    causal = True

    def __init__(self, text: Any, projection: nn.Linear):
        tokens = int(text.embeddings.position_embedding.num_embeddings)
        super().__init__(text.embeddings, text.encoder, text.final_layer_norm, projection, tokens)
        self.end = int(text.eos_token_id)
        self.highest = self.end == 2
        self.words = int(text.embeddings.token_embedding.num_embeddings)

    def read(self, x: Tensor) -> Tensor:
        """First end-of-text position (N,) of token ids x (N, T)."""
        ids = x.int()
        return (ids if self.highest else (ids == self.end).int()).argmax(-1)

    def _embed(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] > self.tokens or x.is_floating_point():
            raise OptionError(f"expected token ids of shape (N, at most {self.tokens}), got {tuple(x.shape)}")
        out: Tensor = self.embeddings(x)
        return out


def widen(x: Tensor) -> Tensor:
    """Half precision as float32, everything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _pick(x: Tensor, read: Tensor | None) -> Tensor:
    """One token (N, D) of each row (N, T, D)."""
    return x[:, 0] if read is None else x[torch.arange(len(x), device=x.device), read]
