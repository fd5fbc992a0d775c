"""Stores in an S3 of this machine's own: several processes, kills, and what S3 can say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clips import write_table
from forks import Command
from kshot import remote
from kshot.activations.check import verify
from kshot.activations.extraction import extract
from kshot.backbones.backbone import Backbone
from kshot.datasets import load as load_data
from kshot.fewshot.evaluation import evaluate

fsspec = pytest.importorskip("fsspec")
ROOT = Path(__file__).parents[1]


def test_videos_and_store_in_s3(
    bucket: str, clips_csv: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine extracts; another opens no video and finds the accuracy of a store in a folder."""
    system = fsspec.filesystem("s3")
    data = load_data(clips_csv).select("test")
    files = [i for i, path in enumerate(data.paths) if path.is_file()]
    some = data.subset(np.array(files))
    rows = []
    for i, path in enumerate(some.paths):
        system.pipe(f"{bucket}/videos/{path.name}", path.read_bytes())
        rows.append((f"s3://{bucket}/videos/{path.name}", some.classes[some.labels[i]], "test", ""))
    table = write_table(tmp_path / "clips.csv", rows)
    store = f"s3://{bucket}/both"
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "one"))
    for number in (0, 1):
        extract(table, backbone, "embedding", store, workers=1, shard=f"{number}/2")
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "other"))
    system.rm(f"{bucket}/videos", recursive=True)
    monkeypatch.setattr(remote, "expect", lambda places: None)
    how = {"episodes": 20, "way": 2, "query": 1, "head": "prototype"}
    there = evaluate(table, backbone, store=store, stored_only=True, **how)
    here = evaluate(some, backbone, store=tmp_path / "store", **how)
    assert there.clips == here.clips == len(some)
    assert there.accuracy == pytest.approx(here.accuracy, abs=1e-6)
    assert verify(store).damaged == {}


def test_kills_leave_the_bytes_of_an_undisturbed_store(bucket: str, clips_csv: Path, clip_folder: Path) -> None:
    """Two processes with homes of their own write one address; one of them is killed, three times."""
    command = [sys.executable, str(ROOT / "scripts" / "kill_extract.py"), str(clips_csv), "--kills", "3", "--json"]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, "--backbone", str(clip_folder), "--address", f"s3://{bucket}/kills"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["kills"], told["shards"], told["different"], told["written_again"]) == ({"process": 3}, 14, [], 0)


def test_a_bucket_that_there_is_not_and_an_s3_that_does_not_answer_are_one_line(
    bucket: str, clips_csv: Path, clip_folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    asked = ("extract", clips_csv, "--backbone", clip_folder, "--cut", "embedding", "--store")
    told = "kshot: no such bucket: s3://nobody-has-it: make it first, or name another\n"
    assert command(*asked, "s3://nobody-has-it/store") == (2, "", told)
    assert command("verify", "s3://nobody-has-it/store") == (2, "", told)
    code, _, said = command("verify", f"s3://{bucket}/empty")
    assert code == 2 and f"s3://{bucket}/empty is not a kshot store" in said
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    code, out, said = command(*asked, f"s3://{bucket}/store")
    assert (code, out, said.count("\n")) == (2, "", 1) and f"s3://{bucket}/store/" in said and "does not answer" in said
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_bucket_that_may_not_be_written_is_one_line(
    bucket: str, clips_csv: Path, clip_folder: Path, command: Command
) -> None:
    system = fsspec.filesystem("s3")
    system.mkdir("closed")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::closed/*"}
    system.call_s3(
        "put_bucket_policy", Bucket="closed", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    )
    code, out, said = command(
        "extract", clips_csv, "--backbone", clip_folder, "--cut", "embedding", "--store", "s3://closed/store"
    )
    assert (code, out, said.count("\n")) == (2, "", 1) and "may not be written" in said
