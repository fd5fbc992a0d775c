"""`kshot verify`: every kind of folder is known, a changed byte anywhere in it is found, what has no seal is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import studies
from kshot import Recognizer, seals
from kshot.activations.store import Store
from kshot.backbones.backbone import Backbone
from kshot.datasets.features import load_features
from kshot.errors import DataError, OptionError
from kshot.study.file import Row, Study
from kshot.verify import recognise, verify

if TYPE_CHECKING:
    from forks import Command


def flip(path: Path) -> Callable[[], object]:
    """Changes one byte in the middle of a file; what puts it back."""
    whole = path.read_bytes()
    spoiled = bytearray(whole)
    spoiled[len(whole) // 2] ^= 1
    path.write_bytes(spoiled)
    return lambda: path.write_bytes(whole)


def every_byte_counts(folder: Path, kind: str, names: list[str]) -> None:
    report = verify(folder)
    assert (report["kind"], report["damaged"]) == (kind, {}), report
    assert report["checked"] >= len(names)
    for name in names:
        back = flip(folder / name)
        found = verify(folder)["damaged"]
        assert any(str(folder / name).startswith(path) for path in found), (name, found)
        back()
    assert verify(folder)["damaged"] == {}


def test_a_run(adapted: Path, command: Command, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapted, tmp_path / "run"))
    every_byte_counts(folder, "run", ["config.json", "weights.safetensors", "metrics.jsonl"])
    assert verify(folder)["unsealed"] == {}
    code, out, _ = command("verify", folder)
    assert code == 0 and out == f"{folder}, a run: 3 files checked: 0 damaged\n"
    flip(folder / "weights.safetensors")
    code, out, _ = command("verify", folder, "--json")
    assert code == 2 and list(json.loads(out)["damaged"]) == [str(folder / "weights.safetensors")]
    with pytest.raises(OptionError, match="--heal is for stores"):
        verify(folder, heal=True)


def test_a_run_of_an_older_version_is_said_to_have_no_seal(adapted: Path, command: Command, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapted, tmp_path / "run"))
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({name: config[name] for name in config if name not in ("seal", "files")}))
    code, out, _ = command("verify", folder)
    assert code == 0 and f"no seal: {path}: written by an older version" in out
    flip(folder / "weights.safetensors")  # known all the same
    assert "weights.safetensors is damaged" in "".join(verify(folder)["damaged"].values())


def test_a_model_with_an_export_in_it(backbone: Backbone, tmp_path: Path) -> None:
    clips = [np.full((4, 32, 32, 3), 60 * i, np.uint8) for i in range(4)]
    folder = Recognizer(backbone, method="prototype").fit(clips, ["a", "a", "b", "b"]).save(tmp_path / "model")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"a graph of nodes")
    about = seals.sealed({"kind": "kshot export", "labels": ["a", "b"]}, folder / "onnx", ["model.onnx"])
    (folder / "onnx" / "model.json").write_text(json.dumps(about))
    weights = next(folder.glob("weights-*")).name
    every_byte_counts(folder, "model", ["config.json", weights, "onnx/model.json", "onnx/model.onnx"])
    assert list(verify(folder)["unsealed"]) == [str(folder / "README.md"), str(folder / "thumbnails")]
    every_byte_counts(folder / "onnx", "exported model", ["model.json", "model.onnx"])


def test_a_study(tmp_path: Path) -> None:
    plan = Study("t", (Row("a"), Row("b")), data=("d",), backbone=("s",), episodes=20, baseline="a")
    report = studies.write(tmp_path, plan, lambda row, data, shot: 0.5)
    for row in report["rows"]:
        where = tmp_path / row["folder"]
        files = [f"{shot}-shot.json" for shot in row["results"]]
        (where / "row.json").write_text(json.dumps(seals.sealed(row, where, files)))
    (tmp_path / "study.json").write_text(json.dumps(seals.sealed(report)))
    names = ["study.json"] + [
        f"{row['folder']}/{name}" for row in report["rows"] for name in ("row.json", "5-shot.json")
    ]
    every_byte_counts(tmp_path, "study", names)
    first, second = (tmp_path / report["rows"][number]["folder"] for number in (0, 1))
    (first / "row.json").unlink(), (first / "5-shot.json").unlink(), shutil.rmtree(second)
    told = "is gone, though study.json names its row: run the study again"
    assert verify(tmp_path)["damaged"] == dict.fromkeys(
        map(str, (first / "5-shot.json", first / "row.json", second)), told
    )
    shutil.rmtree(tmp_path / "rows")
    assert set(verify(tmp_path)["damaged"]) == {str(tmp_path / row["folder"]) for row in report["rows"]}


def test_a_backbone_has_no_seal_but_must_be_whole(clip_folder: Path, backbone: Backbone, tmp_path: Path) -> None:
    report = verify(clip_folder)
    assert (report["kind"], report["damaged"]) == ("backbone", {})
    assert backbone.fingerprint in report["unsealed"][str(clip_folder)]
    folder = Path(shutil.copytree(clip_folder, tmp_path / "clip"))
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-4])
    assert verify(folder)["damaged"]
    cache = tmp_path / "models--x" / "snapshots" / "main"
    shutil.copytree(clip_folder, cache)
    blobs = cache.parents[1] / "blobs"
    blobs.mkdir()
    blob = blobs / seals.sha256(cache / "model.safetensors")
    (cache / "model.safetensors").rename(blob)
    (cache / "model.safetensors").symlink_to(blob)
    assert verify(cache)["damaged"] == {}
    flip(blob)
    assert list(verify(cache)["damaged"]) == [str(cache / "model.safetensors")], "the hub's name tells"


def test_features_and_a_studio_project(tmp_path: Path) -> None:
    path = tmp_path / "features.npz"
    np.savez(path, features=np.ones((4, 2, 3), np.float32), label=np.array(list("aabb")))
    assert verify(path)["damaged"] == {} and "CRC-32" in verify(path)["unsealed"][str(path)]
    flip(path)
    assert list(verify(path)["damaged"]) == [str(path)]
    with pytest.raises(DataError):
        load_features(path)
    (tmp_path / "project" / "videos").mkdir(parents=True)
    (tmp_path / "project" / "videos" / "1.mp4").write_bytes(b"video")
    state = {"format": 1, "state": {"videos": [{"file": "1.mp4"}]}}
    (tmp_path / "project" / "project.json").write_text(json.dumps(state))
    assert verify(tmp_path / "project")["damaged"] == {}
    state["state"] = {"videos": [{"file": "1.mp4"}, {"file": "../features.npz"}, {"file": "2.mp4"}]}
    (tmp_path / "project" / "project.json").write_text(json.dumps(state))
    found = verify(tmp_path / "project")
    assert found["kind"] == "studio project" and len(found["damaged"]) == 2


def test_a_store_is_still_what_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path, {"cut": 3})
    with store.writing() as writer:
        writer.add("clip-0", np.zeros((2, 4), np.float16))
    (shard,) = store.folder.glob("*.npy")
    every_byte_counts(tmp_path, "store", [str(shard.relative_to(tmp_path))])


def test_what_is_nothing_of_the_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a kshot store .* nor any other of: store, run, model, study"):
        recognise(tmp_path)
    with pytest.raises(DataError, match="is not a kshot store"):
        recognise(tmp_path / "nowhere")
