"""The recipe of stored activations: all that decides what is stored of a clip, and hence the key that it is stored
under."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kshot import settings
from kshot.errors import OptionError
from kshot.excerpts import Clip
from kshot.video import views
from kshot.video.fields import FILTER
from kshot.video.workers import Job

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone


@dataclass(frozen=True)
class Recipe:
    """What is stored of a clip; see the arguments of `kshot.extract`.

    Attributes:
        cut: number of the block that receives the activations; 0 for frames.
        frames: a clip.
        dtype: how activations are stored, one of `kshot.settings.DTYPES`.
        condense: at the last block, store what its exact form needs.
        resize: what is done to a frame before its square is cut out.
        view: 0 as tests see the clip, any other number for a draw of what `augment` names.
        augment: names from `views.AUGMENT`; none for view 0.
        deinterlace: whether the fields of interlaced video are taken apart.

    Raises:
        OptionError: an unknown dtype, or frames out of range.
    """

    cut: int
    frames: int = 8
    dtype: str = "float16"
    condense: bool = True
    resize: str = "short"
    view: int = 0
    augment: tuple[str, ...] = ()
    deinterlace: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in settings.DTYPES:
            raise OptionError(f"dtype '{self.dtype}' is not known: expected one of {', '.join(settings.DTYPES)}")
        settings.expect(frames=self.frames)

    @property
    def sampling(self) -> str:
        """Which frame of each segment: "middle" or "random"."""
        return "random" if "time" in self.augment else "middle"

    def key(self, backbone: Backbone) -> dict[str, Any]:
        """Everything that changes a number, for `kshot.activations.store.Store`.

        Raises:
            OptionError: an unknown resize.
        """
        key: dict[str, Any] = {"cut": self.cut, "frames": self.frames, "sampling": self.sampling}
        key |= {"size": backbone.size, "view": self.view}
        key |= {"format": 1, "preprocessing": views.describe(self.resize, self.augment)}
        key |= {"deinterlaced": FILTER[0]} if self.deinterlace else {}  # older stores know nothing of it
        if self.cut > 0:  # frames are the same for every backbone of that size
            key |= {"backbone": backbone.fingerprint, "dtype": self.dtype, "precision": backbone.precision}
            key |= {} if backbone.encoder == settings.TORCH else {"encoder": backbone.encoder}
        if self.cut == backbone.depth:
            key |= {"condensed": self.condense}
        return key

    def job(self, clip: Clip, size: int, digest: str = "", allow_damaged: bool = False) -> Job:
        """Decoding of a clip; what is drawn for a view depends on the view and the clip's bytes alone.

        Args:
            clip: a whole video or a part of one.
            size: side of its frames, in pixels.
            digest: of its bytes, from which views are drawn; "" where it could not be opened.
            allow_damaged: whether to decode a clip of which much is lost.

        Raises:
            OptionError: an unknown resize.
        """
        number = int(digest[:15] or "0", 16)
        framing = views.framing(self.resize, self.augment, self.view, number, self.frames)
        framing = replace(framing, deinterlace=self.deinterlace)
        return Job(clip, self.frames, self.sampling, (self.view, number), size, framing, allow_damaged)
