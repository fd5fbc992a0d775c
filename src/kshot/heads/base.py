"""What every head is: query and support clips of an episode in, one score a class out.

Letters in shapes: E episodes, Q queries, N support clips, T frames, D channels, n clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kshot.errors import CheckpointError, OptionError
from kshot.heads.formulas import full


class Head(nn.Module):
    """Base of all heads. A subclass writes `score`, or `fit_support` and `score_fitted` where the support can be fitted
    before a query is known; and `prepare` when part of its work concerns one clip alone.

    Embeddings arrive as the backbone gives them, not normalised. Scores are higher for closer classes and
    carry the head's own scale, so that cross-entropy applies to them directly. All arithmetic is in single
    precision or better, also under autocast.
    """

    needs_text: ClassVar[bool] = False
    """Whether scores need the embeddings of the class names."""
    learns: ClassVar[bool] = False
    """Whether the head has parameters of its own that training sets."""
    works_untrained: ClassVar[bool] = False
    """Whether a head that learns gives sensible scores from its initial parameters."""
    is_graph: ClassVar[bool] = True
    """Whether `prepare` and `score_fitted` take the same steps whatever the values, as an export needs."""

    transductive: ClassVar[bool] = False
    """Whether a query's scores depend on the other queries of its episode."""
    by_change: ClassVar[bool] = False
    """Whether its clips are pooled over places by how much each of them changes, see `kshot.backbones.places`."""
    phases: bool = False
    """Whether class texts are phases of the action in order, (E, way, K, D), rather than one vector a class."""
    least_frames: ClassVar[int] = 1
    """Frames that a clip must have at least."""

    before: ClassVar[Mapping[str, Any]] = {}
    """Options whose default was another once: what holds for a file that does not name them, see `of_record`."""

    draws: ClassVar[bool] = False
    """Whether scores depend on random numbers of the episode; `score` then takes `numbers`, too."""

    name: str = "head"
    """What the command line calls this head; `get_head` sets it."""

    was_trained: Tensor

    def __init__(self) -> None:
        super().__init__()
        if self.learns:
            self.register_buffer("was_trained", torch.tensor(False))

    @property
    def trained(self) -> bool:
        """Whether training has set the parameters. Saved with them; training says `head.trained = True`."""
        return not self.learns or bool(self.was_trained)

    @trained.setter
    def trained(self, value: bool) -> None:
        if self.learns:
            self.was_trained.fill_(value)

    def prepare(self, clips: Tensor) -> Tensor:
        """The part of the work that concerns one clip alone: (n, T, D) -> (n, T', D').

        Done once a clip instead of once an episode: `head(q, s, labels, text)` equals
        `head(prepare(q), prepare_support(s, text of s), labels, text, prepared=True)`.
        """
        return clips

    def prepare_support(self, clips: Tensor, text: Tensor | None = None, prepared: Tensor | None = None) -> Tensor:
        """The same for clips that serve as support: (n, T, D) -> (n, T'', D').

        Args:
            clips: (n, T, D) embeddings.
            text: (n, D) embedding of each clip's own class name, for heads that mix them into support clips.
            prepared: what `prepare` gave for these clips, where that is known already.
        """
        return self.prepare(clips) if prepared is None else prepared

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        """Scores (E, Q, way) of prepared clips: query (E, Q, T', D'), support (E, N, T', D'), labels (E, N)."""
        if type(self).score_fitted is Head.score_fitted:
            raise NotImplementedError(f"{type(self).__name__} must define score(), or fit_support() and score_fitted()")
        return self.score_fitted(query, self.fit_support(support, labels, text, way), way)

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        """All that scores take from the support, found once for any number of later queries; see `score_fitted`.

        By default the clips as they are. A head that computes something of an episode (class means, a classifier)
        gives that instead: it is less to keep, and no query waits for it.

        Args:
            support: (E, N, T', D') prepared clips.
            labels: (E, N) class of each.
            text: (E, way, D) embeddings of the class names, None without.
            way: number of classes.

        Returns:
            Tensors by name, as many as the head likes.
        """
        return {"support": support, "labels": labels} | ({} if text is None else {"text": text})

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        """Scores (E, Q, way) of prepared queries (E, Q, T', D') by what `fit_support` gave; those of `score`."""
        return self.score(query, fitted["support"], fitted["labels"], fitted.get("text"), way)

    def pairs(self, clips: Tensor, shot: int) -> Tensor | None:
        """What scores take from every pair of prepared clips: (n, T', D') -> (n, n, ...); see `kshot.heads.pairs`.

        Args:
            clips: (n, T', D') prepared, for query and support alike.
            shot: support clips of each class.

        Returns:
            None, as by default, where scores take more than pairs.
        """
        return None

    def score_pairs(self, table: Tensor, query: Tensor, support: Tensor, labels: Tensor, way: int) -> Tensor:
        """Scores (E, Q, way), those of `score`, by what `pairs` gave.

        Args:
            table: (n, n, ...) of all clips.
            query: (E, Q) numbers of clips.
            support: (E, N) numbers of clips, as many of each class.
            labels: (E, N) class of each support clip.
            way: number of classes.
        """
        raise NotImplementedError(f"{type(self).__name__} must define score_pairs() beside pairs()")

    def auxiliary(
        self,
        query: Tensor,
        support: Tensor,
        class_of_query: Tensor,
        class_of_support: Tensor,
        class_texts: Tensor | None,
    ) -> Tensor:
        """A further training loss of this head, none by default.

        Args:
            query: (E, Q, T, D) embeddings of the episodes.
            support: (E, N, T, D) embeddings of the episodes.
            class_of_query: (E, Q), indices into `class_texts`.
            class_of_support: (E, N), indices into `class_texts`.
            class_texts: (C, D) embeddings of the names of all base classes.

        Returns:
            A scalar, added to the episodes' cross-entropy.
        """
        return query.new_zeros(())

    def forward(
        self,
        query: Tensor,
        support: Tensor,
        labels: Tensor,
        text: Tensor | None = None,
        prepared: bool = False,
        numbers: Sequence[int] | None = None,
        way: int | None = None,
    ) -> Tensor:
        """Score each query against each class of its episode.

        Args:
            query: (E, Q, T, D) embeddings, raw or prepared.
            support: (E, N, T, D) embeddings, raw or prepared.
            labels: (E, N) class of each support clip, 0..way-1, in any order.
            text: (E, way, D) embeddings of the class names, for heads that need them; (E, way, K, D) where they take
                phases.
            prepared: query and support come from `prepare` and `prepare_support`.
            numbers: (E,) of the episodes in their sequence, for heads that draw; 0, 1, 2 ... by default.
            way: number of classes; by default that of the texts, or the largest label and 1, for which a GPU is waited.

        Returns:
            (E, Q, way), higher is closer.

        Raises:
            OptionError: shapes that do not belong together, or class texts missing.
            CheckpointError: the head learns and was never trained.
        """
        self._check(query, support, labels, text)
        with torch.autocast(query.device.type, enabled=False):
            query, support = full(query), full(support)
            text = None if text is None else full(text)
            if way is None or text is not None:
                way = int(labels.max()) + 1 if text is None else text.shape[1]
            if not prepared:
                query, support = self._prepare_all(query), self._prepare_support(support, labels, text)
            if self.draws:
                own = range(len(query)) if numbers is None else numbers
                return self.score(query, support, labels, text, way, numbers=own)  # type: ignore[call-arg]
            return self.score(query, support, labels, text, way)

    def expect_trained(self) -> None:
        """Refuse to score with parameters that were never trained, where they would give noise."""
        if self.learns and not (self.works_untrained or self.training or self.trained):
            raise CheckpointError(
                f"head '{self.name}' learns and was never trained: its scores would be noise. Train it with "
                f"`kshot train ... --head {self.name}` and give the run with --adapted"
            )

    def expect_frames(self, frames: int, unit: int = 1) -> None:
        """Refuse clips of fewer rows than the head compares.

        Args:
            frames: of a clip.
            unit: frames that the backbone makes one row of, see `kshot.backbones.backbone.Backbone`.

        Raises:
            OptionError: there are fewer.
        """
        if frames // unit < self.least_frames:
            if unit > 1:
                raise OptionError(
                    f"head '{self.name}' compares successive embeddings, and this backbone gives one for {unit} "
                    f"frames: expected at least {self.least_frames * unit} frames a clip, found {frames}"
                )
            raise OptionError(
                f"head '{self.name}' compares successive frames: expected at least {self.least_frames} a clip, found "
                f"{frames}"
            )

    def expect_channels(self, clips: Tensor, dim: int) -> None:
        """Refuse clips whose channels are not those that the head's parameters were made for."""
        if clips.shape[-1] != dim:
            raise OptionError(
                f"head '{self.name}' was made for {dim} channels, found {clips.shape[-1]}: make it with "
                f"dim={clips.shape[-1]}"
            )

    def _prepare_all(self, clips: Tensor) -> Tensor:
        """Clips of episodes (E, n, T, D) prepared."""
        prepared = self.prepare(clips.flatten(0, 1))
        return prepared.reshape(*clips.shape[:2], *prepared.shape[1:])

    def _prepare_support(self, clips: Tensor, labels: Tensor, text: Tensor | None) -> Tensor:
        """The same for support clips, each with the text (E, way, ...) of its label (E, n)."""
        if text is not None:
            rest = text.shape[2:]
            text = text.gather(1, labels.view(*labels.shape, *[1] * len(rest)).expand(-1, -1, *rest)).flatten(0, 1)
        prepared = self.prepare_support(clips.flatten(0, 1), text)
        return prepared.reshape(*clips.shape[:2], *prepared.shape[1:])

    def _check(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None) -> None:
        self.expect_trained()
        if self.needs_text and text is None:
            raise OptionError(
                f"head '{self.name}' compares clips with class names, and found no class texts: use data with "
                "class names and a backbone with a text tower, or a head that needs none, as 'prototype'"
            )
        fits = (
            query.ndim == support.ndim == 4
            and query.shape[0] == support.shape[0]
            and query.shape[3] == support.shape[3]
            and labels.shape == support.shape[:2]
            and (text is None or (text.ndim == 3 + self.phases and text.shape[0] == query.shape[0]))
        )
        if not fits:
            found = ", ".join(
                f"{name} {tuple(x.shape)}"
                for name, x in (("query", query), ("support", support), ("labels", labels), ("text", text))
                if x is not None
            )
            raise OptionError(
                "a head expects query (E, Q, T, D), support (E, N, T, D), labels (E, N), text "
                f"{'(E, way, K, D)' if self.phases else '(E, way, D)'}; found {found}"
            )
