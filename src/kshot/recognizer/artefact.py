"""The model folder: config.json, safetensors, a card to read, thumbnails. No pickles.

    DIR/config.json               what was trained and what to expect; sealed by a checksum, and names the other files
    DIR/weights-HASH.safetensors  the classifier, fine-tuned weights if any, and the embeddings of the trained clips,
                                  from which clips can be added and actions forgotten
    DIR/adapted-HASH/             a run of `kshot train` without its history, if training started from one
    DIR/README.md, thumbnails/    for people; may be removed

The backbone is not copied: it is named, and known by its fingerprint.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kshot import __version__, gate, seals, settings
from kshot.backbones import backbone as backbones
from kshot.backbones import hub
from kshot.backbones.prompts import expect_prompts
from kshot.datasets.texts import Descriptions
from kshot.errors import CheckpointError, KshotError, OptionError, VideoError
from kshot.excerpts import clip_of, file_of
from kshot.fewshot import runs
from kshot.fewshot.fit import expect_finite
from kshot.files import disk, holding, locked, occupied, write_atomic
from kshot.recognizer import classifier, preparing, videos
from kshot.recognizer.card import card
from kshot.recognizer.clips import Clip
from kshot.recognizer.estimator import Estimator
from kshot.recognizer.report import Report
from kshot.settings import TORCH, Arithmetic
from kshot.video import FRAMINGS

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.backbones.backbone import Backbone

Array = NDArray[Any]

R = TypeVar("R", bound=Estimator)

KIND, FORMAT = "kshot recognizer", 3
READS = (2, 3)  # formats; before 3 each of four scorers had a class of its own, see `classifier.restore`
RUN_FILES = ("config.json", "weights.safetensors")
ARGUMENTS = ("method", "frames", "reject", "background", "seed", "precision", "head_options")
KINDS = {"classes": list, "clips": list, "report": dict, "method": str, "clip_seconds": float | int,
         "threshold": float | int | None}  # fmt: skip
WEIGHTS_BYTES = 16 << 30  # of one file
SHOWN = 4  # frames of a thumbnail


def save(recognizer: Estimator, folder: Path, thumbnails: bool = True, bare: bool = False) -> Path:
    """Writes the folder; what was there before stays whole until config.json, which comes last, replaces it.

    Args:
        recognizer: a fitted one.
        folder: made where absent.
        thumbnails: whether small pictures of the clips go into it.
        bare: name the clips by their file names alone, without the folders of this machine.

    Raises:
        OptionError: the folder holds something else.
        StoreError: it cannot be written.
    """
    from safetensors.torch import save as pack

    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder} is a file; name a folder for the model")
    if occupied(folder) and not _is_model(folder):
        raise OptionError(f"{folder} holds something else than a model; name another folder, or empty it first")
    data = pack(_tensors(recognizer))
    config = _config(recognizer, {f"weights-{_digest(data)[:12]}.safetensors": _digest(data)})
    files = dict.fromkeys(config["files"], data)
    if recognizer.adapted is not None:
        run = run_files(recognizer.adapted)
        config["adapted"] = run_name(run)
        for name, content in run.items():
            files[f"{config['adapted']}/{name}"] = content
            config["files"][f"{config['adapted']}/{name}"] = _digest(content)
    if bare:
        config = _bare(config)
    pictures = _thumbnails(recognizer) if thumbnails else {}
    with nullcontext() if holding(folder) else locked(folder), disk(folder):
        with _nothing_new_on_failure(folder):
            (folder / "thumbnails").mkdir(exist_ok=True)
            for name, content in (files | {f"thumbnails/{at}": picture for at, picture in pictures.items()}).items():
                (folder / name).parent.mkdir(exist_ok=True)
                write_atomic(folder / name, content)
            write_atomic(folder / "README.md", _utf8(card(config, sorted(pictures))))
            write_atomic(folder / "config.json", _utf8(json.dumps(seals.sealed(config), indent=1, ensure_ascii=False)))
        sweep(folder, config, set(pictures))  # from here on the new model is whole, whatever happens
    return folder


def sweep(folder: Path, config: dict[str, Any], pictures: set[str] | None = None) -> None:
    """Removes what an earlier model left beside the one of a config, as a kill may have kept it.

    Args:
        folder: the model folder.
        config: what its config.json says.
        pictures: names of its thumbnails; None where they are not known, but for one an action at most.
    """
    if pictures is None:
        pictures = {f"{number:03d}.jpg" for number in range(len(config["classes"]))}
    _sweep(folder / "thumbnails", pictures)
    kept = {Path(name).parts[0] for name in config["files"]}
    _sweep(folder, kept, ("weights-*.safetensors", "adapted-*"))


def _config(recognizer: Estimator, files: dict[str, str]) -> dict[str, Any]:
    """What config.json says; the keys "decider" and "clips" are as old as the format."""
    backbone = preparing.backbone_of(recognizer.learner_)
    return {
        "kind": KIND,
        "format": FORMAT,
        "kshot": __version__,
        "backbone": {"name": backbone.name, "fingerprint": backbone.fingerprint},
        "arguments": {name: getattr(recognizer, name) for name in ARGUMENTS}
        | {"frames": recognizer.frames_, "prompts": expect_prompts(recognizer.prompts)}
        | ({} if recognizer.texts_ is None else {"texts": asdict(recognizer.texts_)})
        | ({"deinterlace": True} if recognizer.deinterlace else {})
        | runs.by_encoder(backbone),
        "classes": recognizer.classes_.tolist(),
        "method": recognizer.method_,
        "decider": classifier.describe(recognizer.classifier_),
        "threshold": recognizer.threshold_ if math.isfinite(recognizer.threshold_) else None,
        "clip_seconds": recognizer.clip_seconds_,
        "clips": [_plain(clip) for clip in recognizer.clips_],
        "report": recognizer.report_.plain(),
        "files": files,
        "adapted": None,
    }


@contextmanager
def _nothing_new_on_failure(folder: Path) -> Iterator[None]:
    """After a failure nothing new stays in a folder, so that the same command can be run again."""
    before = set(folder.rglob("*"))
    try:
        yield
    except BaseException:
        for path in sorted(set(folder.rglob("*")) - before, reverse=True):  # what is in a folder before it
            path.rmdir() if path.is_dir() else path.unlink()
        raise


def load_model(cls: type[R], folder: str | Path, backbone: str | Path | Backbone | None, device: str) -> R:
    """Reads a folder, or "hf://owner/name", into a new Recognizer. See `Recognizer.load`."""
    folder = hub.local(folder)
    config = read_config(folder)
    try:
        return _made(cls, folder, config, backbone, device)
    except KshotError:
        raise
    except Exception as error:  # a config with a good seal that kshot has not written
        explain(folder, config)
        raise CheckpointError(
            f"{folder / 'config.json'} does not fit its weights ({type(error).__name__}: {error}); copy the model "
            f"again, or fit it again"
        ) from None


def explain(folder: Path, config: dict[str, Any]) -> None:
    """Refuses a config that is not of the right kinds, and says where.

    A check that takes a tenth of a second, so that loading makes it only where something went wrong.

    Raises:
        CheckpointError: names the field.
    """
    from kshot.recognizer import forms

    gate.typed(config, forms.ModelFile, folder / "config.json", CheckpointError)


def _made(cls: type[R], folder: Path, config: dict[str, Any], backbone: str | Path | Backbone | None, device: str) -> R:
    """The recognizer of a folder whose config is sealed."""
    import torch
    from safetensors.torch import load as unpack

    settings.expect(frames=config["arguments"]["frames"], seed=config["arguments"]["seed"])
    if odd := [name for name, kind in KINDS.items() if not isinstance(config[name], kind)]:
        raise TypeError(f"{odd[0]} is a {type(config[odd[0]]).__name__}")
    contents = {name: _content(folder, name, mark) for name, mark in config["files"].items()}
    named, asked = config["backbone"], config["arguments"]
    how = Arithmetic(device=device, precision=asked["precision"], encoder=asked.get("encoder", TORCH))
    try:
        loaded = backbones.loaded(named["name"] if backbone is None else backbone, how)
    except CheckpointError as error:
        if backbone is not None:
            raise
        away = hub.elsewhere(named["name"])
        raise CheckpointError(f"model {folder} was trained on backbone {named['name']}: {error}{away}") from None
    if loaded.fingerprint != named["fingerprint"]:
        raise CheckpointError(
            f"model {folder} was trained on backbone {named['name']} ({named['fingerprint'][:12]}), found "
            f"{loaded.name} ({loaded.fingerprint[:12]}): pass that one with --backbone"
        )
    name = named["name"] if backbone is None else backbone
    texts = None if asked.get("texts") is None else Descriptions.of_plain(asked["texts"])
    made = cls(backbone=name, adapted=_adapted(folder, config), device=device, **asked | {"texts": texts})
    about, way = config["decider"], len(config["classes"]) + config["decider"]["background"]
    if about.get("way", way) != way:
        raise ValueError(f"{way} classes, a scorer of {about['way']}")
    weights = unpack(contents[next(iter(contents))])
    expect_finite(folder / next(iter(contents)), weights)
    _put_back(made, config, _parts(weights), loaded)
    # A clip of nothing shows whether everything fits together.
    embeddings = torch.zeros_like(torch.from_numpy(made.clips_[0].embeddings), device=loaded.device)
    proba = classifier.decide(made.classifier_, embeddings[None].float(), made.classes_, made.threshold_).proba
    if proba.shape != (1, len(made.classes_)) or embeddings.shape != (loaded.rows_of(made.frames_), loaded.embed_dim):
        raise ValueError(f"{len(made.classes_)} actions, {proba.shape[-1]} answers, clips of {tuple(embeddings.shape)}")
    return made


def _put_back(
    made: Estimator, config: dict[str, Any], weights: dict[str, dict[str, Tensor]], backbone: Backbone
) -> None:
    """Everything that `fit` learns, into a recognizer."""
    named, made.backbone = made.backbone, backbone
    made._start = preparing.starting(made)
    made.backbone = named
    made.learner_, made.tuned_ = preparing.tuned(made._start, weights["tuned"]), bool(weights["tuned"])
    try:
        made.classifier_ = classifier.restore(config["decider"], weights["decider"]).to(backbone.device)
    except OptionError as error:  # a head or option that is none: the folder's fault, not the caller's
        raise ValueError(str(error)) from None
    changing = weights["changing"].get("")
    made.clips_ = clips(config, weights["clips"][""].numpy(), None if changing is None else changing.numpy())
    made.frames_ = preparing.frames_of(made, made._start)
    made.classes_, made.n_clips_ = np.array(config["classes"]), len(made.clips_)
    made.method_, made.clip_seconds_ = config["method"], config["clip_seconds"]
    made.threshold_ = -math.inf if config["threshold"] is None else config["threshold"]
    made.report_, made.texts_ = Report.of_plain(config["report"]), preparing.texts_of(made)


def _adapted(folder: Path, config: dict[str, Any]) -> Path | None:
    """The run that a model started from: a folder inside its own, of sealed files."""
    name = config["adapted"]
    if name is None:
        return None
    path = gate.inside(folder, name, CheckpointError)
    if f"{name}/{RUN_FILES[0]}" not in config["files"]:
        raise CheckpointError(f"{folder / 'config.json'} seals no {name}/{RUN_FILES[0]}: copy the model again")
    return path


def run_files(folder: str | Path) -> dict[str, bytes]:
    """What a model takes along of the run that its training started from."""
    return {name: path.read_bytes() for name in RUN_FILES if (path := Path(folder) / name).exists()}


def run_name(files: dict[str, bytes]) -> str:
    """What the model folder calls that run: the same for the same files."""
    return f"adapted-{_digest(b''.join(files.values()))[:12]}"


def clips(config: dict[str, Any], embeddings: Array, changing: Array | None = None) -> list[Clip]:
    """The trained clips of a model, with their embeddings (n, T, P) and without their activations."""
    kept = [None] * len(embeddings) if changing is None else changing
    return [
        Clip(
            **clip | {"seconds": math.nan if clip["seconds"] is None else clip["seconds"]}, embeddings=values,
            changing=moving,
        )
        for clip, values, moving in zip(config["clips"], embeddings, kept, strict=True)
    ]  # fmt: skip


def push(recognizer: Estimator, repository: str, thumbnails: bool, private: bool) -> str:
    """Uploads a model; returns its address. See `Recognizer.push_to_hub`."""
    with tempfile.TemporaryDirectory(prefix="kshot-push-") as place:
        folder = save(recognizer, Path(place) / "model", thumbnails, bare=True)
        return hub.push(folder, repository, private)


def _tensors(recognizer: Estimator) -> dict[str, Tensor]:
    """What the weights file holds: `decider.*`, `tuned.*`, `clips`, and `changing` where the method looks at that."""
    import torch

    tensors = {f"decider.{name}": value for name, value in recognizer.classifier_.state_dict().items()}
    if recognizer.tuned_:
        tensors |= {f"tuned.{name}": value for name, value in recognizer.learner_.weights().items()}
    tensors["clips"] = torch.from_numpy(np.stack([clip.embeddings for clip in recognizer.clips_]))
    if recognizer.classifier_.scorer.head.by_change:
        kept = [clip.changing for clip in recognizer.clips_ if clip.changing is not None]
        tensors["changing"] = torch.from_numpy(np.stack(kept))
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _parts(weights: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"decider": {}, "tuned": {}, "clips": {}, "changing": {}}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    return parts


def _plain(clip: Clip) -> dict[str, Any]:
    seconds = clip.seconds if math.isfinite(clip.seconds) else None
    return {"name": clip.name, "label": clip.label, "group": clip.group, "digest": clip.digest, "seconds": seconds}


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` of a model folder says, its seal checked.

    Raises:
        CheckpointError: no model, damaged, or of another version.
    """
    path, again = folder / "config.json", "copy the model again, or fit it again"
    gate.expect_config(folder, "a model", "kshot fit")
    config = gate.read_json(path, error=CheckpointError)
    if not isinstance(config, dict) or config.get("kind") != KIND:
        raise CheckpointError(f"{folder} is not a model of `kshot fit`: its config.json is of something else")
    if config.get("format") not in READS:
        raise CheckpointError(
            f"{path} has format {gate.shortened(config.get('format'))}, written by kshot "
            f"{gate.shortened(config.get('kshot'))}; this is kshot {__version__}, which reads format "
            f"{' or '.join(map(str, READS))}: use the kshot that wrote it, or fit the model again"
        )
    if not seals.whole(config):
        raise CheckpointError(f"{path} is damaged: its checksum is wrong; {again}")
    if "withdrawn" in config:
        raise CheckpointError(
            f"{folder} was withdrawn by `kshot forget`, as it could not be fitted again without the clips that were "
            f"taken out ({config['withdrawn']}): fit it again on those that are left"
        )
    if not isinstance(config.get("files"), dict) or not config["files"]:
        raise CheckpointError(f"{path} is damaged: it names no files; {again}")
    return config


