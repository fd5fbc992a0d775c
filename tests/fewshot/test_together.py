"""Several processes train and evaluate as one does, end together, and go on after one of them was lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crews import Crew, Crews
from forks import Forks
from kshot import processes
from kshot.errors import OptionError
from kshot.fewshot import together
from kshot.fewshot.fit import load_tensors
from kshot.fewshot.result import read_result

pytestmark = pytest.mark.slow

SETTINGS = "--way 3 --query 2 --steps 6 --val-every 3 --val-episodes 20 --lr 1e-2"

QUICK = """
import os, sys
import kshot.ranks
kshot.ranks.BEAT, kshot.ranks.GRACE = 0.1, 1.0
rank = int(os.environ.get("RANK", 0))
"""
"""Begins a script: signs of life come often, so that losses are noticed at once."""

READ_ONLY = """
def refuse(event, arguments):
    writes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
    writes |= event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
    if writes and any(str(one).startswith(FOLDERS) for one in arguments):
        os.write(2, f"rank {rank} wrote: {event} {arguments}".encode())
        os._exit(99)
if rank:
    sys.addaudithook(refuse)
"""
"""Goes on: whoever is not the first process ends with 99 where it writes a file."""

KILL = """
from kshot.fewshot import fit
step = fit._Loop._step
def killed(self, number):
    if rank == VICTIM and number == 4:
        os.kill(os.getpid(), 9)
    return step(self, number)
fit._Loop._step = killed
"""


@pytest.fixture(scope="module")
def crews(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crews]:
    with Crews(tmp_path_factory.mktemp("crews")) as made:
        yield made


Train = Callable[..., Crew]


@pytest.fixture
def train(crews: Crews, clips_csv: Path, clip_folder: Path, warm_store: Path) -> Train:
    """`kshot train` on the small clips in so many processes."""

    def run(out: Path, world: int, more: str = "", before: str = "", data: Path | None = None) -> Crew:
        told = f"train {data or clips_csv} --backbone {clip_folder} --store {warm_store} --out {out} {SETTINGS} {more}"
        return crews(f"{QUICK}{before}\nfrom kshot.cli import main\nmain({told.split()})", world)

    return run


def config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def expect_same_run(one: Path, other: Path) -> None:
    """Weights equal to 1e-6, the same choice on val, the same config but for times and how it was computed."""
    (weights, _), (found, _) = (load_tensors(folder / "weights.safetensors") for folder in (one, other))
    assert weights.keys() == found.keys()
    for name, value in weights.items():
        assert torch.allclose(value, found[name], rtol=0, atol=1e-6), name
    for a, b in zip(lines(one), lines(other), strict=True):
        assert a.get("val_accuracy") == b.get("val_accuracy")
        assert a.get("loss") == pytest.approx(b.get("loss"), abs=1e-5)
    first, second = (
        {k: v for k, v in config(folder).items() if k not in ("result", "computed", "seal", "files")}
        for folder in (one, other)
    )
    assert first == second


def test_processes_train_as_one_that_accumulates_and_one_writes(train: Train, tmp_path: Path, warm_store: Path) -> None:
    folders = f"FOLDERS = ({str(tmp_path)!r}, {str(warm_store)!r})\n"
    alone = train(tmp_path / "one", 1, "--accumulate 4")
    two = train(tmp_path / "two", 2, "--accumulate 2", folders + READ_ONLY)
    four = train(tmp_path / "four", 4, "", folders + READ_ONLY)
    assert (alone.codes, two.codes, four.codes) == ([0], [0, 0], [0, 0, 0, 0]), (alone.err, two.err, four.err)
    for name in ("two", "four"):
        expect_same_run(tmp_path / "one", tmp_path / name)
    assert config(tmp_path / "four")["schedule"]["accumulate"] == 4
    assert config(tmp_path / "four")["computed"][0]["processes"] == "4"
    assert "trained weights" in four.out[0] and four.out[1:] == ["", "", ""], "one process tells"
    assert four.err[1:] == ["", "", ""]


EVALUATE = """
import kshot
run, out = FOLDER / "direct", FOLDER / "results"
kshot.train(DATA, run, backbone=CLIP, store=STORE, strategy="direct", way=3, query=2, val_episodes=5)
shape = {"way": 3, "query": 2, "store": STORE}
for name, adapted, head, episodes in (("otam", ADAPTED, "otam", 450), ("direct", run, None, 7)):
    kshot.evaluate(DATA, CLIP, adapted, head=head, episodes=episodes, out=out / f"{name}.json", **shape)
