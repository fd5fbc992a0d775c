"""Text: the class whose name, in words, points in the direction of the query; support clips play no part."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from kshot.errors import OptionError
from kshot.heads.base import Head
from kshot.heads.formulas import cosine, pool
from kshot.options import Positive


class Text(Head):
    """Zero-shot CLIP (Radford et al., ICML 2021, arXiv 2103.00020) on the mean of a clip's frames.

    A prepared clip is (1, D); text is (E, way, D).

    Args:
        scale: factor on the cosine; CLIP's own training ends at 100.
    """

    needs_text = True

    def __init__(self, scale: Positive = 100.0) -> None:
        super().__init__()
        self.scale = scale

    def prepare(self, clips: Tensor) -> Tensor:
        return pool(clips)

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        return self.scale * text_cosine(query.squeeze(2), text)

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        return {} if text is None else {"text": text}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        return self.scale * text_cosine(query.squeeze(2), fitted.get("text"))


def text_cosine(query: Tensor, text: Tensor | None) -> Tensor:
    """Cosine of pooled clips with class names: (E, Q, D), (E, way, D) -> (E, Q, way).

    Raises:
        OptionError: no class texts, or of another width than the clips.
    """
    if text is None or text.shape[2] != query.shape[2]:
        found = "none" if text is None else f"{text.shape[2]} channels"
        raise OptionError(
            f"class texts must have the {query.shape[2]} channels of the clips, found {found}: "
            "take both from the same backbone"
        )
    return cosine(query, text)
