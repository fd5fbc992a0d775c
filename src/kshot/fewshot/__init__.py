"""Few-shot learning and its evaluation: episodes, strategies, training, runs."""

from types import ModuleType

from kshot import submodule


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name)
