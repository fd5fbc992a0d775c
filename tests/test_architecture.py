"""The house: imports go down, never in a circle, and nothing that users do not need stands in the way."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import measures  # noqa: E402


def test_every_room_has_its_level() -> None:
    placed = {name for level in measures.LEVELS for name in level} | {"", "__main__"}
    assert {measures.room(name) for name in measures.modules()} - placed == set()


def test_files_of_tests_have_names_of_their_own() -> None:
    """They are imported by their bare names: of two with one name, one would be taken for the other."""
    count = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, found in count.items() if found > 1] == []


def test_no_import_goes_up() -> None:
    assert [f"{a.source} -> {a.target}" for a in measures.upward(measures.arrows())] == []


def test_there_is_no_circle_of_rooms_or_modules() -> None:
    found = measures.arrows()
    assert measures.circles(measures.between_rooms(found)) == []
    assert measures.circles({(a.source, a.target) for a in found if a.source}) == []


def test_the_measures_see_what_is_wrong(tmp_path: Path) -> None:
    """An import that goes up, one inside a function, and a circle are all found."""
    for name, text in {
        "errors.py": "def late():\n    from kshot.fewshot import runs\n",
        "fewshot/__init__.py": "",
        "fewshot/runs.py": "import kshot.study.runner\n",
        "study/__init__.py": "",
        "study/runner.py": "from kshot import errors\nfrom kshot.fewshot import runs\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = measures.arrows(tmp_path)
    assert [(a.source, a.target) for a in measures.upward(found)] == [
        ("errors", "fewshot.runs"),
        ("fewshot.runs", "study.runner"),
    ]
    assert measures.circles(measures.between_rooms(found)) == [["errors", "fewshot", "study"]]
    assert measures.floors({("a", "b"), ("b", "c"), ("a", "c")}) == 3
    with pytest.raises(KeyError):
        measures.upward([measures.Arrow("attic", "errors")])


@pytest.mark.slow
def test_the_figures_are_no_worse_than_allowed() -> None:
    """Those that can be read; `scripts/measures.py`, which CI runs, also follows a command."""
    assert {name: found for name, found in measures.read().items() if measures.worse(name, found[0])} == {}


def test_every_room_is_on_the_map() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rooms = {measures.room(name) for name in measures.modules()} - {"", "__main__"}
    assert [name for name in sorted(rooms) if f"`{name}" not in page] == []
