"""Families: one file and one line make a member of all products. A member that is missing anywhere fails here."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

from kshot import datasets, heads, tuning
from kshot.backbones.backbone import Backbone
from kshot.errors import KshotError
from kshot.fewshot import strategies
from kshot.fewshot.strategies.base import Strategy
from kshot.fewshot.training import strategy_of
from kshot.heads.base import Head
from kshot.recognizer.methods import method
from kshot.settings import EpisodeShape, Method, Schedule
from kshot.study.counting import batch_clips
from kshot.study.file import SHIPPED, Row, Study, impossible
from kshot.study.file import read_study as read_study

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def classes(room: ModuleType, base: type) -> set[str]:
    """ "module:class" of every class of a room that derives from `base` and can be had by a user."""
    found = set()
    for info in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
        module = importlib.import_module(info.name)
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and issubclass(kind, base) and kind is not base:
                found.add(f"{module.__name__}:{name}")
    return found


def functions(room: ModuleType, name: str) -> set[str]:
    """The modules of a room that have a function of that name."""
    modules = (importlib.import_module(info.name) for info in pkgutil.iter_modules(room.__path__, f"{room.__name__}."))
    return {module.__name__ for module in modules if hasattr(module, name)}


def test_every_head_has_its_line_and_every_line_a_head() -> None:
    bases = {"kshot.heads.alignment:FrameHead"}  # what OTAM and Bi-MHM share
    assert classes(heads, Head) - bases == set(heads.HEADS.values())


@pytest.mark.parametrize("name", heads.HEADS)
def test_a_head_is_in_every_product(name: str) -> None:
    kind = heads.find(name)
    assert f"`{name}`" in page("heads.md"), "docs/heads.md does not name it"
    if not kind.transductive:
        assert method(name).words, "the recognizer has no words for it"
    assert impossible(Study("s", (Row("row", head=name),))) is None, "a study refuses it"
    assert inspect.getdoc(kind), "it has no docstring"
    assert (ROOT / "tests" / "heads" / f"test_{kind.__module__.rpartition('.')[2]}.py").exists(), "it has no test"


def test_every_tuning_method_has_its_line_and_every_line_a_method() -> None:
    assert functions(tuning, "apply") - {"kshot.tuning"} == set(tuning.TUNING.values())


@pytest.mark.parametrize("name", tuning.TUNING)
def test_a_tuning_method_is_in_every_product(name: str) -> None:
    assert f"`{name}`" in page("tuning.md"), "docs/tuning.md does not name it"
    assert impossible(Study("s", (Row("row", strategy="meta", tuning=name),))) is None, "a study refuses it"
    assert inspect.getdoc(importlib.import_module(tuning.TUNING[name]).apply), "it has no docstring"
    module = tuning.TUNING[name].rpartition(".")[2]
    assert (ROOT / "tests" / "tuning" / f"test_{module}.py").exists(), "it has no test"


def test_every_strategy_has_its_line_and_every_line_a_strategy() -> None:
    assert classes(strategies, Strategy) == set(strategies.STRATEGIES.values())


@pytest.mark.parametrize("name", strategies.STRATEGIES)
def test_a_strategy_is_in_every_product(name: str, backbone: Backbone, clips_csv: Path) -> None:
    """Report, study, forecast and `train` ask it alone, and nothing but it knows its name."""
    strategy = strategies.get_strategy(name)
    assert len(strategy.about) > 20, "the report has no words for it"
    assert f"`{name}`" in page("studies.md"), "docs/studies.md does not name it"
    assert impossible(Study("s", (Row("row", strategy=name),))) is None, "a study refuses it"
    made = strategy_of(Method(strategy=name), EpisodeShape(way=2, query=1), Schedule(steps=10))
    if made.learns_from == "base":
        from kshot.fewshot.learner import Learner

        learner = Learner.build(backbone, "partial", {"layers": "proj"})
        base = datasets.load(clips_csv).select("train")
        _, total, most = batch_clips(made, learner, base, 10, 8)
        assert total > 0 < most, "the forecast cannot count it"
    if made.learns_from == "support":
        assert made.tried, "the forecast does not know how many steps it may take"


def test_nothing_but_the_family_knows_the_names_of_strategies() -> None:
    source = ROOT / "src" / "kshot"
    names = re.compile(r"[\"'](" + "|".join(set(strategies.STRATEGIES) - {"frozen"}) + r")[\"']")
    allowed = {
        source / "settings" / "__init__.py",
        source / "fewshot" / "strategies" / "__init__.py",
        source / "datasets" / "annotations" / "cvat.py",
    }  # the default; the registry; CVAT's files have an element of that name
    device = re.compile(r"device=.meta.|to\(.meta.\)|torch\.device\(.meta.\)")  # PyTorch's, of the same name
    found = {
        f"{path.relative_to(source)}: {ast.unparse(node)}"
        for path in source.rglob("*.py")
        if path not in allowed
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Compare | ast.Call | ast.Dict | ast.Subscript)
        and names.search(device.sub("", ast.unparse(node)))
    }
    assert not found


@pytest.mark.parametrize("name", [*datasets.DATASETS, *datasets.BENCHMARKS])
def test_a_data_set_is_in_the_docs_and_the_list(name: str, command) -> None:  # type: ignore[no-untyped-def]
    assert f"`{name}`" in page("data.md") + page("benchmarks.md")
    assert name in command("data", "list")[1]


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_study_is_in_the_docs(path: Path) -> None:
    assert read_study(path.stem).about.strip(), "it does not say what it is for"
    assert f"`{path.stem}`" in page("studies.md") or f"study {path.stem}" in page("studies.md")


def test_what_no_family_has_is_told_with_the_nearest() -> None:
    for ask, wrong in ((heads.find, "otma"), (strategies.get_strategy, "finetun"), (datasets.load, "motoin")):
        with pytest.raises(KshotError, match="did you mean"):
            ask(wrong)
