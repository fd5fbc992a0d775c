# What type checkers and editors know of the names that the package fetches on first use.

from types import ModuleType
from typing import Any

from kshot.activations.extraction import extract as extract
from kshot.backbones.backbone import load as load_backbone
from kshot.datasets import load as load_data
from kshot.errors import KshotError as KshotError
from kshot.fewshot.evaluation import evaluate as evaluate
from kshot.fewshot.training import train as train
from kshot.recognizer import Recognizer as Recognizer

__all__ = ["KshotError", "Recognizer", "__version__", "evaluate", "extract", "load_backbone", "load_data", "train"]

__version__: str

def submodule(package: str, name: str) -> ModuleType: ...
def __getattr__(name: str) -> Any: ...
