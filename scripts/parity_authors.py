"""Compares heads with their authors' own functions, run from a checkout of theirs; nothing of it is copied or kept.

    python scripts/parity_authors.py transclip FOLDER    of MaxZanella/transduction-for-vlms at 6a9e8f3 (AGPL-3.0)
    python scripts/parity_authors.py clap FOLDER         of jusiro/CLAP at dbdf409 (MIT)

Drawn episodes of 5 classes, half with 1 and half with 5 shots, as those of `parity.py`, in single precision. Of
TransCLIP the whole solver is run, with gamma fixed as the head has it: as it is, and with the table of neighbours
replaced by one in which each clip has its own row (docs/heads.md says why). Of CLAP the multipliers, the constraint
and the scores are theirs; the steps are PyTorch's SGD with the settings of their configuration. LP++'s repository has
no licence that would let it be run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from parity import SHOTS, WAY, drawn
from torch import Tensor
from torch.nn import functional as F

from kshot.heads import get_head

Episode = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Queries (Q, D), support (N, D), labels of both, class texts (way, D), all vectors of unit length."""


def own_rows(query: Tensor, support: Tensor, count: int, neighbours: int = 3) -> Tensor:
    """Cosines (Q + N, Q) of each query, then each support clip, with its nearest queries; a query leaves out itself."""
    table = torch.cat([query, support]) @ query.T
    hidden = table - 9 * torch.eye(len(table), count)
    near = hidden.topk(neighbours, dim=1).indices
    return table * torch.zeros_like(table).scatter(1, near, 1.0)


def transclip(folder: Path, rows: Callable[..., Tensor] | None = None) -> Callable[[Episode], Tensor]:
    """Their solver on the CPU, with the head's gamma alone, and with `rows` in place of its table of neighbours."""
    sys.path.insert(0, str(folder))
    from TransCLIP_solver import TransCLIP as solver

    def parameters(labels: Tensor, clips: Tensor) -> tuple[float, list[float], Tensor, Tensor]:
        trust, _, clips, labels = given(labels, clips)
        gamma: Any = get_head("transclip").gamma
        return trust, [gamma], clips, labels

    given, solver.get_parameters = solver.get_parameters, parameters
    solver.cls_acc = lambda *_: 0.0  # which only prints and chooses among gammas, and fails with today's NumPy
    if rows is not None:
        solver.build_affinity_matrix = rows
    for kind in (torch.Tensor, torch.nn.Module):
        kind.cuda = lambda self: self  # type: ignore[method-assign,assignment]

    def score(episode: Episode) -> Tensor:
        query, support, asked, labels, text = episode
        shown = F.one_hot(labels)
        return solver.TransCLIP_solver(support, shown, support, labels, query, asked, text.T, verbose=False)[0]

    return score


def clap(folder: Path) -> Callable[[Episode], Tensor]:
    """Their adapter, trained by SGD as their configuration says, on the clips as they are."""
    names = ("dassl", "dassl.engine", "dassl.metrics", "dassl.utils", "dassl.optim", "clip", "clip.clip",
             "clip.simple_tokenizer", "datasets", "datasets.imagenet_templates", "tqdm")  # fmt: skip
    stubs = {name: mock.MagicMock() for name in names}
    stubs["dassl.engine"].SimpleTrainer = object
    stubs["dassl.engine"].TRAINER_REGISTRY.register = lambda: lambda kind: kind
    theirs = types.ModuleType("adapters")
    with mock.patch.dict(sys.modules, stubs):
        exec(compile((folder / "trainers" / "adapters.py").read_text(), "adapters.py", "exec"), theirs.__dict__)
    chosen = types.SimpleNamespace(INIT="ZS", CONSTRAINT="l2")
    config = types.SimpleNamespace(TRAINER=types.SimpleNamespace(ADAPTER=chosen))

    def score(episode: Episode) -> Tensor:
        query, support, _, labels, text = episode
        model = types.SimpleNamespace(dtype=torch.float32, logit_scale=torch.tensor(math.log(100)))
        adapter = theirs.AdapterMethod(config, model, 10 * text)
        model.adapter = adapter

        def scores(clips: Tensor) -> Tensor:
            found: Tensor = theirs.CustomCLIP.forward_lp(model, clips)
            return found

        adapter.init_lagrangian_multipliers(labels, scores(support).detach())
        descent = torch.optim.SGD([adapter.prototypes], 1e-5, momentum=0.9)
        for step in range(300):
            loss = F.cross_entropy(scores(support), labels) + adapter.zero_shot_constraint()
            descent.zero_grad()
            loss.backward()
            descent.step()
            descent.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * step / 300))
        return scores(query).detach()

    return score


def compared(name: str, theirs: Callable[[Episode], Tensor], episodes: int) -> str:
    """How often both give the same class, in words."""
    alike, right, count = 0, 0, 0
    head = get_head(name)
    for shot in SHOTS:
        for number in range(episodes // len(SHOTS)):
            query, support, asked, labels, text = drawn(shot, number)
            clips = (F.normalize(query.mean(1), dim=1).float(), F.normalize(support.mean(1), dim=1).float())
            names = F.normalize(text, dim=1).float()
            with contextlib.redirect_stdout(io.StringIO()):
                others = theirs((*clips, asked, labels, names)).argmax(1)
            with torch.no_grad():
                mine = head(clips[0][None, :, None], clips[1][None, :, None], labels[None], names[None])[0].argmax(1)
            alike += int((mine == others).sum())
            right += int((mine == asked).sum()) - int((others == asked).sum())
            count += len(asked)
    return f"{100 * alike / count:.2f} % the same of {count:,} answers, accuracy {100 * right / count:+.2f} points"


def lines(name: str, folder: Path, episodes: int) -> Iterator[str]:
    if name == "clap":
        yield f"clap: {compared(name, clap(folder), episodes)}"
        return
    yield f"transclip, as it is: {compared(name, transclip(folder), episodes)}"
    yield f"transclip, each clip's own row: {compared(name, transclip(folder, own_rows), episodes)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("head", choices=("clap", "transclip"))
    parser.add_argument("folder", type=Path, help="a checkout of the authors' repository")
    parser.add_argument("--episodes", type=int, default=500, help=f"of {WAY} classes")
    given = parser.parse_args()
    for line in lines(given.head, given.folder, given.episodes):
        print(line, flush=True)


if __name__ == "__main__":
    main()
