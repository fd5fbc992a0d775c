"""The recogniser: from a few labelled clips to what names actions, says what to expect, and can be shipped."""

from __future__ import annotations

from kshot.recognizer.decider import UNKNOWN, Decider, Decision
from kshot.recognizer.recognizer import Recognizer

__all__ = ["UNKNOWN", "Decider", "Decision", "Recognizer"]
