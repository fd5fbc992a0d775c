"""The model folder: config.json, safetensors, a card to read, thumbnails. No pickles.

    DIR/config.json               what was taught and what to expect; sealed by a checksum, and names the other files
    DIR/weights-HASH.safetensors  the decider, fine-tuned weights if any, and the embeddings of the taught clips, from
                                  which clips can be added and actions forgotten
    DIR/adapted-HASH/             a run of `kshot train` without its history, if teaching started from one
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
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kshot import __version__, hub
from kshot import backbone as backbones
from kshot.errors import CheckpointError, OptionError, VideoError
from kshot.files import disk, holding, locked, occupied, write_atomic
from kshot.recognizer import decider, videos
from kshot.recognizer.card import card
from kshot.recognizer.clips import Clip

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.backbone import Backbone

Array = NDArray[Any]

KIND, FORMAT = "kshot recogniser", 2
RUN_FILES = ("config.json", "weights.safetensors")
ARGUMENTS = ("method", "frames", "reject", "background", "seed", "precision")
SHOWN = 4  # frames of a thumbnail
REMOTE = "hf://"


def save(recognizer: Any, folder: Path, thumbnails: bool = True, bare: bool = False) -> Path:
    """Writes the folder; what was there before stays whole until config.json, which comes last, replaces it.

    Args:
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
    backbone, clips = recognizer.learner_.backbone, recognizer.clips_
    data = pack(_tensors(recognizer))
    config: dict[str, Any] = {
        "kind": KIND,
        "format": FORMAT,
        "kshot": __version__,
        "backbone": {"name": backbone.name, "fingerprint": backbone.fingerprint},
        "arguments": {name: getattr(recognizer, name) for name in ARGUMENTS} | {"prompts": list(recognizer.prompts)},
        "classes": recognizer.classes_.tolist(),
        "method": recognizer.method_,
        "decider": decider.describe(recognizer.decider_),
        "threshold": recognizer.threshold_ if math.isfinite(recognizer.threshold_) else None,
        "clip_seconds": recognizer.clip_seconds_,
        "clips": [_told(clip) for clip in clips],
        "report": recognizer.report_,
        "files": {f"weights-{_digest(data)[:12]}.safetensors": _digest(data)},
        "adapted": None,
    }
    files = dict.fromkeys(config["files"], data)
    if recognizer.adapted is not None:
        run = {name: path.read_bytes() for name in RUN_FILES if (path := Path(recognizer.adapted) / name).exists()}
        config["adapted"] = f"adapted-{_digest(b''.join(run.values()))[:12]}"
        for name, content in run.items():
            files[f"{config['adapted']}/{name}"] = content
            config["files"][f"{config['adapted']}/{name}"] = _digest(content)
    if bare:
        config = _bare(config)
    pictures = _thumbnails(recognizer) if thumbnails else {}
    with nullcontext() if holding(folder) else locked(folder), disk(folder):
        (folder / "thumbnails").mkdir(exist_ok=True)
        for name, content in (files | {f"thumbnails/{at}": picture for at, picture in pictures.items()}).items():
            (folder / name).parent.mkdir(exist_ok=True)
            write_atomic(folder / name, content)
        _sweep(folder / "thumbnails", set(pictures))
        write_atomic(folder / "README.md", card(config, sorted(pictures)).encode())
        config["seal"] = _seal(config)
        write_atomic(folder / "config.json", json.dumps(config, indent=1, ensure_ascii=False).encode())
        kept = {Path(name).parts[0] for name in files}
        _sweep(folder, kept, ("weights-*.safetensors", "adapted-*"))
    return folder


def load(cls: Any, folder: str | Path, backbone: str | Path | Backbone | None, device: str) -> Any:
    """Reads a folder, or "hf://owner/name", into a new Recognizer. See `Recognizer.load`."""
    from safetensors.torch import load as unpack

    folder = hub.fetch(str(folder).removeprefix(REMOTE)) if str(folder).startswith(REMOTE) else Path(folder)
    config = _config(folder)
    for name, mark in config["files"].items():
        if _content(folder, name, mark) is None:
            raise CheckpointError(
                f"{folder / name} is damaged: its sha256 is not the one in config.json; copy it again"
            )
    named = config["backbone"]
    loaded = backbone if isinstance(backbone, backbones.Backbone) else None
    loaded = loaded or backbones.load(named["name"] if backbone is None else backbone, device)  # type: ignore[arg-type]
    if loaded.fingerprint != named["fingerprint"]:
        raise CheckpointError(
            f"model {folder} was taught on backbone {named['name']} ({named['fingerprint'][:12]}), found "
            f"{loaded.name} ({loaded.fingerprint[:12]}): pass that one with --backbone"
        )
    adapted = folder / config["adapted"] if config["adapted"] else None
    name = named["name"] if backbone is None else backbone
    made = cls(backbone=name, adapted=adapted, device=device, **config["arguments"])
    weights = unpack((folder / next(iter(config["files"]))).read_bytes())
    made._put_back(config, _parts(weights), loaded)
    return made


