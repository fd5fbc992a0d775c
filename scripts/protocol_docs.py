"""Writes the tables of docs/protocols.md, one section a protocol; the text above them stays."""

from __future__ import annotations

from pathlib import Path

from kshot.fewshot.protocol_tables import as_markdown
from kshot.fewshot.protocols import PROTOCOLS

PAGE = Path(__file__).parents[1] / "docs" / "protocols.md"


def main() -> None:
    above = PAGE.read_text("utf-8").partition("\n## `")[0]
    sections = [as_markdown(name).strip() for name in PROTOCOLS]
    PAGE.write_text("\n\n".join([above.strip(), *sections]) + "\n", "utf-8", newline="\n")


if __name__ == "__main__":
    main()
