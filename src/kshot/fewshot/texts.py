"""Class texts of a training or evaluation: which they are, whether they serve, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kshot.backbones.texts import Prompts, Wording
from kshot.datasets.texts import Descriptions
from kshot.errors import OptionError
from kshot.fewshot.learner import Learner
from kshot.heads.base import Head

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.fewshot.runs import Run


def expect_texts(
    learner: Learner,
    prompts: Sequence[str] | str,
    described: Descriptions | None,
    reading: Sequence[Sequence[str]],
    known: Sequence[str],
    run: Run | None = None,
) -> list[str]:
    """Refuses class texts that do not tell classes apart, before anything is decoded.

    Args:
        learner: that reads them.
        prompts: templates of class texts.
        described: texts in place of class names, if any.
        reading: groups of classes whose texts are read together; none where none are read.
        known: all classes of the data.
        run: that is evaluated, if any.

    Returns:
        What the text tower does not see of them, and what of the file of texts is not as it may seem, in sentences.

    Raises:
        KshotError: a file that does not fit the classes, or texts that the backbone cannot tell apart.
    """
    notes: list[str] = []
    before = run.config.get("texts") if run is not None else None
    if run is not None and before and described is None and reading:
        notes.append(
            f"run {run.folder} was trained with the texts of {before['file']}; here class names stand for them"
        )
    if described is not None:
        described.expect(dict.fromkeys(name for classes in reading for name in classes), known)
        notes += described.notes
        if not reading:
            notes.append(f"{described.file} is not used: head '{learner.head.name}' reads no class texts")
        if run is not None and before and before["file"] == described.file and before != described.record():
            notes.append(f"{described.file} has changed since the training of {run.folder}, which read it, too")
    for classes in reading:
        notes += text_notes(learner, classes, wording(prompts, described, learner.head), True)
    return notes


def wording(prompts: Sequence[str] | str, described: Descriptions | None, head: Head) -> Wording:
    """How classes are put into words for a head.

    Args:
        prompts: templates of class texts.
        described: texts in place of class names, if any.
        head: whose texts may be phases.

    Raises:
        OptionError: a head that takes phases, and nobody gives them.
        DataError: a text twice where texts are averaged.
    """
    if described is None:
        if head.phases:
            raise OptionError(
                f"head '{head.name}' aligns the phases of each class with the frames: give them as a CSV label,text, "
                "a row a phase in order, with --texts FILE"
            )
        return Wording(prompts)
    return Wording(prompts, described.of if head.phases else described.expect_apart(), head.phases)


def text_notes(learner: Learner, classes: Sequence[str], prompts: Prompts, needed: bool | None = None) -> list[str]:
    """What the text tower does not see of the class texts, in words, if they are needed: by the head, unless said.

    Raises:
        KshotError: class texts that do not tell the classes apart.
    """
    needed = learner.head.needs_text if needed is None else needed
    return learner.backbone.text_notes(classes, prompts) if needed and learner.backbone is not None else []


def class_texts(learner: Learner, classes: Sequence[str], prompts: Prompts) -> Callable[[], Tensor]:
    """A function that gives the (C, P) embeddings of class names, or (C, K, P) of their phases: computed once unless
    the text tower learns.

    Raises:
        OptionError: ready-made features have no text tower.
    """
    backbone = learner.backbone
    if backbone is None:
        raise OptionError(
            f"head '{learner.head.name}' needs class texts, but ready-made features come without a text tower: "
            f"use a head that needs none, as prototype, or data with a backbone"
        )
    if any(weight.requires_grad for weight in backbone.text.parameters()):
        return lambda: backbone.embed_text(classes, prompts)
    fixed = backbone.embed_text(classes, prompts)
    return lambda: fixed
