"""A frozen trunk by torch.compile, which fuses what a GPU would otherwise read and write between its operations.

Asked for by `--encoder compile`. The same sums are rounded otherwise than without it, so it is part of a store's key.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kshot.backbones.runtime import frozen
from kshot.errors import OptionError
from kshot.progress import Progress, quiet
from kshot.settings import COMPILE

if TYPE_CHECKING:
    from kshot.backbones.tower import ImageTower


class Compiled:
    """Runs the trunk of a backbone, and of its copies that are tuned behind a cut, compiled.

    Attributes:
        encoder: its name in the settings.
    """

    encoder = COMPILE

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, torch.dtype], Callable[[Tensor], Tensor]] = {}

    def __deepcopy__(self, memo: Any) -> Compiled:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Compiled, ()

    def runs(self, tower: ImageTower, frames: Tensor, cut: int) -> bool:
        """Whether these frames go to a cut compiled.

        Args:
            tower: of the backbone.
            frames: (N, ...) as the tower takes them.
            cut: 0..L + 1.
        """
        return not frames.is_meta and not torch.is_grad_enabled() and frozen(tower, cut)

    def encode_to(self, tower: ImageTower, frames: Tensor, cut: int) -> Tensor:
        """What block `cut` receives, as `Tower.encode_to` says; compiled at the first batch of a shape.

        Args:
            tower: of the backbone; nothing before the cut learns.
            frames: (N, ...).
            cut: 1..L + 1.
        """
        key = id(tower), cut, tower.precision
        if key not in self._made:
            self._made[key] = torch.compile(partial(tower.encode_to, cut=cut))
        return self._made[key](frames)

    def prepare(self, tower: ImageTower, cut: int, progress: Progress = quiet) -> None:
        """Sees to it that there is what torch.compile needs, before the work begins.

        Args:
            tower: of the backbone.
            cut: 0..L + 1.
            progress: how to show progress.

        Raises:
            OptionError: it cannot compile here.
        """
        if not frozen(tower, cut):
            return
        try:
            with progress("compiling", 1, "tries") as step:
                torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=next(tower.parameters()).device))
                step()
        except Exception as error:  # a compiler that is missing or too old fails in many ways
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise OptionError(
                f"encoder {COMPILE}: PyTorch cannot compile here ({reason[:120]}): install a C++ compiler, or "
                f"leave it out"
            ) from None
