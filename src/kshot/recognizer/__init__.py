"""The recognizer: from a few labelled clips to what names actions, says what to expect, and can be shipped."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kshot import submodule

if TYPE_CHECKING:
    from kshot.recognizer.classifier import UNKNOWN, Classifier, Decision
    from kshot.recognizer.recognizer import Recognizer

__all__ = ["UNKNOWN", "Classifier", "Decision", "Recognizer"]

_PLACES = {"UNKNOWN": "classifier", "Classifier": "classifier", "Decision": "classifier", "Recognizer": "recognizer"}
"""Late, so that what needs no PyTorch, such as `costs`, is imported without."""


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"kshot.recognizer.{_PLACES[name]}"), name)
    return submodule(__name__, name)
