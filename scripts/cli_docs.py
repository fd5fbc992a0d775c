"""Writes docs/cli.md from the live commands; `tests/test_docs.py` checks that it is current.

python scripts/cli_docs.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer
from typer.testing import CliRunner

from kshot.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
INTRO = """\
# Commands

Written by `python scripts/cli_docs.py` from the commands themselves. Each command calls one public function with the
same argument names. With `--json` a command prints one JSON object on stdout and nothing else there. What cannot be
done as asked is one line on stderr and exit code 2. Long work shows a bar on a terminal; where stderr is a pipe or a
file, a line now and then with rate and time left. `kshot --install-completion` lets the shell complete commands and
options.
"""


def page() -> str:
    """The whole page."""
    runner, parts = CliRunner(), [INTRO]
    for words in commands(typer.main.get_command(app)):
        text = runner.invoke(
            app, [*words, "--help"], prog_name="kshot", env={"COLUMNS": "100"}, terminal_width=100
        ).output
        parts.append(f"## kshot {' '.join(words)}\n\n```text\n{text.strip()}\n```\n")
    return "\n".join(parts)


def commands(group: object, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command; a group stands before its own."""
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        yield (*words, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
