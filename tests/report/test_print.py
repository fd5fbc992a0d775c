"""The page on paper, printed by a real browser."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import studies
from kshot.report import report
from kshot.study.file import Row, Study

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

CHROMIUM = "/usr/bin/chromium"
NAMES = ("frozen, prototype", "Meta-learning, last layer, OTAM", "Finetuning, whole backbone", "LoRA, rank 8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}")
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.mark.parametrize("shots", [(1, 5), (1, 2, 3), (1, 2, 3, 4, 5, 10)])
def test_the_tables_fit_a_sheet(browser: Browser, tmp_path: Path, shots: tuple[int, ...]) -> None:
    """A4 upright, or lying where a table is wide; the caption of the main table says what its marks mean."""
    rows = tuple(Row(name) for name in NAMES)
    plan = Study("s", rows, ("hmdb51",), ("ViT-B/16",), shots, (0, 1, 2), episodes=40, baseline=NAMES[0])
    studies.write(
        tmp_path, plan, lambda row, data, shot: 0.5 + 0.05 * NAMES.index(row.name) + 0.03 * math.log(shot),
        cost=lambda row: (0, 0.0) if row.name == NAMES[0] else (7_500_000, 1612.3),
        costs=lambda row, shot: {
            "stored_parameters": 7_500_000, "multiply_adds_per_clip": 140 * 10**9, "stored_bytes": 410_000_000,
            "multiply_adds_per_step": 3_400_000_000_000, "peak_memory": 2_300_000_000, "seconds_per_step": 0.0234,
        },
    )  # fmt: skip
    page = browser.new_page()
    page.emulate_media(media="print")
    page.goto(Path(report(tmp_path)["page"]).as_uri())
    assert page.locator(".scroll").count() >= 3
    for table in page.locator(".scroll").all():
        lying = table.evaluate("(node) => getComputedStyle(node).page") == "wide"
        width = (297 - 28 if lying else 210 - 28) / 25.4 * 96  # pixels between the margins of the sheet
        page.set_viewport_size({"width": int(width), "height": 1000})
        found = table.evaluate("(node) => [node.querySelector('table').offsetWidth, node.clientWidth]")
        assert found[0] <= found[1] + 1, table.get_attribute("aria-label")
        assert table.evaluate("(node) => getComputedStyle(node).breakInside") == "avoid"
    caption = page.locator(".scroll .caption").first
    assert "Bold: the highest accuracy, where the interval of its lead" in caption.inner_text()
    assert caption.is_visible()
    page.close()