def clips(config: dict[str, Any], embeddings: Array) -> list[Clip]:
    """The taught clips of a model, with their embeddings (n, T, P) and without their activations."""
    return [
        Clip(**told | {"seconds": math.nan if told["seconds"] is None else told["seconds"]}, embeddings=values)
        for told, values in zip(config["clips"], embeddings, strict=True)
    ]


def push(recognizer: Any, repository: str, thumbnails: bool, private: bool) -> str:
    """Uploads a model; returns its address. See `Recognizer.push_to_hub`."""
    with tempfile.TemporaryDirectory(prefix="kshot-push-") as place:
        folder = save(recognizer, Path(place) / "model", thumbnails, bare=True)
        return hub.push(folder, repository, private)


def _tensors(recognizer: Any) -> dict[str, Tensor]:
    """What the weights file holds: `decider.*`, `tuned.*` and `clips`."""
    import torch

    held = {f"decider.{name}": value for name, value in recognizer.decider_.state_dict().items()}
    if recognizer.tuned_:
        held |= {f"tuned.{name}": value for name, value in recognizer.learner_.weights().items()}
    held["clips"] = torch.from_numpy(np.stack([clip.embeddings for clip in recognizer.clips_]))
    return {name: value.detach().cpu().contiguous() for name, value in held.items()}


def _parts(weights: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"decider": {}, "tuned": {}, "clips": {}}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    return parts


def _told(clip: Clip) -> dict[str, Any]:
    seconds = clip.seconds if math.isfinite(clip.seconds) else None
    return {"name": clip.name, "label": clip.label, "group": clip.group, "digest": clip.digest, "seconds": seconds}


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
        kind, form = config["kind"], config["format"]
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{folder} is not a model folder: expected config.json in it, as `kshot fit` writes"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not isinstance(error, KeyError):
            raise CheckpointError(f"{path} is damaged ({error}): copy the model again, or teach it again") from None
        kind, form = None, None
    if kind != KIND:
        raise CheckpointError(f"{folder} is not a model of `kshot fit`: its config.json is of something else")
    if form != FORMAT:
        raise CheckpointError(
            f"{path} has format {form}, written by kshot {config.get('kshot', '?')}; this is kshot {__version__}, "
            f"which reads format {FORMAT}: use the kshot that wrote it, or teach the model again"
        )
    if config.pop("seal", None) != _seal(config):
        raise CheckpointError(f"{path} is damaged: its checksum is wrong; copy the model again, or teach it again")
    return config


def _content(folder: Path, name: str, mark: str) -> bytes | None:
    """The bytes of a file if they are the right ones."""
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"model {folder} has lost its {name}: copy it again") from None
    return data if _digest(data) == mark else None


def _is_model(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "config.json").read_text("utf-8"))["kind"] == KIND)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _bare(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without the folders in which the clips lie."""

    def short(name: str | None) -> str | None:
        return None if name is None else Path(name).name

    report = dict(config["report"])
    report["suspects"] = [s | {"clip": short(s["clip"]), "other": short(s["other"])} for s in report["suspects"]]
    report["unreadable"] = {str(short(name)): "" for name in report["unreadable"]}
    clips = [
        c | {"name": short(c["name"]), "group": c["group"] and _digest(c["group"].encode())[:12]}
        for c in config["clips"]
    ]
    return config | {"clips": clips, "report": report}


def _thumbnails(recognizer: Any) -> dict[str, bytes]:
    """File name -> JPEG filmstrip of one clip of each action; none for a clip that is no longer there."""
    from PIL import Image

    size = recognizer.learner_.backbone.size
    result = {}
    for number, label in enumerate(recognizer.classes_):
        clip = next(clip for clip in recognizer.clips_ if clip.label == label)
        strip = clip.strip
        if strip is None and Path(clip.name).exists():
            read = next(iter(videos.frames_of([Path(clip.name)], SHOWN, size)))
            strip = None if isinstance(read, VideoError) else read
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
    if not any(folder.iterdir()):
        folder.rmdir()


def _seal(config: dict[str, Any]) -> str:
    return _digest(json.dumps(config, sort_keys=True, ensure_ascii=False).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
