"""Text: the class whose name, in words, points in the direction of the query; support clips play no part."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from kshot.errors import OptionError
from kshot.heads.base import Head
from kshot.heads.formulas import cosine, frame_distances, full, pool
from kshot.heads.otam import VARIANTS, align
from kshot.options import Positive

SMOOTH = VARIANTS["otam"][0]


class Text(Head):
    """Zero-shot CLIP (Radford et al., ICML 2021, arXiv 2103.00020) on the mean of a clip's frames.

    A prepared clip is (1, D); text is (E, way, D).

    With `phases` the texts of a class are phases of the action in order, and OTAM aligns them with the frames; see
    `phase_cosine`. Then a prepared clip is (T, D), and text (E, way, K, D).

    Args:
        scale: factor on the cosine; CLIP's own training ends at 100.
        phases: whether the texts of a class are phases in order.
    """

    needs_text = True

    def __init__(self, scale: Positive = 100.0, phases: bool = False) -> None:
        super().__init__()
        self.scale, self.phases = scale, phases

    def prepare(self, clips: Tensor) -> Tensor:
        return full(clips) if self.phases else pool(clips)

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        return self.scale * (phase_cosine(query, text) if self.phases else text_cosine(query.squeeze(2), text))

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        return {} if text is None else {"text": text}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        text = fitted.get("text")
        return self.scale * (phase_cosine(query, text) if self.phases else text_cosine(query.squeeze(2), text))


def text_cosine(query: Tensor, text: Tensor | None) -> Tensor:
    """Cosine of pooled clips with class names: (E, Q, D), (E, way, D) -> (E, Q, way).

    Raises:
        OptionError: no class texts, or of another width than the clips.
    """
    return cosine(query, _fitting(query, text))


def phase_cosine(query: Tensor, text: Tensor | None) -> Tensor:
    """Mean cosine of the frames of clips with the phases of classes, aligned in order: (E, Q, T, D), (E, way, K, D) ->
    (E, Q, way).

    With d the distance of OTAM (Cao et al., CVPR 2020, arXiv 1906.11415: frames along phases and back, softness 0.1)
    between T frames and K phases at distances 1 - cosine, it is 1 - d / (T + K): for one frame and one phase their
    cosine. The paper aligns frames with frames; texts in their place are ours.

    Raises:
        OptionError: no class texts, or of another width than the clips.
    """
    text = _fitting(query, text)
    distance = align(frame_distances(query, text), SMOOTH)
    return 1 - distance / (query.shape[2] + text.shape[2])


def _fitting(query: Tensor, text: Tensor | None) -> Tensor:
    """The texts, if they are of the clips' width."""
    if text is None or text.shape[-1] != query.shape[-1]:
        found = "none" if text is None else f"{text.shape[-1]} channels"
        raise OptionError(
            f"class texts must have the {query.shape[-1]} channels of the clips, found {found}: "
            "take both from the same backbone"
        )
    return text
