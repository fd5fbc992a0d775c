"""The written pages agree with the code they describe."""

from __future__ import annotations

import re
from pathlib import Path

from kshot.heads import HEADS
from kshot.tuning import TUNING
from scripted import script

ROOT = Path(__file__).parents[1]


def test_page_of_published_results_is_current():
    module = script("published_docs")
    assert module.PAGE.read_text("utf-8") == module.as_markdown(), "run python scripts/published_docs.py"


def test_command_page_is_current():
    module = script("cli_docs")
    assert module.PAGE.read_text("utf-8") == module.page(), "run python scripts/cli_docs.py"


def test_every_head_and_tuning_method_is_documented():
    for page, names in (("heads.md", HEADS), ("tuning.md", TUNING)):
        text = (ROOT / "docs" / page).read_text("utf-8")
        for name in names:
            assert f"`{name}`" in text, f"{page} does not name {name}"


def test_links_between_pages_lead_somewhere():
    for page in (ROOT / "docs").glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_nothing_names_this_machine():
    for path in [*ROOT.glob("docs/*.md"), ROOT / "README.md", *ROOT.glob("src/**/*.py")]:
        assert str(ROOT) not in path.read_text("utf-8"), path


def test_every_room_has_a_page_of_the_api_reference():
    measures = script("measures")
    rooms = {measures.room(name) for name in measures.modules()} - {"", "__main__"}
    pages = {page.stem: page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md")}
    assert set(pages) == rooms | {"index"}
    assert all(f"::: kshot.{room}\n" in pages[room] for room in rooms)
