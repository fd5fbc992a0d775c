"""Modules as ONNX graphs: translated by PyTorch's own exporter, and compared with the module they came from."""

from __future__ import annotations

import importlib.util
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kshot.errors import OptionError

NEEDED = ("onnx", "onnxscript", "onnxruntime")
LARGEST = 1_900_000_000  # bytes of weights that fit into one ONNX file


def expect_packages(purpose: str, extra: str) -> None:
    """Refuses where a package is missing that graphs are made with.

    Args:
        purpose: what they are needed for.
        extra: of kshot, which brings them.

    Raises:
        OptionError: names the packages and the extra.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise OptionError(f"{purpose} needs {', '.join(missing)}: pip install 'kshot[{extra}]'")


def expect_room(name: str, module: nn.Module) -> None:
    """Refuses a module whose weights do not fit into one ONNX file.

    Args:
        name: what the error calls it.
        module: whose parameters are counted.

    Raises:
        OptionError: says how large it is.
    """
    size = sum(value.numel() * value.element_size() for value in module.parameters())
    if size > LARGEST:
        raise OptionError(f"{name} has {size / 1e9:.1f} GB of weights, an ONNX file holds {LARGEST / 1e9:.1f}")


def trace(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """A module of one tensor as a program whose first axis is free.

    Traced apart from the translation, so that an axis which the code had fixed is an error and not a quiet constant.
    """
    with torch.no_grad():
        rows = {0: torch.export.Dim("rows")}
        return torch.export.export(module, (example,), dynamic_shapes=(rows,), strict=False)


def translate(module: nn.Module, example: Tensor, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Any:
    """A module of one tensor as an ONNX program whose first axis is free."""
    with _silence(), torch.no_grad():
        program = trace(module, example)
        return torch.onnx.export(
            program, dynamo=True, input_names=list(inputs), output_names=list(outputs), verbose=False
        )


def compare(module: nn.Module, file: Path, example: Tensor) -> float:
    """Largest difference between a module and its ONNX file, on as many rows as it was traced with and on one."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in session.get_inputs())
    worst = 0.0
    for batch in (example, example[:1]):
        with torch.no_grad():
            wanted = module(batch)
        for found, value in zip(session.run(None, {name: batch.numpy()}), wanted, strict=True):
            worst = max(worst, float((torch.from_numpy(found) - value).abs().max()), key=lambda v: (math.isnan(v), v))
    return worst


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps the exporter's remarks off the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
