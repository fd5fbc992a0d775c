"""The README's commands and code do what it says, as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from kshot import cli

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def test_readme_names_the_two_commands():
    first = blocks("bash")[0]
    assert [line.split("#")[0].strip() for line in first.strip().splitlines()] == ["make demo", "make test"]


def test_commands_run(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(workplace)
    (workplace / "mine.toml").write_text(blocks("toml")[0])
    lines = [shlex.split(line, comments=True) for block in blocks("bash")[1:] for line in block.strip().splitlines()]
    assert len(lines) >= 6
    for words in lines:
        assert words[0] == "kshot"
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 0, (words, capsys.readouterr().err)
    assert (workplace / "studies/mine/report.html").stat().st_size > 50_000


def test_python_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(workplace)
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), {"__name__": "readme"})
    out = capsys.readouterr().out
    assert re.search(r"frozen: \d+\.\d % \+- \d\.\d", out)
    assert "points over frozen" in out


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)", README.read_text("utf-8")):
        assert link.startswith("https://") or (README.parent / link).exists(), link
