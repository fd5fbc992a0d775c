"""From embeddings to an answer: probabilities of the trained classes, and whether it is one of them at all.

A scorer is a head that has been fitted to some clips: embeddings (n, T, P) in, scores (n, C) out. A classifier puts a
temperature behind it, and beside it the cosine with the nearest class mean, which says "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kshot import heads
from kshot.heads.base import Head
from kshot.heads.formulas import full, pool
from kshot.video.damage import Damage

Array = NDArray[Any]

UNKNOWN = "unknown"
FITTED, HEAD = "scorer.fitted.", "scorer.head."  # names of tensors begin so


@dataclass(frozen=True)
class Decision:
    """Answers for n clips or windows.

    Attributes:
        proba: (n, C) calibrated probabilities, columns as `Recognizer.classes_`.
        known: (n,) how much each looks like a trained class.
        labels: (n,) the likeliest class, or "unknown" where `known` is below the threshold.
        damage: what is lost of each clip, None for nothing; empty for windows.
        looks: what is unusual about the pictures of each, see `kshot.video.looks`; empty for windows.
        thresholds: (n,) of `known`, for the likeliest class of each.
    """

    proba: Array
    known: Array
    labels: Array
    damage: tuple[Damage | None, ...] = ()
    looks: tuple[tuple[str, ...], ...] = ()
    thresholds: tuple[float, ...] = ()

    @classmethod
    def joined(cls, parts: Sequence[Decision], classes: Array) -> Decision:
        """The answers of several, in order; of none, one without clips."""
        empty = np.zeros((0, len(classes)), np.float32)
        parts = parts or [cls(empty, empty[:, 0], np.zeros(0, classes.dtype))]
        proba, known, labels = (np.concatenate([getattr(p, n) for p in parts]) for n in ("proba", "known", "labels"))
        others = ("damage", "looks", "thresholds")
        return cls(proba, known, labels, *(tuple(one for p in parts for one in getattr(p, n)) for n in others))


def _own(values: Tensor) -> Tensor:
    """A copy whose layout does not remember where it came from: a model that was stored answers bit for bit alike."""
    return values.clone(memory_format=torch.contiguous_format)


class Scorer(nn.Module):
    """A head with what it took from some clips: the one form in which every method ends.

    Args:
        head: of `kshot.heads`, whatever it computes.
        options: with which the head was made.
        fitted: what `Head.fit_support` gave, for one episode.
        way: number of classes.
    """

    def __init__(self, head: Head, options: Mapping[str, Any], fitted: Mapping[str, Tensor], way: int) -> None:
        super().__init__()
        self.head, self.options, self.way = head, dict(options), way
        self.fitted = nn.Module()
        for name, value in fitted.items():
            self.fitted.register_buffer(name, _own(value))

    def forward(self, embeddings: Tensor) -> Tensor:
        query = self.head.prepare(full(embeddings))[None]
        return self.head.score_fitted(query, dict(self.fitted.named_buffers()), self.way)[0]


class Classifier(nn.Module):
    """Embeddings (n, T, P) -> proba (n, C), known (n,); see the module's text.

    Args:
        scorer: scores (n, C), or (n, C + 1) where the last class is the background.
        means: (C, P) unit vectors, the class means that `known` is the nearest cosine with.
        temperature: of the probabilities.
        background: whether the scorer's last class is one. What looks most like it is known to be none of the others:
            `known` is then below every cosine.
    """

    means: Tensor
    temperature: Tensor

    def __init__(self, scorer: Scorer, means: Tensor, temperature: float, background: bool = False) -> None:
        super().__init__()
        self.scorer, self.background = scorer, background
        self.register_buffer("means", _own(means))
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        logits, known = self.scorer(embeddings) / self.temperature, nearest(embeddings, self.means)
        if self.background:
            rest, logits = logits[:, -1], logits[:, :-1]
            known = torch.where(logits.amax(-1) > rest, known, known - 4)
        return logits.softmax(-1), known


def describe(made: Classifier) -> dict[str, Any]:
    """What besides its tensors makes a classifier, as JSON; see `restore`."""
    scorer = made.scorer
    return {"scorer": scorer.head.name, "options": scorer.options, "way": scorer.way, "background": made.background}


def restore(about: Mapping[str, Any], state: Mapping[str, Tensor]) -> Classifier:
    """The classifier of which `describe` and `state_dict` gave these, or kshot before format 3 (see `_before`)."""
    if "way" not in about:
        about, state = _before(about, state)
    options = heads.of_record(about["scorer"], about["options"])
    head = heads.get_head(about["scorer"], **options)
    fitted = {name.removeprefix(FITTED): value for name, value in state.items() if name.startswith(FITTED)}
    head.load_state_dict({name.removeprefix(HEAD): value for name, value in state.items() if name.startswith(HEAD)})
    scorer = Scorer(head, options, fitted, about["way"])
    if state["means"].ndim != 2:
        raise ValueError(f"expected class means (C, P), found {tuple(state['means'].shape)}")
    return Classifier(scorer, state["means"], float(state["temperature"]), about["background"]).eval()


def _before(about: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What model folders of format 2 hold, which had a class of its own for each of four scorers, in today's words."""
    old = {name.removeprefix("scorer."): value for name, value in state.items()}
    options: dict[str, Any] = {}
    if about["scorer"] == "Cosine":
        name, options, fitted = "prototype", {"scale": float(old["scale"])}, {"means": old["vectors"][None]}
    elif about["scorer"] == "Linear":
        name, fitted = "linear-probe", {"weight": old["weight"].T[None], "bias": old["bias"][None, None]}
    elif about["scorer"] == "Aligned":
        name, fitted = "otam", {"sequences": old["sequences"][None]}
    elif about["scorer"] == "Fused":
        scales = {"scale": float(old["visual.scale"]), "text_scale": float(old["text.scale"])}
        name, options = "fusion", {"beta": "loo", **scales}
        fitted = {"beta": old["beta"].view(1, 1, 1), "text": old["text.vectors"][None]}
        fitted["means"] = old["visual.vectors"][None]
    else:
        raise ValueError(f"no scorer {about['scorer']!r}")
    way = len(next(old[part] for part in ("vectors", "bias", "sequences", "text.vectors") if part in old))
    kept = {key: value for key, value in state.items() if not key.startswith("scorer.")}
    return (
        {"scorer": name, "options": options, "way": way, "background": about["background"]},
        kept | {f"{FITTED}{key}": value for key, value in fitted.items()},
    )


def nearest(embeddings: Tensor, means: Tensor) -> Tensor:
    """Cosine (n,) of the mean frame with the nearest of the class means (C, P)."""
    return (pool(embeddings)[:, 0] @ means.T).amax(-1)


def decide(classifier: nn.Module, embeddings: Tensor, classes: Array, threshold: float | Array) -> Decision:
    """The classifier's answers to embeddings (n, T, P), by name.

    Args:
        classifier: a `Classifier`.
        embeddings: (n, T, P).
        classes: (C,) their names.
        threshold: of `known`, below it "unknown"; one for all, or (C,) one for each class.
    """
    with torch.inference_mode():
        proba, known = (value.float().cpu().numpy() for value in classifier(embeddings))
    likeliest = proba.argmax(-1)
    thresholds = np.broadcast_to(threshold, len(classes))[likeliest]
    labels = np.where(known >= thresholds, classes[likeliest], UNKNOWN)
    return Decision(proba, known, labels, thresholds=tuple(thresholds.tolist()))
