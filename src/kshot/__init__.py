"""kshot teaches a video model new actions from a handful of clips.

Importing this package imports nothing heavy: names are fetched from their module, and modules imported, on first use.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_PUBLIC: dict[str, str] = {
    "KshotError": "kshot.errors",
    "load_backbone": "kshot.backbones.backbone:load",
    "load_data": "kshot.datasets:load",
    "extract": "kshot.activations.extraction",
    "train": "kshot.fewshot.training",
    "evaluate": "kshot.fewshot.evaluation",
    "Recognizer": "kshot.recognizer",
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        return submodule(__name__, name)
    module, _, attribute = _PUBLIC[name].partition(":")
    value = getattr(import_module(module), attribute or name)
    globals()[name] = value
    return value


def submodule(package: str, name: str) -> ModuleType:
    """A module of a package, imported; for the package's `__getattr__`.

    Raises:
        AttributeError: it has no such module.
    """
    if name.startswith("_") or find_spec(f"{package}.{name}") is None:
        raise AttributeError(f"module '{package}' has no attribute '{name}'")
    return import_module(f"{package}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
