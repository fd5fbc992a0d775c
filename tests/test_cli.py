"""The command line: one JSON object on stdout where asked, one line on stderr where something is wrong, quick help."""

from __future__ import annotations

import inspect
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import kshot
from clips import write_table
from forks import Command
from kshot import settings, verify
from kshot.activations import estimation, extraction
from kshot.cli import app, common, research
from kshot.fewshot import evaluation, training

SHAPE = ("--way", 3, "--shot", 1, "--query", 2)
KSHOT = Path(sys.executable).with_name("kshot")


def the_object(output: str) -> dict[str, Any]:
    """The one JSON object that stdout holds, and nothing else."""
    assert output.count("\n") == 1
    value = json.loads(output, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(value, dict)
    return value


def test_extract_tells_what_it_stored(command: Command, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    arguments = (
        "extract",
        f"{clips_csv}?split=val",
        "--backbone",
        clip_folder,
        "--store",
        tmp_path,
        "--cut",
        "embedding",
    )
    code, out, err = command(*arguments, "--dry-run", "--json")
    planned = the_object(out)
    assert (code, err, planned["clips"], planned["stored"]) == (0, "", 32, 0)
    code, out, err = command(*arguments, "--json")
    done = the_object(out)
    assert (code, err) == (0, "")
    assert {name: done[name] for name in ("clips", "stored_now", "unreadable", "cut")} == {
        "clips": 32, "stored_now": 32, "unreadable": {}, "cut": 4,
    }  # fmt: skip
    stored = sum(np.load(path, mmap_mode="r").nbytes for path in Path(done["store"]).glob("*.npy"))
    assert stored == planned["bytes"] == planned["bytes_to_write"]
    code, out, err = command(*arguments)
    assert code == 0 and "0 stored now" in out and "32 clips of clips at cut 4" in out
    code, out, err = command(*arguments, "--dry-run")
    assert code == 0 and "32 clips, 32 stored already" in out and "time: about 0 s" in out


def test_strict_exits_with_1_when_a_clip_is_unreadable(
    command: Command, clips_csv: Path, clip_folder: Path, tmp_path: Path
) -> None:
    good = clips_csv.with_name("clap-1.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    table = write_table(tmp_path / "clips.csv", [(str(good), "a", "", ""), ("bad.mp4", "a", "", "")])
    arguments = ("extract", table, "--backbone", clip_folder, "--store", tmp_path / "store", "--workers", 0)
    code, out, err = command(*arguments)
    assert code == 0 and "1 unreadable" in out and err.startswith(f"unreadable: {tmp_path / 'bad.mp4'}: ")
    code, out, err = command(*arguments, "--strict", "--json")
    assert (code, err) == (1, "") and list(the_object(out)["unreadable"]) == [str(tmp_path / "bad.mp4")]


@pytest.mark.slow
def test_train_then_evaluate(
    command: Command, clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path: Path
) -> None:
    shared = ("--backbone", clip_folder, "--store", warm_store)
    code, out, err = command(
        "train", clips_csv, "--out", tmp_path / "run", *shared, *SHAPE, "--steps", 4, "--val-every", 2,
        "--val-episodes", 10, "--tuning", "partial", "--layers", "proj", "--strategy-option", "loss=both",
        "--head-option", "scale=10", "--prompt", "a {}", "--json",
    )  # fmt: skip
    trained = the_object(out)
    assert (code, err, trained["run"], trained["steps"]) == (0, "", str(tmp_path / "run"), 4)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["strategy"]["options"]["loss"] == "both" and config["prompts"] == ["a {}"]
    assert config["tuning"]["options"] == {"layers": "proj"} and config["head"]["options"]["scale"] == 10
    code, out, err = command(
        "evaluate", clips_csv, "--adapted", tmp_path / "run", "--store", warm_store, *SHAPE, "--episodes", 50,
        "--out", tmp_path / "result.json", "--json",
    )  # fmt: skip
    result = the_object(out)
    assert (code, err, result["strategy"], result["episodes"]) == (0, "", "meta", 50)
    saved = json.loads((tmp_path / "result.json").read_text())
    assert len(saved["episode_accuracy"]) == 50 and saved["accuracy"] == result["accuracy"]
    code, out, err = command("evaluate", clips_csv, *shared, *SHAPE, "--episodes", 50)
    assert code == 0 and "3-way 1-shot" in out and "50 episodes" in out and " % +- " in out
    assert "+- is half of a 95 % interval over episodes: of these classes, new episodes" in out
    assert all(name in out for name in result["per_class"])
    code, out, err = command(
        "train", clips_csv, "--out", tmp_path / "two", *shared, *SHAPE, "--steps", 2, "--select", "none"
    )
    assert (
        code == 0
        and "nothing chosen on val" in out
        and "note" not in err
        and f"kshot evaluate DATA --adapted {tmp_path / 'two'}" in out
    )


def test_one_episode_has_no_interval(command: Command, clips_csv: Path, clip_folder: Path, warm_store: Path) -> None:
    arguments = ("evaluate", clips_csv, "--backbone", clip_folder, "--store", warm_store, *SHAPE, "--episodes", 1)
    assert the_object(command(*arguments, "--json")[1])["ci95"] is None
    assert "+-" not in command(*arguments)[1]


@pytest.mark.parametrize(("shot", "expected"), [(1, 53.5), (5, 70.4)])
def test_real_features_reach_the_known_accuracy(command: Command, shared: Path, shot: int, expected: float) -> None:
    """J-HMDB, MobileNetV2 features: what an independent script measured, within 1.5 points."""
    code, out, err = command(
        "evaluate", "--features", shared / "features" / "jhmdb_mobilenetv2.npz", "--split", "all", "--no-shared-group",
        "--center", "--shot", shot, "--episodes", 4000, "--json",
    )  # fmt: skip
    result = the_object(out)
    assert (code, err, result["clips"], result["way"], result["query"]) == (0, "", 420, 5, 5)
    assert abs(result["accuracy"] - expected) < 1.5
    assert result["ci95"] < 0.6


def test_verify_tells_and_heals(command: Command, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    command("extract", f"{clips_csv}?label=clap", "--backbone", clip_folder, "--store", tmp_path, "--workers", 0)
    code, out, _ = command("verify", tmp_path, "--json")
    assert (code, the_object(out)["damaged"]) == (0, {})
    (shard,) = tmp_path.glob("*/*.npy")
    shard.write_bytes(shard.read_bytes()[:-1])
    code, out, _ = command("verify", tmp_path)
    assert code == 2 and f"{shard}: has" in out
    code, out, _ = command("verify", tmp_path, "--heal", "--json")
    assert code == 0 and the_object(out)["healed"] and not shard.exists()
    code, out, _ = command("verify", tmp_path)
    assert code == 0 and "0 shards" in out and "0 damaged" in out


def test_extract_heals_a_damaged_shard(command: Command, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    arguments = ("extract", f"{clips_csv}?label=clap", "--backbone", clip_folder, "--store", tmp_path, "--workers", 0)
    command(*arguments)
    (shard,) = tmp_path.glob("*/*.npy")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-9] + b"\xff" + whole[-8:])
    assert the_object(command(*arguments, "--json")[1])["stored_now"] == 8
    assert command("verify", tmp_path)[0] == 0
    assert the_object(command(*arguments, "--json")[1])["stored_now"] == 0


def test_help_and_version(command: Command) -> None:
    code, out, err = command()
    assert (code, err) == (0, "") and out.startswith("Usage: kshot") and "evaluate" in out
    assert command("--help")[1] == out
    assert command("--version") == (0, f"kshot {kshot.__version__}\n", "")
    for name in app_commands():
        code, out, err = command(name, "--help")
        assert (code, err) == (0, "") and f"kshot {name}" in out
        assert "--json" in out and "print one JSON object on stdout" in " ".join(out.split())


def test_help_names_every_command_whole_and_makes_none(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a command costs as much as the rest of a start; `-h` is `--help`."""
    made = []
    program = sys.modules["kshot.cli.app"]  # the package has an attribute of this name
    monkeypatch.setattr(program._Made, "__getitem__", lambda self, name: made.append(name))
    code, out, _ = command("-h")
    assert code == 0 and not made and "..." not in out.partition("Commands:")[2]
    assert [line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line[2:3].strip()] == [
        *app_commands(), "data"
    ]  # fmt: skip


def app_commands() -> list[str]:
    return [name for name in app.entries if name != "data"]


def test_the_list_of_commands_says_what_their_functions_say() -> None:
    """`kshot --help` prints the list, and imports no file of a command."""
    script = (
        "import sys; from kshot.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    program = sys.modules["kshot.cli.app"]
    files = {f"kshot.cli.{entry.file}" for entry in program.COMMANDS.values()}
    assert not files & set(done.stdout.split()) and "kshot.settings" not in done.stdout.split()
    for name, listed in program.COMMANDS.items():
        typer.main.get_command(app).commands[name]
        assert program._sentence(app.entries[name]) == listed.about
    assert files == {f"kshot.cli.{path.stem}" for path in Path(program.__file__).parent.glob("*.py")} - {
        f"kshot.cli.{name}"
        for name in ("__init__", "__main__", "answers", "app", "common", "early", "settings", "study_tables")
    }


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("extract", extraction.extract), ("extract", estimation.estimate), ("train", training.train),
        ("evaluate", evaluation.evaluate), ("verify", verify.verify),
    ],
)  # fmt: skip
def test_commands_have_the_arguments_and_defaults_of_their_functions(name: str, function: Any) -> None:
    """Each option exists in the function it stands for, under the same name and with the same default."""
    own = inspect.signature(getattr(research, name)).parameters
    theirs = {name: one.default for name, one in inspect.signature(function).parameters.items()}
    front = {training.train: settings.Training, evaluation.evaluate: settings.Evaluating}.get(function)
    if front is not None:
        theirs |= front.defaults() | dict.fromkeys(front.undecided)
        assert set(front.fields()) <= set(own), "every setting is an option"
    if function is estimation.estimate:
        parts = (*settings.Arithmetic.fields(), *settings.Spread.fields())
        theirs |= {one.name: one.default for one in parts}
    aside = {"context", "as_json", "dry_run", "strict"} | ({"timeout"} if function is estimation.estimate else set())
    for option, parameter in own.items():
        if option in aside:
            continue
        other = theirs[option]
        if name == "evaluate" and option == "shot":  # a range there, as 1..5
            other = str(other)
        if parameter.default is not inspect.Parameter.empty and option != "prompts":  # a list has no default to show
            assert parameter.default == other or (parameter.default is None and other is inspect.Parameter.empty)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["evalute"], "No such command 'evalute'"),
        (["extract"], "Missing argument 'data'"),
        (["train", "x.csv"], "Missing option '--out'"),
        (["extract", "x", "--farmes", "3"], "No such option: --farmes"),
        (["extract", "x", "--frames", "many"], "Invalid value for '--frames'"),
        (["evaluate", "x", "--seed", "-1"], "seed must be at least 0, found -1"),
        (["evaluate", "x", "--head-option", "scale"], "an option reads NAME=VALUE, found 'scale'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(command: Command, arguments: list[str], text: str) -> None:
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("kshot: ") and err.count("\n") == 1
    assert text.lower() in err.lower()  # older releases of typer name an argument in capitals


def test_options_are_read_as_numbers_where_they_are() -> None:
    pairs = common.pairs(["a=1", "b=0.5", "c=text", "d-e=True", "f=x=y", "g='1'"])
    assert pairs == {"a": 1, "b": 0.5, "c": "text", "d_e": True, "f": "x=y", "g": "1"}
    assert common.pairs(None) == {}


def cpu_seconds(*arguments: str) -> float:
    """Median processor time of a process over five runs: what a busy machine cannot spoil."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(arguments, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(times)


def test_help_takes_less_than_half_a_second() -> None:
    assert cpu_seconds(str(KSHOT), "--help") < 0.5


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from kshot.cli import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'av', 'PIL', 'huggingface_hub', 'matplotlib', 'scipy'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_ctrl_c_says_what_is_kept(clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path: Path) -> None:
    """A real Ctrl-C at a real process in the middle of training."""
    arguments = [
        str(KSHOT), "train", str(clips_csv), "--out", str(tmp_path / "run"), "--backbone", str(clip_folder), "--way",
        "3", "--query", "2", "--val-every", "5", "--val-episodes", "5", "--store", str(warm_store), "--json",
    ]  # fmt: skip
    process = subprocess.Popen(
        [*arguments, "--steps", "100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        metrics = tmp_path / "run" / "metrics.jsonl"
        while not (metrics.exists() and len(metrics.read_text().splitlines()) > 8):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130 and out == ""
    assert err == "kshot: stopped; what was done is kept, the same command goes on (train: with --resume)\n"
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
    assert not list((tmp_path / "run").glob("*.tmp"))


@pytest.mark.parametrize(("name", "seconds"), [("train", 2.0), ("evaluate", 2.0), ("evaluate", 0.1)])
def test_three_quick_ctrl_c_are_one_line(
    name: str, seconds: float, clips_csv: Path, warm_store: Path, tmp_path: Path
) -> None:
    """Whatever they hit: commands that are being loaded, the work, or the way out."""
    endless = ["--steps", "1000000", "--out", str(tmp_path / "run")] if name == "train" else ["--episodes", "10000000"]
    process = subprocess.Popen(
        [str(KSHOT), name, str(clips_csv), "--way", "3", "--query", "2", "--store", str(warm_store), *endless],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        time.sleep(seconds)
        for _ in range(3):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.01)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    # where it hit code that Python made from a text, as of dataclasses, Python ends by the signal: 130 to a shell, too
    assert process.returncode in (130, -signal.SIGINT) and out == ""
    if seconds > 1:  # before, Python itself may not have begun
        assert err == "kshot: stopped; what was done is kept, the same command goes on (train: with --resume)\n"


def test_a_closed_pipe_is_no_error(clips_csv: Path) -> None:
    done = subprocess.run(f"{KSHOT} train --help | head -1", shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("Usage: kshot train") and "Traceback" not in done.stderr


def test_an_unforeseen_refusal_of_the_system_is_one_line(command: Command, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    code, out, err = command("evaluate", loop / "clips.csv")
    assert (code, out) == (2, "") and err.startswith("kshot: ") and err.count("\n") == 1
