"""A CLIP: its two towers with the preprocessing and the words that belong to them, loaded and frozen.

What a cut is says `kshot.backbones.tower`. Modules and weights are named as in transformers' CLIPModel.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.backbones import families, hub, texts
from kshot.backbones.devices import expect_encoder, pick_device, pick_precision
from kshot.backbones.preprocessing import AS_CLIP, Pixels
from kshot.backbones.texts import Prompts, Wording
from kshot.backbones.tower import ImageTower, TextTower, Tower
from kshot.errors import CheckpointError, OptionError
from kshot.settings import FRAMES, PROMPTS, TORCH, Arithmetic

if TYPE_CHECKING:
    from kshot.backbones.compiled import Compiled
    from kshot.backbones.runtime import Runtime

TEXTS_PER_BATCH = 256

NAMED: dict[str, str] = {
    **dict.fromkeys(("lite", "lite1", "lite2"), "kshot.backbones.lite:load_lite"),
    "features:": "kshot.backbones.features:load_features_backbone",
}
"""Name -> function that loads it, of families that come as packages, and of ready-made features of P channels."""


def load(
    name: str | Path = hub.BUNDLED,
    device: str = "cpu",
    precision: str = "float32",
    allow_bin: bool = False,
    encoder: str = TORCH,
) -> Backbone:
    """Loads a backbone, frozen: nothing learns until a tuning method says so.

    Args:
        name: a folder in transformers format, `kshot-tiny` (bundled), `ViT-B/32`, `ViT-B/16`, `ViT-L/14`, or a hub id
            `owner/name[@revision]`, fetched once and then read from the hub's cache.
        device: "cpu", "cuda", "cuda:1", "mps" (Apple's GPU), or "auto" (a GPU if there is one).
        precision: of the blocks' arithmetic: "float32", "bfloat16" or "float16". Weights stay float32, embeddings
            come back float32. Half precision pays on GPUs; few CPUs gain from it.
        allow_bin: also read weights that exist only as `pytorch_model.bin` (tensors only, no code is run). The
            environment variable KSHOT_ALLOW_BIN=1 does the same for all commands.
        encoder: runs what nothing has altered: "torch", "compile", "onnx"; see `kshot.backbones.runtime`.

    Raises:
        CheckpointError: weights that cannot be found, fetched or trusted to be complete.
        OptionError: a device, precision or encoder that does not exist here, or that do not go together.
    """
    target, arithmetic = pick_device(device), pick_precision(precision)
    expect_encoder(encoder)
    kind, colon, _ = str(name).partition(":")
    backbone: Backbone
    if kind + colon in NAMED:
        module, _, attribute = NAMED[kind + colon].partition(":")
        backbone = getattr(import_module(module), attribute)(str(name))
    else:
        allow_bin = allow_bin or os.environ.get("KSHOT_ALLOW_BIN") == "1"
        backbone = families.read(hub.resolve(name, allow_bin), str(name), allow_bin)
    backbone.set_precision(arithmetic)
    backbone.to(target).set_encoder(encoder)
    return backbone


def loaded(source: str | Path | Backbone, how: Arithmetic) -> Backbone:
    """A backbone that is loaded already as it is, any other as the settings say; see `load`."""
    return source if isinstance(source, Backbone) else load(source, how.device, how.precision, encoder=how.encoder)


@dataclass(frozen=True)
class Rows:
    """How the rows on their way through the image tower belong together; only some tuning methods work across rows.

    Attributes:
        frames: number of successive rows that are one clip.
        support: number of the first clips that every clip may attend to (the support of an episode); 0 if each clip
            stands alone.
    """

    frames: int = 1
    support: int = 0


_ALONE = Rows()
_ROWS: ContextVar[Rows] = ContextVar("rows", default=_ALONE)


def rows() -> Rows:
    """How the rows that `Backbone.encode_from` works on belong together."""
    return _ROWS.get()


@contextmanager
def _arranged(count: int, rows: Rows) -> Iterator[None]:
    if rows.frames < 1 or count % rows.frames or not 0 <= rows.support * rows.frames <= count:
        raise OptionError(f"{count} rows are no whole clips of {rows.frames} frames with {rows.support} support clips")
    token = _ROWS.set(rows)
    try:
        yield
    finally:
        _ROWS.reset(token)


class NoText(nn.Module):
    """In place of a text tower, where a family has none.

    Attributes:
        depth: no blocks.
        width: no channels.
        tokens: no tokens.
        precision: as set, and without effect.
    """

    depth = width = tokens = 0
    precision = torch.float32


class Backbone(nn.Module):
    """Both towers of a CLIP, with the preprocessing and the words that belong to them.

    Attributes:
        image: the image tower.
        text: the text tower, or `NoText`.
        name: as loaded.
        fingerprint: sha256 that names the loaded weights, configuration and preprocessing, whatever the path, device or
            precision; "" for a model built in memory.
        logit_scale: the factor that CLIP puts before its cosines (about 100).
        size: side of its images, in pixels.
        unit: frames that one row of activations is made of: 1 where frames are embedded one by one, n where a network
            sees clips of n frames.
        resize: how its frames become square, a name of `kshot.video.FRAMINGS`.
        depth: L, blocks of the image tower.
        embed_dim: P, width of an embedding.
        tunings: names of the tuning methods that fit it; None for all.
        lacks: what the other tuning methods need and it does not have.
        starts: number of tokens before the first word of a text.
        own_scale: whether heads that read texts take `logit_scale` where no other is chosen, as SigLIP's sigmoid was
            trained with it; elsewhere they take CLIP's 100.
        notes: what was left out of its checkpoint, a sentence each.
        prompt: the one template of class texts, if a tuning method has put one in place of others, else "".
        episodic: whether an embedding depends on the other clips of its episode; only a tuning method makes it so.
        runtime: what runs the blocks that nothing has altered; None for PyTorch.
        across: whether a frame's embedding depends on the other frames of its clip; again only by a tuning method.
        mean: (1, 3, 1, 1) that is subtracted from pixels.
        std: (1, 3, 1, 1) that they are divided by.
    """

    image: ImageTower
    text: TextTower
    mean: Tensor
    std: Tensor
    runtime: Runtime | Compiled | None = None
    tunings: tuple[str, ...] | None = None
    lacks = "attention"
    starts = 1
    own_scale = False
    unit = 1
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        clip: Any,
        name: str = "memory",
        tokenizer: Any = None,
        pixels: Pixels = AS_CLIP,
    ):
        super().__init__()
        image = ImageTower(clip.vision_model, clip.visual_projection)
        text = TextTower(clip.text_model, clip.text_projection)
        scale = 100.0 if clip.logit_scale.is_meta else float(clip.logit_scale.detach().exp())
        self._assemble(image, text, int(clip.visual_projection.out_features), name, tokenizer, pixels, scale)

    def _assemble(
        self,
        image: ImageTower,
        text: Any,
        embed_dim: int,
        name: str,
        tokenizer: Any,
        pixels: Pixels,
        logit_scale: float,
    ) -> None:
        """What backbones of all families have."""
        self.image, self.text = image, text
        self.name = name
        self.fingerprint = ""
        self.prompt = ""
        self.episodic = self.across = False
        self.logit_scale = logit_scale
        self.size = image.size
        self.resize = pixels.resize
        self.depth = image.depth
        self.embed_dim = embed_dim
        self._tokenizer = tokenizer
        self.register_buffer("mean", torch.tensor(pixels.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(pixels.std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.image.parameters()).device

    @property
    def has_text(self) -> bool:
        """Whether it can embed texts."""
        return not isinstance(self.text, NoText)

    @property
    def precision(self) -> str:
        """Name of the type of the blocks' arithmetic."""
        return str(self.image.precision).removeprefix("torch.")

    @property
    def encoder(self) -> str:
        """Name of what runs the blocks that nothing has altered."""
        return TORCH if self.runtime is None else self.runtime.encoder

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a row as it enters the image tower: a frame, or the frames of a unit."""
        return (3, self.size, self.size) if self.unit == 1 else (self.unit, 3, self.size, self.size)

    def frames_of(self, given: int | None) -> int:
        """Frames a clip: as many as are asked for, or one unit, and `FRAMES` where that is a frame.

        Args:
            given: what is asked for; None if nothing is.

        Raises:
            OptionError: they are no whole units.
        """
        if given is None:
            return FRAMES if self.unit == 1 else self.unit
        if given % self.unit:
            raise OptionError(
                f"backbone '{self.name}' sees clips of {self.unit} frames: expected frames {self.unit} or a multiple "
                f"of it, found {given}"
            )
        return given

    def rows_of(self, frames: int) -> int:
        """Rows of activations, and so of embeddings, that so many frames give.

        Raises:
            OptionError: they are no whole units.
        """
        return self.frames_of(frames) // self.unit

    def resized(self, resize: str) -> str:
        """How frames become square where `resize` is asked for: "short" stands for the checkpoint's own way."""
        return self.resize if resize == "short" else resize

    def set_precision(self, precision: torch.dtype) -> None:
        """Sets the type of both towers' arithmetic; weights and results stay float32."""
        self.image.precision = self.text.precision = precision

    def set_encoder(self, encoder: str) -> None:
        """Sets what runs the blocks that nothing has altered, after device and precision; see `load`."""
        self.runtime = None
        if encoder != TORCH:
            from kshot.backbones.runtime import pick_runtime

            self.runtime = pick_runtime(encoder, self.image, self.name, self.fingerprint)

    def pixels(self, frames: Tensor | NDArray[np.uint8]) -> Tensor:
        """Frames (N, size, size, 3) uint8 -> rows (N, 3, size, size) or, where a unit is n frames, (N / n, n, 3, size,
        size), float32 on the device, as the checkpoint asks for.

        Raises:
            OptionError: another type or shape, or no whole units.
        """
        x = torch.as_tensor(frames)
        if x.dtype != torch.uint8 or x.ndim != 4 or tuple(x.shape[1:]) != (self.size, self.size, 3):
            found = f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"
            raise OptionError(f"expected uint8 frames of shape (N, {self.size}, {self.size}, 3), got {found}")
        scale, shift = (each.flatten().repeat(self.size) for each in (1 / (255 * self.std), self.mean / self.std))
        x = x.to(self.device).flatten(2).float().mul_(scale).sub_(shift).view(x.shape).permute(0, 3, 1, 2)
        return x if self.unit == 1 else x.view(self.rows_of(len(x)), *self.input_shape)

    def encode_to(self, frames: Tensor, cut: int) -> Tensor:
        """What block `cut` of the image tower receives for rows of pixels (N, *input_shape); see `Tower.encode_to`.

        Blocks that learn, or that something learns before, are run by PyTorch whatever the encoder is.
        """
        if self.runtime is not None and self.runtime.runs(self.image, frames, cut):
            return self.runtime.encode_to(self.image, frames, cut)
        return self.image.encode_to(frames, cut)

    def encode_from(self, x: Tensor, cut: int, frames: int = 1, support: int = 0, changing: bool = False) -> Tensor:
        """The embedding (N, P), not normalised, from what image block `cut` receives; see `Tower.encode_from`.

        How rows belong together matters to few tuning methods.

        Args:
            x: as `encode_to(..., cut)` gave it, or `condense`.
            cut: 0..L + 1.
            frames: number of successive rows that are one clip.
            support: number of the first clips that are an episode's support; see `Rows`.
            changing: whether frames are pooled by how much each place changes in their clip; see
                `Tower.encode_changing`.

        Raises:
            OptionError: no such cut, or rows that are no whole clips.
        """
        with _arranged(x.shape[0], Rows(frames, support)):  # len(x) would fix the number of an export
            if changing:
                return self.image.encode_changing(x, cut, frames)
            return self.image.encode_from(x, cut)

    def condense(self, tokens: Tensor) -> Tensor:
        """(N, T, D) tokens entering the last image block -> (N, T + 1, D), all it needs; see `Tower.condense`."""
        return self.image.condense(tokens)

    def forward(self, frames: Tensor, cut: int = 0) -> Tensor:
        """Rows of pixels (N, *input_shape) -> embeddings (N, P), not normalised; blocks before `cut` are run by the
        encoder."""
        cut = 0 if self.runtime is None else cut
        return self.image.encode_from(self.encode_to(frames, cut), cut)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (N, T), T the longest text's, on the device; a text too long is cut and still ends properly.

        Raises:
            CheckpointError: the folder had no tokenizer, it does not end texts as the tower expects, or it gives tokens
                that the tower has no vector for.
        """
        return self._padded([encoding.ids for encoding in self._encode(texts)])

    def _encode(self, texts: Sequence[str]) -> list[Any]:
        """Encodings of the tokenizers library."""
        if self._tokenizer is None:
            raise CheckpointError(f"'{self.name}' came without a tokenizer: put tokenizer.json into its folder")
        encodings: list[Any] = self._tokenizer.encode_batch(list(texts))
        rows = [encoding.ids for encoding in encodings]
        if any(end < 0 for end in self._ends(encodings)):
            raise CheckpointError(f"the tokenizer of '{self.name}' does not end texts with the end-of-text token")
        most = max((max(row) for row in rows), default=0)
        if most >= self.text.words:
            raise CheckpointError(
                f"the tokenizer of '{self.name}' gives token {most:,}, but its table has {self.text.words:,}: they do "
                "not belong together; fetch it again"
            )
        return encodings

    def _ends(self, encodings: Sequence[Any]) -> list[int]:
        """Place of the token that ends each text; -1 where there is none."""
        if self.text.highest:
            found = [(encoding.ids, max(encoding.ids, default=-1)) for encoding in encodings]
            return [ids.index(end) if ids and end == ids[-1] else -1 for ids, end in found]
        end = self.text.end
        return [encoding.ids.index(end) if end in encoding.ids else -1 for encoding in encodings]

    def _padded(self, rows: Sequence[list[int]]) -> Tensor:
        longest = max(map(len, rows), default=0)
        padded = [row + [row[-1]] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.long, device=self.device).view(len(rows), longest)

    def _class_texts(self, names: Sequence[str], wording: Wording) -> tuple[list[list[int]], list[str], int]:
        """Token ids of every text of `texts.written`, notes, and templates a text."""
        if not self.has_text:
            raise OptionError(
                f"class texts are needed, but backbone '{self.name}' has no text side: take a head or loss without "
                f"texts, such as prototype, or a CLIP"
            )
        templates = [self.prompt] if self.prompt else wording.templates()
        made = texts.written(names, templates, wording)
        encodings = self._encode([text.words for text in made])
        notes = texts.examine(made, encodings, self._ends(encodings), self.starts, wording.phases)
        return [encoding.ids for encoding in encodings], notes, len(templates)

    def text_notes(self, names: Sequence[str], prompts: Prompts = PROMPTS) -> list[str]:
        """What the text tower does not see of the class texts that `embed_text` makes, in words; [] if it sees all.

        Raises:
            KshotError: as `embed_text`.
        """
        return self._class_texts(names, Wording.of(prompts))[1]

    def embed_text(self, names: Sequence[str], prompts: Prompts = PROMPTS) -> Tensor:
        """Unit vectors (C, P) of class names, each the normalised mean of its unit vectors under all prompts.

        Args:
            names: C class names; underscores are read as spaces.
            prompts: templates with `{}` where the name goes, or `{spelled}` for a name as it is spelled; or a wording,
                and one of phases gives (C, K, P).

        Raises:
            OptionError: no names, an impossible prompt, or one so long that names are cut off where they still matter.
            DataError: two names that are the same text to this backbone, or one of which nothing is left.
            CheckpointError: see `tokenize`.
        """
        wording = Wording.of(prompts)
        rows, _, templates = self._class_texts(names, wording)
        batches = (rows[i : i + TEXTS_PER_BATCH] for i in range(0, len(rows), TEXTS_PER_BATCH))
        embedded = torch.cat([self.text.encode_from(self._padded(batch), 0) for batch in batches])
        unit = F.normalize(embedded, dim=-1).view(-1, templates, embedded.shape[1])
        return wording.joined(unit.mean(1), names)

    def copy(self) -> Backbone:
        """An independent copy for another way of tuning. Frozen weights share their memory with this one; whatever
        learns is copied, and `kshot.tuning` gives a weight memory of its own before it lets it learn."""
        memo: dict[int, Any] = {id(self._tokenizer): self._tokenizer}
        for value in self.parameters():
            if not value.requires_grad:
                memo[id(value)] = nn.Parameter(value.data, requires_grad=False)
        return copy.deepcopy(self, memo)

    def describe(self) -> dict[str, Any]:
        """Name, fingerprint, device, precision, sizes and parameter counts, ready for JSON."""

        def count(module: nn.Module) -> int:
            return sum(value.numel() for value in module.parameters())

        def tower(part: Tower) -> dict[str, int]:
            return {"depth": part.depth, "width": part.width, "tokens": part.tokens, "parameters": count(part)}

        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "device": str(self.device),
            "precision": self.precision,
            "size": self.size,
            "unit": self.unit,
            "notes": list(self.notes),
            "embed_dim": self.embed_dim,
            "image": tower(self.image),
            "text": tower(self.text),
            "parameters": count(self),
            "trained": sum(value.numel() for value in self.parameters() if value.requires_grad),
        }
