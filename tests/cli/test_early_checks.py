"""Wrong arguments are answered before PyTorch is imported; completion and help never import it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import contextlib, io, json, sys
from kshot.cli import main
told = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
            code = None
        except SystemExit as end:
            code = end.code
    told.append([code, out.getvalue(), err.getvalue(), "torch" in sys.modules])
print(json.dumps(told))
"""

WRONG = [
    ("train motion --out RUN --head protoype", "unknown head 'protoype': did you mean 'prototype'?"),
    ("train motion --out RUN --strategy mta", "unknown strategy 'mta': did you mean 'meta'?"),
    ("train motion --out RUN --tuning lorra", "unknown tuning method 'lorra': did you mean 'lora'?"),
    ("train motion --out RUN --steps 0", "steps must be at least 1, found 0"),
    ("train motion --out RUN --lr 0", "lr must be"),
    ("train motion --out RUN --protocol papr", "unknown protocol 'papr': did you mean 'paper'?"),
    ("train motion --out RUN --device gpu", "unknown device 'gpu'"),
    ("train motion --out RUN --precision float8", "unknown precision 'float8'"),
    ("train motion --out RUN --encoder onx", "unknown encoder 'onx': did you mean 'onnx'?"),
    ("train motion --out RUN --resize squish", "unknown resize 'squish'"),
    ("train motion --out RUN --head-option scale", "an option reads NAME=VALUE, found 'scale'"),
    ("train motion --out RUN --head otam --head-option smoth=1", "'otam' has no option 'smoth'"),
    ("train motion --out RUN --head otam --head-option smooth=0", "option 'smooth': it should be greater than 0"),
    ("train motion --out RUN --strategy finetune --head-option scale=high", "'prototype': option 'scale': it should"),
    ("train motion --out RUN --strategy meta --strategy-option ways=5", "strategy 'meta' has no option 'ways'"),
    ("train motion --out RUN --strategy meta --strategy-option loss=txt", "unknown loss 'txt': did you mean 'text'?"),
    ("train motion --out RUN --tuning lora --tuning-option rank=0", "tuning 'lora': option 'rank': it should be"),
    ("train motion --out RUN --tuning aim --tuning-option time=norm", "option 'time': it should be 'input' or 'block'"),
    ("train motion --out RUN --tuning vpt --tuning-option token=4", "has no option 'token'; its options: tokens=10"),
    ("train nothing.csv --out RUN", "no data at 'nothing.csv'"),
    ("train --features nothing.npz --out RUN", "no such file: nothing.npz"),
    ("evaluate nothing", "no data at 'nothing'"),
    ("evaluate motion --adapted nowhere", "nowhere is not a run folder"),
    ("evaluate motion --head nearst", "unknown head 'nearst'"),
    ("evaluate motion --head-option scal=1", "head 'prototype' has no option 'scal'"),
    ("evaluate motion --head clip-fsar --head-option dropout=1", "option 'dropout': it should be less than 1"),
    ("evaluate motion --head fusion --head-option beta=2", "option 'beta': it should be less than or equal to 1 or"),
    ("evaluate motion --way 1", "way must be at least 2, found 1"),
    ("evaluate motion --shot two", "--shot"),
    ("extract nothing.csv", "no data at 'nothing.csv'"),
    ("extract motion --device gpu", "unknown device 'gpu'"),
    ("extract motion --shard 4/4", "shard 4/4 is out of range: they are numbered 0/4 to 3/4"),
    ("extract motion --shard 1of4", "shard '1of4' is not of the form i/n"),
    ("extract motion --engine spark", "unknown engine 'spark'"),
    ("extract motion --address head:6379", "address is for engine ray: add --engine ray"),
    ("extract motion --actors 4 --engine local", "actors is for engine ray: add --engine ray"),
    ("extract motion --engine ray --actors 0", "actors must be at least 1, found 0"),
    ("extract motion --engine ray --shard 0/2", "engine ray deals the shards out itself: leave --shard out"),
    ("fit nothing --out MODEL", "no data at 'nothing'"),
    ("fit clips --out MODEL --method magic", "unknown method 'magic'"),
    ("fit clips --out MODEL --method otam --head-option smoth=1", "'otam' has no option 'smoth'"),
    ("fit clips --out MODEL --method transclip", "head 'transclip' is transductive"),
    ("fit clips --out MODEL --unknown-share 1.5", "expected share of an unknown clip from 0 to 1, found 1.5"),
    ("fit clips --out MODEL --frames 0", "frames must be at least 1, found 0"),
    ("fit clips --out MODEL --adapted nowhere", "nowhere is not a run folder"),
    ("fit clips --out MODEL --prompt {}-{spelled}", "a prompt needs {} where the class name goes"),
    ("fit clips --out clips", "--out clips exists already"),
    ("fit clips --out MODEL --device gpu", "unknown device 'gpu'"),
    ("predict nowhere clip.mp4", "nowhere is not a model folder"),
    ("predict model gone.mp4", "no such file: gone.mp4"),
    ("predict model clip.mp4 --timeline --format xml", "unknown format 'xml'"),
    ("predict model clip.mp4 --timeline --picture a.gif", "a picture is a .png, .svg or .pdf file, found 'a.gif'"),
    ("predict model clip.mp4 --timeline --out gone/a.csv", "there is no folder for gone/a.csv"),
    ("predict model clip.mp4 --device gpu", "unknown device 'gpu'"),
    ("watch nowhere", "nowhere is not a model folder"),
    ("watch model --file gone.mp4", "no such file: gone.mp4"),
    ("export nowhere", "nowhere is not a model folder"),
    ("study quik --out OUT", "unknown study 'quik': did you mean 'quick'?"),
    ("study gone.toml --out OUT", "no file gone.toml"),
    ("study bad.toml --out OUT", "line 2: unknown key of a study 'shot'"),
    ("study wrong.toml --out OUT", "row 'm': head 'otam' has no option 'smoth'"),
    ("study quick --out OUT --data gone.csv", "no data at 'gone.csv'"),
    ("study quick --out OUT --episodes 0", "episodes must be at least 1, found 0"),
    ("study quick --out OUT --protocol papr", "unknown protocol 'papr': did you mean 'paper'?"),
    ("study quick --out OUT --device gpu", "unknown device 'gpu'"),
    ("study quick --out OUT --speed 1", "--speed belongs to --dry-run"),
    ("study quick --out OUT --shard 4/4", "shard 4/4 is out of range: they are numbered 0/4 to 3/4"),
    ("study quick --out OUT --shard four", "shard 'four' is not of the form i/n"),
    ("study quick --out OUT --merge --jobs 2", "--merge runs nothing"),
    ("study quick --out OUT --jobs 0", "jobs must be at least 1, found 0"),
    ("study quick --out OUT --dry-run --data gone.csv", "no data at 'gone.csv'"),
    ("report gone", "gone holds no finished study"),
    ("report clips", "clips holds no finished study"),
    ("verify gone", "gone is not a kshot store"),
    ("verify clips", "clips is not a kshot store"),
    ("data features import gone.npy --out a.npz", "gone.npy holds no labels: add the CSV that has them"),
    ("data features import gone.npy --out a.npz --clips gone.csv", "gone.csv"),
    ("data features import gone.npz --out a.txt", "a.txt"),
    ("data prepare hmdb --from clips", "unknown benchmark 'hmdb'"),
    ("data protocols papr", "unknown protocol 'papr'"),
    ("data list --jsn", "No such option: --jsn"),
    ("trian motion", "No such command 'trian'"),
]


