"""Model folders of `kshot fit`."""

from __future__ import annotations

from typing import Any

from kshot.fewshot.forms import BackboneName, Frames, Seed
from kshot.forms import Finite, Form, Names
from kshot.settings import TORCH


class TextsForm(Form):
    """Texts in place of class names.

    Attributes:
        file: that they were read from.
        sha256: of its bytes.
        of: class -> its texts in order.
    """

    file: str
    sha256: str
    of: dict[str, Names]


class RecognizerArguments(Form):
    """Arguments of a `Recognizer` that its folder keeps.

    Attributes:
        method: its name.
        frames: a clip.
        prompts: templates of class texts.
        reject: whether to reject clips of no class, or how.
        background: the class of clips that show none of the others; None for none.
        seed: of all that is random.
        precision: of the backbone's arithmetic.
        encoder: what runs its frozen blocks; PyTorch where a folder does not say.
        texts: in place of class names; None for names.
        deinterlace: whether the fields of interlaced video are taken apart.
    """

    method: str
    frames: Frames
    prompts: Names
    reject: bool | dict[str, Finite]
    background: str | None
    seed: Seed
    precision: str
    encoder: str = TORCH
    texts: TextsForm | None = None
    deinterlace: bool = False


class TaughtClip(Form):
    """A clip that a recognizer was fitted on.

    Attributes:
        name: its path, or a number.
        label: its class.
        group: what was filmed together with it.
        digest: of its bytes.
        seconds: its length; None where it is not known.
    """

    name: str
    label: str
    group: str
    digest: str
    seconds: Finite | None


class ClassifierForm(Form):
    """How a recognizer scores.

    Attributes:
        scorer: name of the method.
        background: whether there is a background class.
    """

    scorer: str
    background: bool


class ModelFile(Form):
    """`config.json` of `kshot fit`.

    Attributes:
        backbone: that it works with.
        arguments: of the `Recognizer`.
        classes: in the order of its scores.
        method: that it chose.
        decider: how it scores.
        threshold: below which a clip is rejected; None for none.
        clip_seconds: usual length of a clip.
        clips: that it was fitted on.
        report: what `fit` reported.
        files: name -> sha256 of the files beside it.
        adapted: folder of the tuned weights; None without any.
    """

    backbone: BackboneName
    arguments: RecognizerArguments
    classes: Names
    method: str
    decider: ClassifierForm
    threshold: Finite | None
    clip_seconds: Finite
    clips: list[TaughtClip]
    report: dict[str, Any]
    files: dict[str, str]
    adapted: str | None
