"""Keyword arguments of public functions, for editors and type checkers.

Written by `python scripts/settings_types.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict


class TrainingKeywords(TypedDict, total=False):
    """Settings of `kshot.train`; what is left out has its default."""

    head: str | None
    """the head that scores episodes; prototype, or the adapted run's, by default"""

    head_options: Mapping[str, Any] | None
    """NAME=VALUE of the head; may be repeated"""

    strategy: str
    """meta, finetune, finetune-meta or direct"""

    tuning: str
    """partial, full, lora, ...; see docs/tuning.md"""

    layers: str | int | None
    """partial: proj, block, block+ln_post+proj, or last k"""

    strategy_options: Mapping[str, Any] | None
    """NAME=VALUE of the strategy; may be repeated"""

    tuning_options: Mapping[str, Any] | None
    """NAME=VALUE of the tuning; may be repeated"""

    way: int
    """classes an episode"""

    query: int
    """query clips a class"""

    shared_group: bool
    """a query may share its source with a support clip"""

    keep_copies: bool
    """let clips stay that hold the same bytes as another"""

    shot: int
    """support clips a class"""

    steps: int
    """optimiser steps"""

    lr: float
    """learning rate"""

    optimizer: str
    """adam, adamw or sgd"""

    schedule: str
    """cosine or constant"""

    weight_decay: float
    """weight decay"""

    momentum: float
    """momentum of sgd"""

    warmup: int
    """steps of linear warm-up"""

    accumulate: int
    """batches or episodes a step"""

    max_grad_norm: float
    """largest gradient norm, 0 for none"""

    exact: bool
    """train from frames, batch norms in training mode"""

    penalty: float | str
    """pull of what learns to where it began: a number, or 1/N for N shots"""

    seed: int
    """names the draws; the same seed, the same table"""

    select: str
    """classes that choose the best weights: val, or none"""

    val_every: int
    """steps between validations on the val classes"""

    val_episodes: int
    """episodes of a validation"""

    patience: int
    """validations without a gain until the end, 0 for never"""

    frames: int | None
    """frames a clip; 8 by default, or the unit of a backbone that sees clips"""

    resize: str
    """before the crop: short, short-256, squash, squash-256, squash-257, ...-bilinear; docs/data.md"""

    deinterlace: bool
    """take the fields of interlaced video apart (yadif)"""

    prompts: str | Sequence[str]
    """template of class texts with one {}, or clip for CLIP's own; may be repeated"""

    texts: str | Path | None
    """CSV label,text: texts that describe classes, in place of their names"""

    views: int
    """stored views of a base clip, one drawn a visit"""

    augment: str | Sequence[str]
    """what views change: some of time,crop,flip; crops: a square for each frame"""

    no_flip: Sequence[str] | None
    """a class never mirrored, or none; else those with left, right or clockwise in their name"""

    device: str
    """cpu, cuda, cuda:N, mps (Apple's GPU) or auto"""

    precision: str
    """float32, bfloat16 or float16"""

    encoder: str
    """what runs the frozen blocks: torch, compile, or on the CPU onnx or onnx-int8; see docs"""

    store: str | Path | None
    """folder or address of stored activations; $KSHOT_HOME/store by default"""

    stored_only: bool
    """never open a video"""

    dtype: str
    """as activations are stored: float16, float32, int8 or float8"""


class EvaluatingKeywords(TypedDict, total=False):
    """Settings of `kshot.evaluate`; what is left out has its default."""

    head: str | None
    """the head that scores episodes; prototype, or the adapted run's, by default"""

    head_options: Mapping[str, Any] | None
    """NAME=VALUE of the head; may be repeated"""

    way: int
    """classes an episode"""

    query: int
    """query clips a class"""

    shared_group: bool
    """a query may share its source with a support clip"""

    keep_copies: bool
    """let clips stay that hold the same bytes as another"""

    shot: int
    """support clips a class"""

    episodes: int
    """random episodes"""

    split: str
    """test (novel), val, train (base) or all"""

    center: bool
    """subtract the mean of the clips evaluated"""

    scale: bool
    """centre and scale each channel by the support clips of its episode"""

    least_shot: int | None
    """support clips that a class has at least; as many as shot by default"""

    seed: int
    """names the draws; the same seed, the same table"""

    frames: int | None | None
    """frames a clip; 8 by default, or the unit of a backbone that sees clips"""

    resize: str | None
    """before the crop: short, short-256, squash, squash-256, squash-257, ...-bilinear; docs/data.md"""

    deinterlace: bool | None
    """take the fields of interlaced video apart (yadif)"""

    prompts: str | Sequence[str]
    """template of class texts with one {}, or clip for CLIP's own; may be repeated"""

    texts: str | Path | None
    """CSV label,text: texts that describe classes, in place of their names"""

    device: str
    """cpu, cuda, cuda:N, mps (Apple's GPU) or auto"""

    precision: str
    """float32, bfloat16 or float16"""

    encoder: str
    """what runs the frozen blocks: torch, compile, or on the CPU onnx or onnx-int8; see docs"""

    store: str | Path | None
    """folder or address of stored activations; $KSHOT_HOME/store by default"""

    stored_only: bool
    """never open a video"""

    dtype: str
    """as activations are stored: float16, float32, int8 or float8"""


class ExportingKeywords(TypedDict, total=False):
    """Settings of `export_features`; what is left out has its default."""

    frames: int | None | None
    """frames a clip; 8 by default, or the unit of a backbone that sees clips"""

    resize: str | None
    """before the crop: short, short-256, squash, squash-256, squash-257, ...-bilinear; docs/data.md"""

    deinterlace: bool | None
    """take the fields of interlaced video apart (yadif)"""

    prompts: str | Sequence[str]
    """template of class texts with one {}, or clip for CLIP's own; may be repeated"""

    texts: str | Path | None
    """CSV label,text: texts that describe classes, in place of their names"""

    device: str
    """cpu, cuda, cuda:N, mps (Apple's GPU) or auto"""

    precision: str
    """float32, bfloat16 or float16"""

    encoder: str
    """what runs the frozen blocks: torch, compile, or on the CPU onnx or onnx-int8; see docs"""

    store: str | Path | None
    """folder or address of stored activations; $KSHOT_HOME/store by default"""

    stored_only: bool
    """never open a video"""

    dtype: str
    """as activations are stored: float16, float32, int8 or float8"""