def test_wrong_arguments_are_answered_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "clips" / "wave").mkdir(parents=True)
    (tmp_path / "clips" / "wave" / "1.mp4").touch()
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "bad.toml").write_text('title = "t"\nshot = 1\n[[row]]\nname = "m"\n')
    (tmp_path / "wrong.toml").write_text('[[row]]\nname = "m"\nhead = "otam"\nhead_options = { smoth = 1 }\n')
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps([arguments.split() for arguments, _ in WRONG]),
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "KSHOT_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for (arguments, message), (code, out, err, torch) in zip(WRONG, json.loads(done.stdout), strict=True):
        assert (code, out, err.count("\n")) == (2, "", 1) and message in err, (arguments, err)
        assert not torch, arguments
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bad.toml",
        "clip.mp4",
        "clips",
        "model",
        "wrong.toml",
    ], "nothing is written"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("kshot da", ["data"]),
        ("kshot data fe", ["features"]),
        ("kshot fit --unknown-m", ["--unknown-most"]),
        ("kshot evaluate --head-o", ["--head-option", "--head-options"]),
    ],
)
def test_a_shell_completes_commands_and_options_without_torch(line: str, found: list[str]) -> None:
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_KSHOT_COMPLETE": "complete_bash"}
    script = "import sys\nfrom kshot.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, **asked})
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, found, "")


def test_the_script_of_a_shell_is_printed(command) -> None:  # type: ignore[no-untyped-def]
    done = subprocess.run(
        [sys.executable, "-m", "kshot.cli", "--show-completion", "bash"], capture_output=True, text=True,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )  # fmt: skip
    assert done.returncode == 0 and "_KSHOT_COMPLETE=complete_bash" in done.stdout
    assert "--install-completion" in command("--help")[1]


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("group", [(), ("data",), ("data", "features")])
def test_help_of_groups_is_whole(command, group: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("COLUMNS", str(width))
    code, text, _ = command(*group, "--help")
    assert code == 0 and "..." not in text.replace("[ARGS]...", "") and max(map(len, text.splitlines())) <= width
    for line in {
        (): "Train a recognizer of your own actions on a few clips of each, and say what to expect of it.",
        ("data",): "Named settings for --protocol, each value with the place it was read in.",
        ("data", "features"): "Write the embeddings of a data set, of a backbone or an adapted run.",
    }[group].split(". "):
        assert line in " ".join(text.split())
