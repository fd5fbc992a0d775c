"""Strategies that train nothing: class texts alone, or a head on frozen embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kshot.fewshot.strategies.base import Strategy


@dataclass(frozen=True)
class ZeroShot(Strategy):
    """Class texts alone (Radford et al., ICML 2021): no support clip is used."""

    about: ClassVar[str] = "Compares a clip with the names of the actions. No support clip is looked at."

    default_head: ClassVar[str] = "text"


@dataclass(frozen=True)
class Frozen(Strategy):
    """A head on the embeddings of the backbone as it came."""

    about: ClassVar[str] = "The backbone as it came: its embeddings of support and query clips are compared."
