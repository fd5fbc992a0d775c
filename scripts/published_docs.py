"""Writes docs/published.md from src/kshot/report/published.toml; `tests/test_docs.py` checks that it is current.

python scripts/published_docs.py
"""

from __future__ import annotations

from pathlib import Path

from kshot.report.published import as_markdown

PAGE = Path(__file__).parents[1] / "docs" / "published.md"

if __name__ == "__main__":
    PAGE.write_text(as_markdown(), "utf-8")
