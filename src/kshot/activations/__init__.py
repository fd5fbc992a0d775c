"""Activations: what enters the tail, computed once for each clip and stored."""

from types import ModuleType

from kshot import submodule


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name)
