"""A new head, tuning method and strategy are a file and a line each, and then go the whole road like any other."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from forks import Command
from kshot.fewshot.strategies import STRATEGIES
from kshot.heads import HEADS
from kshot.study import runner as study
from kshot.tuning import TUNING

HEAD = """
import torch
from torch import nn
from kshot.heads.base import Head
from kshot.heads.formulas import class_means

class Weighted(Head):
    '''Distance of frame means, every channel with a weight of its own.'''

    learns = True

    def __init__(self, dim: int = 512, scale: float = 5.0):
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.ones(dim))

    def prepare(self, clips):
        return torch.nn.functional.normalize(clips.mean(1, keepdim=True), dim=-1)

    def score(self, query, support, labels, text, way):
        apart = query.squeeze(2)[:, :, None] - class_means(support.squeeze(2), labels, way)[:, None]
        return -self.scale * (self.weight * apart.square()).sum(-1)
"""
TUNE = """
from kshot.tuning import deepest_cut, towers, unfreeze

def apply(backbone, tower="image"):
    for part in towers(backbone, tower):
        unfreeze([part.norm.bias])
    return deepest_cut(backbone.image)
"""
STRATEGY = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from kshot.draws import generator
from kshot.fewshot.strategies.base import Objective, Strategy

@dataclass(frozen=True)
class Pairs(Strategy):
    '''Two clips of a class attract each other, two of different classes do not.'''

    learns_from: ClassVar[str] = "base"
    margin: float = 0.5

    def objective(self, learner, base, text, seed):
        labels = base.data.labels

        def loss(index):
            rng = generator(seed, 17, index)
            clips = rng.choice(len(labels), 12, replace=False)
            unit = torch.nn.functional.normalize(learner.embed(base.gather(clips)).mean(1), dim=-1)
            same = torch.from_numpy(labels[clips][:, None] == labels[clips])
            return torch.where(same, 1 - unit @ unit.T, (unit @ unit.T - self.margin).relu()).mean()

        return Objective(loss)

@dataclass(frozen=True)
class Inside(Strategy):
    '''Looks at the first frame of the support alone.'''

    learns_from: ClassVar[str] = "support"

    def scores(self, learner, support, labels, query, way):
        with torch.no_grad():
            near, far = learner.embed(support[:, :1])[:, 0], learner.embed(query[:, :1])[:, 0]
        means = torch.stack([near[torch.from_numpy(labels == c)].mean(0) for c in range(way)])
        return -torch.cdist(far, means)
"""
SHAPE = ("--way", 3, "--query", 2)


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """One file each, and one line each where its family is listed."""
    for name, text in (("toy_head", HEAD), ("toy_tuning", TUNE), ("toy_strategy", STRATEGY)):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(HEADS, "toy", "toy_head:Weighted")
    monkeypatch.setitem(TUNING, "toy", "toy_tuning")
    monkeypatch.setitem(STRATEGIES, "toy", "toy_strategy:Pairs")
    monkeypatch.setitem(STRATEGIES, "toy-inside", "toy_strategy:Inside")
    yield
    for name in ("toy_head", "toy_tuning", "toy_strategy"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("arguments", "learns"),
    [
        (("--head", "toy"), {"head.weight", "backbone.image.projection.weight"}),
        (("--tuning", "toy", "--tuning-option", "tower=both"), {"backbone.image.norm.bias", "backbone.text.norm.bias"}),
        (("--strategy", "toy", "--strategy-option", "margin=0.2"), {"backbone.image.projection.weight"}),
    ],
    ids=["head", "tuning", "strategy"],
)
def test_it_is_trained_saved_and_evaluated_on_the_command_line(
    command: Command, clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path: Path, arguments: Any, learns: Any
) -> None:
    place = ("--backbone", clip_folder, "--store", warm_store)
    layers = () if "--tuning" in arguments else ("--layers", "proj")
    run, text = tmp_path / "run", ("--strategy-option", "loss=both") if "--tuning" in arguments else ()
    schedule = ("--steps", 6, "--val-every", 3, "--val-episodes", 10, "--lr", 0.01)
    code, out, err = command("train", clips_csv, "--out", run, *place, *SHAPE, *schedule, *layers, *text, *arguments)
    assert code == 0, err
    weights = load_file(run / "weights.safetensors")
    assert set(weights) == learns
    out_file = ("--out", tmp_path / "r.json", "--json")
    code, out, err = command("evaluate", clips_csv, "--adapted", run, *place, *SHAPE, "--episodes", 20, *out_file)
    assert code == 0, err
    result = json.loads(out)
    assert result["head"] == ("toy" if "--head" in arguments else "prototype")
    assert result["strategy"] == ("toy" if "--strategy" in arguments else "meta")
    assert 0 < result["accuracy"] <= 100
    written = json.loads((run / "config.json").read_text())["result"]
    assert written["trained_parameters"] == sum(w.numel() for w in weights.values())
    assert written["multiply_adds_per_step"] > 0 and json.loads((tmp_path / "r.json").read_text())["cost"]


@pytest.mark.usefixtures("toys")
def test_all_of_them_are_rows_of_a_study(clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path: Path) -> None:
    (tmp_path / "toys.toml").write_text(
        f'title = "toys"\ndata = "{clips_csv}"\nbackbone = "{clip_folder}"\nshots = [1]\nway = 3\nquery = 2\n'
        'episodes = 8\nbaseline = "frozen"\ntrain = { steps = 2, val_every = 2, val_episodes = 4 }\n'
        '[[row]]\nname = "frozen"\n[[row]]\nname = "meta"\nstrategy = "meta"\ntuning = ["toy", "partial"]\n'
        'head = ["toy", "prototype"]\n[[row]]\nname = "pairs"\nstrategy = "toy"\nlayers = "proj"\n'
        '[[row]]\nname = "inside"\nstrategy = "toy-inside"\n'
    )
    done = study.run(tmp_path / "toys.toml", tmp_path / "out", store=warm_store)
    assert not [row for row in done.rows if row.error]
    names = [line.name for line in done.summary]
    assert names == [
        "frozen", "meta, toy, toy", "meta, toy, prototype", "meta, partial, toy", "meta, partial, prototype", "pairs",
        "inside",
    ]  # fmt: skip


@pytest.mark.usefixtures("toys")
def test_an_untrained_toy_head_is_refused_before_anything_is_decoded(
    command: Command, clips_csv: Path, clip_folder: Path, tmp_path: Path
) -> None:
    place = ("--backbone", clip_folder, "--store", tmp_path / "store")
    code, out, err = command("evaluate", clips_csv, *place, *SHAPE, "--head", "toy")
    assert (code, out) == (2, "") and "head 'toy' learns and was never trained" in err
    assert not (tmp_path / "store").exists()


def test_the_toy_head_scores_as_written(toys: Any) -> None:
    from kshot.heads import get_head

    head = get_head("toy", dim=2, scale=1.0).train()
    clips = torch.tensor([[3.0, 0.0], [0.0, 2.0]])[None, :, None]
    torch.testing.assert_close(
        head(clips, clips, torch.tensor([[0, 1]])), torch.tensor([[[0.0, -2.0], [-2.0, 0.0]]]), rtol=0, atol=1e-6
    )
