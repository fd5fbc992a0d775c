"""Where, in which numbers and by what a backbone computes, by name."""

from __future__ import annotations

import torch

from kshot import settings
from kshot.errors import OptionError, unknown
from kshot.settings import ENCODERS, expect_device

PRECISIONS: dict[str, torch.dtype] = {name: getattr(torch, name) for name in settings.PRECISIONS}


def pick_device(name: str) -> torch.device:
    """The device of that name, checked to be usable on this machine."""
    expect_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _apple() else "cpu")
    kind, _, number = name.partition(":")
    if kind == "mps" and (int(number or 0) or not _apple()):
        raise OptionError(f"device '{name}' was asked for, but PyTorch sees no GPU of Apple's here: use cpu or auto")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            raise OptionError(f"device '{name}' was asked for, but PyTorch sees {count} GPUs here: use cpu or auto")
    return torch.device(kind if kind == "cpu" else name)


def _apple() -> bool:
    return bool(torch.backends.mps.is_available())


def wait(device: torch.device) -> None:
    """Waits until a device has done what it was given, as a clock needs it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def pick_precision(name: str) -> torch.dtype:
    """The floating type of that name."""
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    return PRECISIONS[name]


def expect_encoder(name: str) -> None:
    """Refuses a name that is no encoder's; whether it fits a backbone says `kshot.backbones.runtime`."""
    if name not in ENCODERS:
        raise unknown("encoder", name, ENCODERS)
