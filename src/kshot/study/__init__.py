"""Studies: grids of data, backbones, strategies and seeds, run, foretold and summarised."""

from types import ModuleType

from kshot import submodule


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name)