"""


def test_every_episode_is_the_same_in_one_two_and_four_processes(
    crews: Crews, tmp_path: Path, clips_csv: Path, clip_folder: Path, warm_store: Path, adapted: Path
) -> None:
    found = []
    for world in (1, 2, 4):
        (folder := tmp_path / str(world)).mkdir()
        places = {"FOLDER": folder, "DATA": clips_csv, "CLIP": clip_folder, "STORE": warm_store, "ADAPTED": adapted}
        named = "\n".join(f"{name} = Path({str(path)!r})" for name, path in places.items())
        crew = crews(f"from pathlib import Path\n{QUICK}{named}{EVALUATE}", world)
        assert crew.codes == [0] * world, crew.err
        results = [read_result(folder / "results" / f"{name}.json") for name in ("otam", "direct")]
        chosen = config(folder / "direct")["result"]
        found.append((chosen["chosen"], chosen["val_accuracy"], lines(folder / "direct")))
        found[-1] += tuple((r.episode_accuracy.tolist(), r.per_class, r.confusion) for r in results)
    assert found[0] == found[1] == found[2]
    assert len(found[0][3][0]) == 450


@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_process_ends_the_other_with_one_line_and_the_run_goes_on(
    train: Train, tmp_path: Path, victim: int
) -> None:
    broken = train(tmp_path / "run", 2, "", KILL.replace("VICTIM", str(victim)))
    assert (broken.codes[victim], broken.codes[1 - victim]) == (-signal.SIGKILL, 2), broken.err
    told = broken.err[1 - victim].strip()
    assert told.startswith(f"kshot: rank {victim} of 2 is gone") and "--resume" in told and "\n" not in told
    other = train(tmp_path / "run", 1, "--resume")
    assert other.codes == [2] and "add --accumulate 2 to keep its numbers" in other.err[0]
    world = 1 + victim  # as one process, and as two again
    again = train(tmp_path / "run", world, f"--resume --accumulate {2 // world}")
    assert again.codes == [0] * world, again.err
    whole = train(tmp_path / "whole", 1, "--accumulate 2")
    assert whole.codes == [0], whole.err
    expect_same_run(tmp_path / "whole", tmp_path / "run")


CTRL_C = """
from kshot.fewshot import fit
step = fit._Loop._step
def asked(self, number):
    if rank == 1 and number == 4:
        os.kill(os.getpid(), 2)
    return step(self, number)
fit._Loop._step = asked
"""


def test_ctrl_c_in_one_process_stops_all_at_one_step(train: Train, tmp_path: Path) -> None:
    stopped = train(tmp_path / "run", 2, "", CTRL_C)
    assert stopped.codes == [130, 130], stopped.err
    assert all(said.startswith("kshot: stopped") and said.count("\n") == 1 for said in stopped.err), stopped.err
    assert json.loads(load_tensors(tmp_path / "run" / "checkpoint.safetensors")[1]["fit"])["step"] == 5


SILENT = """
from kshot.fewshot import fit
kshot.ranks.PATIENCE = 1.0
def silent(self, number):
    import time
    while kshot.processes._work.group._store.check(["here/0"]):  # until the first process and its store are gone
        time.sleep(0.1)
if rank == 1:
    kshot.ranks._Watch._look = lambda self, over: None
    fit._Loop._step = silent
"""


def test_a_process_that_gives_no_sign_of_life_ends_the_others(train: Train, tmp_path: Path) -> None:
    crew = train(tmp_path / "run", 2, "", SILENT)
    assert crew.codes[0] == 2 and crew.codes[1] != 0
    assert crew.err[0].startswith("kshot: rank 1 of 2 is gone") and crew.err[0].count("\n") == 1


def test_processes_that_differ_are_named_before_anything_is_computed(
    train: Train, tmp_path: Path, clips_csv: Path
) -> None:
    other = clips_csv.with_name("other.csv")
    other.write_text("\n".join(clips_csv.read_text().splitlines()[:-1]) + "\n")
    load = f"import kshot.datasets\nload = kshot.datasets.load\nkshot.datasets.load = lambda one: load({str(other)!r})"
    for change, told in (
        ("kshot.__version__ = '0.0.9'", "rank 1 differs from rank 0 in kshot (0.0.9, rank 0: "),
        ("sys.argv = []\nos.environ['MORE'] = '1'", "rank 1 differs from rank 0 in lr (0.5, rank 0: 0.01)"),
        (load, "rank 1 differs from rank 0 in clips (111, rank 0: 112)"),
    ):
        before = f"if rank == 1:\n    {change.replace(chr(10), chr(10) + '    ')}\n"
        if "lr (" in told:
            before += "import kshot.settings as s\nof = s.Training.of.__func__\n"
            before += "if rank: s.Training.of = classmethod(lambda c, v: of(c, dict(v) | {'lr': 0.5}))\n"
        crew = train(tmp_path / "run", 2, "", before)
        assert crew.codes == [2, 2], crew.err
        for said in crew.err:
            assert told in said and said.count("\n") == 1, said
        assert not (tmp_path / "run").exists()


SLOW = """
import time, types
def loads(text):
    time.sleep(0.5)
    return json.loads(text)
