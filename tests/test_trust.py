"""Trust: files are data and run no code, nothing goes over the network, and shards change no figure."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forks import Command
from kshot import seals
from kshot.activations import shards as shards_module
from kshot.activations.extraction import extract
from kshot.fewshot.evaluation import evaluate

SHAPE = ("--way", 3, "--shot", 1, "--query", 2, "--episodes", 5)


class Malice:
    """Unpickled, it makes a folder: what a real one would do is worse."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.trace,)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """The folder that exists as soon as a pickle was run; first proves that the pickle is as bad as it says."""
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(Malice(proof)))
    assert proof.is_dir()
    return tmp_path / "trace"


def refused(command: Command, trace: Path, *arguments: object) -> str:
    code, out, err = command(*arguments)
    assert not trace.exists(), "a pickle was run"
    assert (code, out) == (2, "") and err.count("\n") == 1
    return err


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_malicious_backbone_runs_no_code(
    command: Command, clip_folder: Path, clips_csv: Path, tmp_path: Path, trace: Path, name: str, writer: str
) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "clip", ignore=shutil.ignore_patterns("*.safetensors"))
    if writer == "torch":
        torch.save({"logit_scale": Malice(trace)}, folder / name)
    else:
        (folder / name).write_bytes(pickle.dumps(Malice(trace)))
    place = ("--backbone", folder, "--store", tmp_path / "store")
    err = refused(command, trace, "evaluate", clips_csv, *place, *SHAPE)
    assert name in err and ("a pickle: expected model.safetensors" in err or "is damaged" in err)


def test_code_in_a_backbone_is_not_run(
    command: Command, clip_folder: Path, clips_csv: Path, tmp_path: Path, trace: Path
) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"import os; os.mkdir({str(trace)!r})")
    code, _, _ = command("evaluate", clips_csv, "--backbone", folder, "--store", tmp_path / "store", *SHAPE)
    assert code == 0 and not trace.exists()


@pytest.mark.parametrize("name", ["f.npz", "f.npy", "f.pkl", "f.pt"])
def test_malicious_features_run_no_code(command: Command, tmp_path: Path, trace: Path, name: str) -> None:
    path = tmp_path / name
    objects = np.array([Malice(trace)], dtype=object)
    if name == "f.npz":
        np.savez(path, features=objects, label=np.array(["a"]))
    elif name == "f.npy":
        np.save(path, objects)
    else:
        path.write_bytes(pickle.dumps(Malice(trace)))
    refused(command, trace, "evaluate", "--features", path, "--split", "all")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Malice(trace)))
    refused(command, trace, "evaluate", "--features", tmp_path / "pickle.npz", "--split", "all")


def test_a_malicious_run_runs_no_code(
    command: Command, adapted: Path, clips_csv: Path, tmp_path: Path, trace: Path
) -> None:
    """Even where its digest was made to match."""
    run = shutil.copytree(adapted, tmp_path / "run")
    weights = pickle.dumps(Malice(trace))
    (run / "weights.safetensors").write_bytes(weights)
    config = json.loads((run / "config.json").read_text())
    config["result"]["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    (run / "config.json").write_text(json.dumps(seals.sealed(config, run, config["files"])))
    err = refused(command, trace, "evaluate", clips_csv, "--adapted", run, "--store", tmp_path / "store", *SHAPE)
    assert "weights.safetensors cannot be read as safetensors" in err


def test_a_malicious_shard_runs_no_code(
    command: Command, clip_folder: Path, clips_csv: Path, tmp_path: Path, trace: Path
) -> None:
    """Even where its manifest was made to match."""
    place = ("--backbone", clip_folder, "--store", tmp_path / "store")
    assert command("extract", f"{clips_csv}?split=test", *place, "--cut", "embedding")[0] == 0
    (shard,) = (tmp_path / "store").glob("*/*.npy")
    clips = json.loads(shard.with_suffix(".json").read_text())["clips"]
    np.save(shard, np.array([Malice(trace)] * len(clips), dtype=object))
    about = {"sha256": hashlib.sha256(shard.read_bytes()).hexdigest(), "bytes": shard.stat().st_size, "clips": clips}
    manifest = json.dumps(about).encode()
    name = f"shard-{hashlib.sha256(manifest).hexdigest()[:16]}"
    shard.with_suffix(".json").unlink()
    shard.rename(shard.with_name(f"{name}.npy"))
    shard.with_name(f"{name}.json").write_bytes(manifest)
    assert command("verify", tmp_path / "store")[0] == 0, "the fake is a good one"
    err = refused(command, trace, "evaluate", clips_csv, *place, *SHAPE)
    assert "is damaged" in err and "Python objects" in err


@pytest.mark.slow
def test_sharding_and_processes_change_no_figure(
    clip_folder: Path, clips_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 shard, 2, 4 and one for each clip, decoded by 0, 1, 2 and 4 processes: every episode is the same."""
    figures = []
    for shards, workers in ((1, 0), (2, 1), (4, 2), (32, 4)):
        monkeypatch.setattr(shards_module, "SHARD_BYTES", 32 // shards * 8 * 16 * 2)
        place = tmp_path / str(shards)
        extract(f"{clips_csv}?split=test", clip_folder, "embedding", place, workers=workers)
        assert len(list(place.glob("*/*.npy"))) == shards
        result = evaluate(clips_csv, clip_folder, way=3, shot=1, query=2, episodes=100, store=place, stored_only=True)
        figures.append(result.episode_accuracy)
    assert all(np.array_equal(figures[0], other) for other in figures[1:])


# Every process of the command, children included, appends what it asks of the network to a file.
WATCH = """
import os, sys
def watch(event, arguments):
    if event.startswith("socket.") or event in ("urllib.Request", "http.client.connect"):
        with open(os.environ["KSHOT_WATCHED"], "a") as file:
            file.write(f"{event} {arguments!r}\\n")
sys.addaudithook(watch)
with open(os.environ["KSHOT_WATCHED"], "a") as file:
    file.write("process\\n")
"""


@pytest.mark.slow
def test_commands_open_no_socket(clip_folder: Path, clips_csv: Path, tmp_path: Path) -> None:
    """Extraction with child processes, training, evaluation and verification, one after the other."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    store = str(tmp_path / "store")
    place = ["--backbone", str(clip_folder), "--store", store, "--json"]
    commands = [
        ["extract", str(clips_csv), *place],
        ["train", str(clips_csv), "--out", str(tmp_path / "run"), *place, "--way", "3", "--query", "2", "--steps", "2"],
        ["evaluate", str(clips_csv), "--adapted", str(tmp_path / "run"), *place, *map(str, SHAPE)],
        ["verify", store, "--json"],
    ]
    script = (
        "import json, sys; from kshot import progress; from kshot.cli import main\n"
        "progress.SOONEST = progress.LATEST = float('inf')\n"  # no line on stderr, however slow the machine is
        "for arguments in json.loads(sys.argv[1]):\n"
        "    try: main(arguments)\n"
        "    except SystemExit as stop: assert not stop.code, arguments\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "watch"), "KSHOT_WATCHED": str(tmp_path / "seen")}
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4 and done.stderr == ""
    seen = (tmp_path / "seen").read_text().splitlines()
    assert len(seen) >= 2, "the children are watched too"
    assert set(seen) == {"process"}
