"""Long videos and cameras: windows over time, the timeline, watching."""

from types import ModuleType

from kshot import submodule


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name)