import json
if rank == 1:
    kshot.ranks.json = types.SimpleNamespace(dumps=json.dumps, loads=loads)
    kshot.__version__ = "0.0.9"
"""


def test_the_first_process_stays_until_all_have_read_what_differs(train: Train, tmp_path: Path) -> None:
    crew = train(tmp_path / "run", 2, "", SLOW)
    assert crew.codes == [2, 2]
    assert all("rank 1 differs from rank 0 in kshot (0.0.9" in said for said in crew.err), crew.err


def test_other_bytes_under_the_same_names_are_told_before_training(train: Train, tmp_path: Path) -> None:
    change = "import kshot.fewshot.together as t\nif rank: t.content = lambda part: __import__('numpy').array(['x'])"
    crew = train(tmp_path / "run", 2, "", change)
    assert crew.codes == [2, 2] and all("rank 1 differs from rank 0 in data" in said for said in crew.err), crew.err


def test_an_error_of_one_process_is_told_by_all(train: Train, tmp_path: Path) -> None:
    fail = "import kshot.fewshot.training as t\nfrom kshot.errors import DataError\n"
    fail += "def lost(*_): raise DataError('the disk of this machine is gone')\nif rank == 1: t._learn = lost"
    crew = train(tmp_path / "run", 2, "", fail)
    assert crew.codes == [2, 2]
    assert crew.err[1] == "kshot: the disk of this machine is gone\n"
    assert crew.err[0] == "kshot: rank 1 failed: the disk of this machine is gone\n"


def test_whoever_does_not_come_is_named(train: Train, tmp_path: Path) -> None:
    for missing, told in ((1, "of 2 processes, rank 1 did not come within 2 s"), (0, "rank 1 on")):
        crew = train(tmp_path / "run", 2, "", f"kshot.ranks.JOINING = 2.0\nif rank == {missing}: raise SystemExit")
        assert crew.codes[1 - missing] == 2
        assert crew.err[1 - missing].startswith(f"kshot: {told}") and crew.err[1 - missing].count("\n") == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"WORLD_SIZE": "2"}, "RANK and MASTER_ADDR and MASTER_PORT are not set"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "here", "MASTER_PORT": "1"}, "RANK must be 0 to 1"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number"),
    ],
)
def test_half_an_environment_is_refused(given: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OptionError, match=told):
        processes.asked()


def test_one_process_knows_nothing_of_others(
    forks: Forks, clips_csv: Path, clip_folder: Path, warm_store: Path
) -> None:
    arguments = ["evaluate", clips_csv, "--backbone", clip_folder, "--store", warm_store, "--way", 2, "--episodes", 5]
    script = "import sys\nfrom kshot.cli import main\ntry: main(sys.argv[1:])\nfinally: assert 'kshot.ranks' not in "
    assert forks(script + "sys.modules", *arguments).returncode == 0
    assert (processes.rank(), processes.world(), processes.first(), processes.told()) == (0, 1, True, True)
    assert processes.from_first(lambda: 3) == 3 and list(processes.dealt(range(3))) == [0, 1, 2]


def test_torchrun_starts_it(tmp_path: Path, clips_csv: Path, clip_folder: Path, warm_store: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "kshot.cli",
    ]
    asked = ["evaluate", clips_csv, "--backbone", clip_folder, "--store", warm_store, "--way", 2, "--episodes", 300]
    done = subprocess.run(
        [*command, *map(str, asked), "--json"], capture_output=True, text=True, env=os.environ, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["episodes"] == 300


def test_groups_of_unlike_length_are_told_apart_by_what_they_say() -> None:
    """NumPy keeps longer ones elsewhere than in the array itself, as a data set of very many clips has them."""
    kind = np.dtypes.StringDType()
    one, other = (np.array(["source 1", f"filmed on the same day, {end}"], kind) for end in "ab")
    assert together._digest([one]) == together._digest([one.copy()]) != together._digest([other])
