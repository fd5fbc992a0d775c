"""What a checkpoint asks of pixels, from its image processor's file: every setting is followed or refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kshot import gate
from kshot.errors import CheckpointError

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training images, for folders that do not say
STD = (0.26862954, 0.26130258, 0.27577711)
WHOLE = "processor_config.json"
FILES = ("preprocessor_config.json", "video_preprocessor_config.json", WHOLE)
"""Where it is said: to itself, or by transformers 5 under `NESTED` of the whole processor's file."""
NESTED = ("image_processor", "video_processor")

KINDS = ("image_processor_type", "video_processor_type", "feature_extractor_type")
FOLLOWED = {"size", "crop_size", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"}
FIXED: dict[str, tuple[tuple[Any, ...], str]] = {  # setting -> the values that are followed, and what kshot does
    "do_resize": ((True,), "frames are resized"),
    "do_center_crop": ((True,), "the centre is cut out"),
    "resample": ((3, "bicubic"), "frames are resized by the bicubic filter, 3"),
    "default_to_square": ((False,), "the short side is resized"),
    "use_square_size": ((False,), "the short side is resized"),
    "data_format": (("channels_first",), "channels come first"),
}
SQUASHED: dict[str, tuple[tuple[Any, ...], str]] = FIXED | {  # where both sides become those of the square
    "do_center_crop": ((False,), "nothing is cut off"),
    "resample": ((2, 3, "bilinear", "bicubic"), "frames are resized by the bilinear or the bicubic filter, 2 or 3"),
    "default_to_square": ((True, False), "both sides are resized"),
}
BILINEAR = FIXED | {"resample": ((2, "bilinear"), "frames are resized by the bilinear filter, 2")}
HARMLESS = {  # of a decoded frame, or of whoever calls the processor
    "do_convert_rgb", "processor_class", "auto_map", "_valid_processor_keys", "return_tensors", "input_data_format",
    "device", "disable_grouping", "transformers_version", "image_seq_length", "_processor_class", "backend",
    "do_sample_frames", "num_frames", "fps", "return_metadata", "video_metadata",
}  # fmt: skip


@dataclass(frozen=True)
class Pixels:
    """How a frame becomes what a backbone sees: a square, and of its pixels (value / 255 - mean) / std.

    Attributes:
        mean: of red, green and blue.
        std: standard deviation of red, green and blue.
        resize: how frames become square, a name of `kshot.video.FRAMINGS`.
    """

    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    resize: str = "short"


AS_CLIP = Pixels()


@dataclass(frozen=True)
class Processor:
    """The image processor of a family.

    Attributes:
        owner: whose it is, for messages.
        names: of its class in transformers, under which checkpoints name it.
        usual: what it does where a folder does not say.
    """

    owner: str
    names: tuple[str, ...]
    usual: Pixels


CLIPS = Processor(
    "CLIP", ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "CLIPFeatureExtractor"), AS_CLIP
)


def read_pixels(folder: Path, side: int, processor: Processor = CLIPS) -> Pixels:
    """What a folder says of pixels; its family's own where it says nothing.

    Args:
        folder: of a checkpoint.
        side: of the images that the network is given, in pixels.
        processor: of its family.

    Raises:
        CheckpointError: a file that cannot be read, a setting that kshot does not follow, or two files that differ.
    """
    said = settings(folder)
    found = [_pixels(values, where, side, processor) for where, values in said]
    for (where, _), other in zip(said, found, strict=True):
        if other != found[0]:
            one, two = said[0][0], Path(where).name.partition(",")[0]
            raise CheckpointError(
                f"{one} and {two} ask for different pixels ({_differing(found[0], other)}): remove the one that this "
                "checkpoint was not trained with"
            )
    return found[0] if found else processor.usual


