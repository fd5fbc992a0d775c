"""Backbones: frozen networks that see frames, cut into a trunk and a tail, and the files that they are read from."""

from types import ModuleType

from kshot import submodule


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name)
