"""Extraction killed at random moments, and the simulation of clusters whose workers die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kshot.activations.plan import clips_a_shard

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from cluster import Cluster, simulate  # noqa: E402


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the script finds its processes in /proc")
@pytest.mark.slow
def test_three_kills_leave_the_bytes_of_an_undisturbed_store(clips_csv: Path, clip_folder: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "kill_extract.py"), str(clips_csv), "--kills", "3", "--json"]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, "--backbone", str(clip_folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["kills"], told["shards"], told["different"], told["written_again"]) == ({"process": 3}, 14, [], 0)


# The simulation


def test_workers_without_a_fault_take_what_the_clips_take() -> None:
    found = simulate(Cluster(clips=1024, workers=4, seconds=2.0, start=0.0, hand=0.0))
    assert (found.done, found.seconds, found.ideal, found.repeated) == (1024, 512.0, 512.0, 0.0)
    late = simulate(Cluster(clips=1024, workers=4, seconds=2.0, start=10.0, hand=0.0))
    assert late.seconds == 522.0


@pytest.mark.parametrize("shares", [False, True])
def test_every_clip_is_done_once_whoever_dies(shares: bool) -> None:
    for seed in range(10):
        one = Cluster(clips=5000, workers=8, seconds=1.0, deaths=3.0, slow=0.2, shares=shares, seed=seed)
        found = simulate(one)
        assert found.done == 5000 and found.seconds >= found.ideal
        assert found.repeated <= found.deaths * clips_a_shard(5000, one.size), "at most the shard in hand"


def test_slow_workers_cost_less_where_shards_are_dealt() -> None:
    one = {"clips": 20_000, "workers": 16, "seconds": 1.0, "slow": 0.2, "seed": 1}
    dealt, own = simulate(Cluster(**one)), simulate(Cluster(**one, shares=True))
    assert dealt.seconds < 0.6 * own.seconds
    assert own.seconds == pytest.approx(3 * own.ideal, rel=0.1)
