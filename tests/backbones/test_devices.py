"""Devices by name: what there is, what there is not, and what is told of it."""

from __future__ import annotations

import pytest
import torch

from kshot import settings
from kshot.backbones.devices import pick_device, wait
from kshot.errors import OptionError


@pytest.mark.parametrize(
    ("cuda", "apple", "name", "expected"),
    [
        (0, False, "auto", "cpu"), (0, True, "auto", "mps"), (2, True, "auto", "cuda"), (2, False, "cuda:1", "cuda:1"),
        (0, True, "mps", "mps"), (0, True, "mps:0", "mps:0"), (1, True, "cpu", "cpu"),
    ],
)  # fmt: skip
def test_the_device_of_a_name(
    cuda: int, apple: bool, name: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
    assert pick_device(name) == torch.device(expected)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mps", "device 'mps' was asked for, but PyTorch sees no GPU of Apple's here: use cpu or auto"),
        ("cuda:3", "device 'cuda:3' was asked for, but PyTorch sees 0 GPUs here: use cpu or auto"),
        ("mpz", "unknown device 'mpz': did you mean 'mps'"), ("tpu", "unknown device 'tpu'"),
        ("mps:x", "unknown device 'mps:x'"),
    ],
)  # fmt: skip
def test_a_device_that_is_not_here_is_told_in_one_line(name: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(OptionError) as error:
        pick_device(name)
    assert str(error.value).startswith(told) and "\n" not in str(error.value)


def test_mps_is_a_name_before_pytorch_is_asked() -> None:
    settings.expect_device("mps")
    wait(torch.device("cpu"))
