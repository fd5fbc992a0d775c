"""The recognizer: from a few labelled clips to what names actions, says what to expect, and can be shipped."""

from __future__ import annotations

from types import ModuleType

from kshot import submodule
from kshot.recognizer.classifier import UNKNOWN, Classifier, Decision
from kshot.recognizer.recognizer import Recognizer

__all__ = ["UNKNOWN", "Classifier", "Decision", "Recognizer"]


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name)