def settings(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The settings of a folder's image processor, from each file that has some, with the place they are from.

    Raises:
        CheckpointError: a file that cannot be read.
    """
    said: list[tuple[str, dict[str, Any]]] = []
    for name in FILES:
        path = folder / name
        if not path.exists():
            continue
        values = gate.read_json(path, error=CheckpointError)
        where = str(path)
        if name == WHOLE and isinstance(values, dict):
            nested = next((part for part in NESTED if values.get(part) is not None), None)
            if nested is None:  # the words around a processor alone
                continue
            values, where = values[nested], f"{path}, {nested}"
        if not isinstance(values, dict):
            raise CheckpointError(f"{where} holds a {type(values).__name__}, expected an object: fetch it again")
        said.append((where, {key: value for key, value in values.items() if value is not None}))
    return said


def _pixels(values: Mapping[str, Any], where: str, side: int, processor: Processor) -> Pixels:
    for name in KINDS:
        if name in values and values[name] not in processor.names:
            raise CheckpointError(f"{where}: {name} is {shown(values[name])}, expected one of {processor.owner}'s own")
    usual = processor.usual
    filtered = BILINEAR if usual.resize.endswith("bilinear") else FIXED
    fixed = SQUASHED if usual.resize.startswith("squash") else filtered
    for name, value in values.items():
        if name in fixed and value not in fixed[name][0]:
            raise _unfollowed(where, name, value, fixed[name][1])
        known = name in FIXED or name in FOLLOWED or name in HARMLESS or name in KINDS
        if not known and value not in (False, {}, [], ""):
            raise _unfollowed(where, name, value, "this setting is not known")
    resize = _square(values, where, side, usual.resize)
    mean, std = _three(values, "image_mean", usual.mean, where), _three(values, "image_std", usual.std, where)
    if min(std) <= 0:
        raise CheckpointError(f"{where}: image_std is {list(std)}, expected three numbers above 0")
    for name in ("do_rescale", "do_normalize"):
        if not isinstance(values.get(name, True), bool):
            raise CheckpointError(f"{where}: {name} is {shown(values[name])}, expected true or false")
    if not values.get("do_normalize", True):
        mean, std = (0.0,) * 3, (1.0,) * 3
    factor = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0
    if not _number(factor) or not 1e-6 < factor < 1e6:
        raise CheckpointError(f"{where}: rescale_factor is {shown(factor)}, expected a number above 0, as 1/255")
    if not math.isclose(factor, 1 / 255, rel_tol=1e-6):  # (value * factor - mean) / std, in other words
        mean, std = (tuple(one / (255 * factor) for one in part) for part in (mean, std))
    return Pixels(mean, std, resize)


def open_clip_pixels(values: object, where: str, side: int) -> Pixels:
    """What `preprocess_cfg` of open_clip's layout says of pixels; CLIP's own where it says nothing.

    Args:
        values: what the file holds under that name; None for nothing.
        where: it is from.
        side: of the images that the network is given, in pixels.

    Raises:
        CheckpointError: a setting that kshot does not follow.
    """
    if not isinstance(values, Mapping | None):
        raise CheckpointError(f"{where}: expected an object as preprocess_cfg, found {shown(values)}")
    said = {name: value for name, value in (values or {}).items() if value is not None}
    usual = {
        "size": (side, [side, side]), "mode": ("RGB",), "resize_mode": ("shortest", "squash"), "fill_color": (0,),
        "interpolation": ("bicubic", "bilinear") if said.get("resize_mode") == "squash" else ("bicubic",),
    }  # fmt: skip
    does = "the short side is resized by the bicubic filter and the centre cut out, or both sides are resized"
    for name, value in said.items():
        if name not in (*usual, "mean", "std"):
            raise _unfollowed(where, name, value, "this setting is not known")
        if name in usual and (value not in usual[name] or isinstance(value, bool)):
            raise _unfollowed(where, name, value, f"{does}, to {side} pixels")
    said |= {f"image_{name}": said[name] for name in ("mean", "std") if name in said}
    mean, std = _three(said, "image_mean", MEAN, where), _three(said, "image_std", STD, where)
    if min(std) <= 0:
        raise CheckpointError(f"{where}: std is {list(std)}, expected three numbers above 0")
    squashed = "squash-bilinear" if said.get("interpolation") == "bilinear" else "squash"
    return Pixels(mean, std, squashed if said.get("resize_mode") == "squash" else "short")


def _square(values: Mapping[str, Any], where: str, side: int, usual: str) -> str:
    """How frames become square, a name of `kshot.video.FRAMINGS`; `usual` where nothing is said of it.

    Raises:
        CheckpointError: other than the short side at `side` pixels, or at 256/224 of it where the family does so, and
            then the centre; other than both sides where it does that.
    """
    if usual.startswith("squash"):
        size = values.get("size", side)
        if size not in (side, {"height": side, "width": side}) or isinstance(size, bool):
            raise _unfollowed(where, "size", size, f"both sides are resized to the {side} pixels of config.json")
        filtered = 2 if usual == "squash-bilinear" else 3
        return "squash-bilinear" if values.get("resample", filtered) in (2, "bilinear") else "squash"
    wide = side * 256 / 224
    lengths = {usual: {"short-256": round(wide), "short-256-bilinear": int(wide)}.get(usual, side)}
    if usual == "short-256":
        lengths["short"] = side
    size = values.get("size", lengths[usual])
    if isinstance(size, Mapping) and {n for n, v in size.items() if v is not None} == {"shortest_edge"}:
        size = size["shortest_edge"]
    if size not in lengths.values() or isinstance(size, bool):
        short = usual.startswith("short") and lengths == {usual: side}
        to = f"the {side} pixels of config.json" if short else " or ".join(map(str, lengths.values()))
        raise _unfollowed(where, "size", size, f"the short side is resized to {to}")
    crop = values.get("crop_size", side)
    if isinstance(crop, Mapping):
        crop = [crop.get("height"), crop.get("width")]
    if isinstance(crop, list) and len(crop) == 2 and crop[0] == crop[1]:
        crop = crop[0]
    if crop != side or isinstance(crop, bool):
        raise CheckpointError(f"{where}: crop_size is {shown(crop)}, but config.json asks for {side} pixels")
    return next(name for name, length in lengths.items() if length == size)


def _three(values: Mapping[str, Any], name: str, usual: tuple[float, ...], where: str) -> tuple[float, ...]:
    """Three finite numbers, or one for all three."""
    found = values.get(name, usual)
    found = [found] * 3 if _number(found) else found
    if not isinstance(found, list | tuple) or len(found) != 3 or not all(map(_number, found)):
        raise CheckpointError(f"{where}: {name} is {shown(found)}, expected three numbers in image_mean and image_std")
    return tuple(float(value) for value in found)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e6 < value < 1e6


def _unfollowed(where: str, name: str, value: object, does: str) -> CheckpointError:
    return CheckpointError(
        f"{where}: {name} is {shown(value)}, which kshot does not follow ({does}): this checkpoint would see other "
        "pixels than it was trained on"
    )


def _differing(one: Pixels, other: Pixels) -> str:
    name = "mean" if one.mean != other.mean else "std"
    return f"{name} {list(getattr(one, name))} and {list(getattr(other, name))}"


def shown(value: object) -> str:
    """A setting for a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