def withdrawn(folder: Path) -> str:
    """Why a model was withdrawn, see `kshot.recognizer.removal`; "" for one that was not.

    Raises:
        CheckpointError: no model, or damaged.
    """
    config = gate.read_json(folder / "config.json", error=CheckpointError)
    if isinstance(config, dict) and config.get("kind") == KIND and seals.whole(config):
        return str(config.get("withdrawn", ""))
    return ""


def _content(folder: Path, name: str, mark: str) -> bytes:
    """The bytes of a file of the folder, which are the sealed ones."""
    path = gate.inside(folder, name, CheckpointError)
    if not path.exists():
        raise CheckpointError(f"model {folder} has lost its {name}: copy it again")
    data = gate.read_bytes(path, WEIGHTS_BYTES, CheckpointError)
    if _digest(data) != mark:
        raise CheckpointError(f"{path} is damaged: its sha256 is not the one in config.json; copy it again")
    return data


def _is_model(folder: Path) -> bool:
    """Whether a folder holds a model, of whatever version and in whatever state."""
    try:
        config = gate.read_json(folder / "config.json")
    except KshotError:
        return False
    return isinstance(config, dict) and config.get("kind") == KIND


def _bare(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without the folders in which the clips lie."""

    def short(name: str | None) -> str | None:
        return None if name is None else Path(name).name

    report = dict(config["report"])
    report["suspects"] = [s | {"clip": short(s["clip"]), "other": short(s["other"])} for s in report["suspects"]]
    report["unreadable"] = {str(short(name)): "" for name in report["unreadable"]}
    report["damaged"] = [one | {"clip": short(one["clip"])} for one in report.get("damaged", [])]
    clips = [
        c | {"name": short(c["name"]), "group": c["group"] and _digest(c["group"].encode())[:12]}
        for c in config["clips"]
    ]
    arguments = dict(config["arguments"])
    if "texts" in arguments:
        arguments["texts"] = arguments["texts"] | {"file": short(arguments["texts"]["file"])}
    return config | {"clips": clips, "report": report, "arguments": arguments}


def _thumbnails(recognizer: Estimator) -> dict[str, bytes]:
    """File name -> JPEG filmstrip of one clip of each action; none for a clip that is no longer there."""
    from PIL import Image

    backbone = preparing.backbone_of(recognizer.learner_)
    framing = FRAMINGS[backbone.resize]
    result = {}
    for number, label in enumerate(recognizer.classes_):
        clip = next(clip for clip in recognizer.clips_ if clip.label == label)
        strip = clip.strip
        if strip is None and file_of(clip.name).exists():
            read = next(iter(videos.frames_of([clip_of(clip.name)], SHOWN, backbone.size, 60.0, True, framing)))
            strip = None if isinstance(read, VideoError) else read.frames
        if strip is None:
            continue
        chosen = strip[np.linspace(0, len(strip) - 1, SHOWN).round().astype(int)]
        small = [np.asarray(Image.fromarray(frame).resize((96, 96))) for frame in chosen]
        file = io.BytesIO()
        Image.fromarray(np.concatenate(small, 1)).save(file, "JPEG", quality=85)
        result[f"{number:03d}.jpg"] = file.getvalue()
    return result


def _sweep(folder: Path, kept: set[str], patterns: tuple[str, ...] = ("*",)) -> None:
    """Removes what an earlier model left, and the folder itself if nothing remains."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _utf8(text: str) -> bytes:
    """Text as UTF-8; of a file name that is none, the bytes come as escapes, which JSON reads back."""
    return text.encode(errors="backslashreplace")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
