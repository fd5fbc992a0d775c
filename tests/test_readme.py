"""The README's commands and code do what it says, as written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kshot import cli

pytestmark = pytest.mark.slow

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


FIRST_LINES = {
    "recognizer.md": """
import shutil, kshot
moves = kshot.datasets.load("motion:5?split=val")
words = {moves.classes[0]: "squat", moves.classes[1]: "jump"}
paths, groups = list(moves.paths[1:]), moves.groups[1:]
labels = [words.get(moves.classes[number], moves.classes[number]) for number in moves.labels][1:]
shutil.copy(moves.paths[0], "new.mp4")
shutil.copy(moves.paths[0], "more.mp4")
""",
    "annotations.md": """
import json
from pathlib import Path
import kshot
from kshot.datasets import motion
Path("footage").mkdir(exist_ok=True)
motion.draw(Path("footage/a.mp4"), [("bow", 0)])
events = [[time, "", "bow", "", ""] for time in (0.1, 0.5)]
observation = {"type": "MEDIA", "file": {"1": ["a.mp4"]}, "events": events}
ethogram = {"0": {"code": "bow", "type": "State event"}}
Path("day.boris").write_text(json.dumps({"behaviors_conf": ethogram, "observations": {"day": observation}}))
""",
    "long-video.md": """
from pathlib import Path
import kshot
from kshot.datasets import motion
moves = kshot.datasets.load("motion:5?split=val")
labels = [moves.classes[number] for number in moves.labels]
model = kshot.Recognizer().fit(moves.paths, labels)
motion.draw(Path("training.mp4"), [(name, 0) for name in moves.classes[:3]])
""",
}
"""What a page takes for granted before its code."""


def fresh(script: str, workplace: Path) -> str:
    """What a script prints in an interpreter of its own; it must end well and complain of nothing."""
    done = subprocess.run([sys.executable, "-c", script], cwd=workplace, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), script
    return done.stdout


def test_python_runs_in_a_fresh_interpreter(workplace: Path):
    evaluating, teaching = blocks("python")
    frozen, tuned = fresh(evaluating, workplace).splitlines()
    assert re.fullmatch(r"frozen: \d+\.\d % \+- \d\.\d", frozen)
    assert re.fullmatch(r"meta-learned: [+-]\d+\.\d \+- \d+\.\d points over frozen, [\d,]+ weights trained", tuned)
    assert re.fullmatch(r"\w[\w -]*; \d+% to \d+% of new clips get their label\n", fresh(teaching, workplace))


@pytest.mark.parametrize("page", sorted(path.name for path in (README.parent / "docs").glob("*.md")))
def test_python_of_other_pages_runs_in_a_fresh_interpreter(workplace: Path, page: str):
    text = (README.parent / "docs" / page).read_text("utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        fresh(FIRST_LINES.get(page, "") + block, workplace)


def test_names_on_the_pages_are_reached_from_kshot(workplace: Path):
    pages = [README, *(README.parent / "docs").glob("*.md")]
    named = {name for page in pages for name in re.findall(r"`(kshot\.[\w.]+)", page.read_text("utf-8"))}
    assert {"kshot.export.export", "kshot.recognizer.stream.watch.watch"} <= named
    for name in sorted(named):
        fresh(f"import kshot; {name}", workplace)


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)", README.read_text("utf-8")):
        assert link.startswith("https://") or (README.parent / link).exists(), link
