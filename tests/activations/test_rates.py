"""Stores of a kshot that chose frames by number: of clips of constant rate they stay valid, the rest is made anew."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from clips import draw, write_folder, write_table, write_video
from kshot import video
from kshot.activations import rates
from kshot.activations.activations import Activations
from kshot.activations.check import verify
from kshot.activations.digests import digest
from kshot.activations.extraction import extract
from kshot.activations.shards import name_of
from kshot.backbones.backbone import Backbone
from kshot.errors import StoreError
from scenes import STILL, scene, write


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A constant video, one of variable rate, and a frame folder."""
    rng = np.random.default_rng(0)
    write_video(tmp_path / "constant.mp4", draw(0, 14, rng))
    write(tmp_path / "variable.mp4", scene(36), times=STILL)
    write_folder(tmp_path / "frames", draw(1, 14, rng))
    rows = [(name, "a", "", "") for name in ("constant.mp4", "variable.mp4", "frames")]
    return write_table(tmp_path / "clips.csv", rows)


def aged(done: Activations, spoil: Path) -> None:
    """Makes a store what an older kshot would have left: no word on the choice, and other frames of a variable clip."""
    assert done.store is not None
    for manifest in done.store.folder.glob("shard-*.json"):
        about = json.loads(manifest.read_text())
        del about["chosen"]
        values = np.load(manifest.with_suffix(".npy"))
        row = about["clips"].index(digest(spoil))
        values[row] = video.frames_at(spoil, video.choose(36, 8), size=values.shape[2])
        np.save(manifest.with_suffix(".npy"), values)
        data = manifest.with_suffix(".npy").read_bytes()
        about |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        text = json.dumps(about).encode()
        name = manifest.with_name(name_of(text) + ".json")
        manifest.with_suffix(".npy").rename(name.with_suffix(".npy"))
        manifest.unlink()
        name.write_bytes(text)


def test_old_rows_of_variable_clips_are_made_anew_and_no_others(
    table: Path, backbone: Backbone, tmp_path: Path
) -> None:
    where = tmp_path / "store"
    fresh = extract(table, backbone, "frames", where, workers=0)
    truth = fresh.gather(range(3))
    np.testing.assert_array_equal(truth[1], video.read(tmp_path / "variable.mp4", 8, size=backbone.size))
    aged(fresh, tmp_path / "variable.mp4")
    assert verify(where).damaged == {}
    again = extract(table, backbone, "frames", where, workers=0, check=True)
    assert again.stored_now == 1 and again.store is not None and fresh.store is not None
    assert again.store.folder == fresh.store.folder, "the key has not changed"
    np.testing.assert_array_equal(again.gather(range(3)), truth)
    noted = rates.Rates(where / "rates.jsonl")
    assert [noted.get(digest) for digest in again.digests] == [True, False, True]
    assert extract(table, backbone, "frames", where, workers=0).stored_now == 0


def test_a_look_is_taken_once_and_never_without_the_videos(
    table: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = tmp_path / "store"
    aged(extract(table, backbone, "frames", where, workers=0), tmp_path / "variable.mp4")
    looked: list[str] = []
    monkeypatch.setattr(rates, "scan", lambda path: looked.append(Path(path).name) or video.scan(path))
    believed = extract(table, backbone, "frames", where, workers=0, stored_only=True)
    assert len(believed.data) == 3 and looked == []
    extract(table, backbone, "frames", where, workers=0)
    extract(table, backbone, "frames", where, workers=0)
    assert sorted(looked) == ["constant.mp4", "frames", "variable.mp4"]


def test_a_store_known_to_be_stale_is_not_believed_without_the_videos(
    table: Path, backbone: Backbone, tmp_path: Path
) -> None:
    where = tmp_path / "store"
    done = extract(table, backbone, "frames", where, workers=0)
    aged(done, tmp_path / "variable.mp4")
    rates.Rates(where / "rates.jsonl").add({done.digests[1]: False})
    with pytest.raises(StoreError, match="lacks 1 of 3 clips"):
        extract(table, backbone, "frames", where, workers=0, stored_only=True)


def test_torn_notes_of_rates_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "rates.jsonl"
    rates.Rates(path).add({"a": True})
    with path.open("a") as file:
        file.write('{"sha256": "b", "cons')
    rates.Rates(path).add({"c": False})
    known = rates.Rates(path)
    assert (known.get("a"), known.get("b"), known.get("c")) == (True, None, False)
