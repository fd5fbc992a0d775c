"""A clip that is a folder of JPEG/PNG frames: one numbered series of pictures, each shown for the same time."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from kshot import gate
from kshot.errors import VideoError
from kshot.video import container
from kshot.video.clock import Clock, Scan
from kshot.video.container import FOLDER_FPS, Pick
from kshot.video.damage import Damage
from kshot.video.shots import SIDE, grey

IMAGES = frozenset({".jpg", ".jpeg", ".png"})
FRAME_BYTES = 1 << 29  # of one picture file: a PNG of 8K with 16 bits a colour, not compressed at all, has half of it
COLOURS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"})
"""Pillow's modes that are 8-bit colours in another guise; transparency is dropped, as video decoders do."""


class Folder:
    """A folder of JPEG/PNG frames, in natural order of their names.

    Args:
        path: of the folder.

    Attributes:
        files: the frames, in their order.
        shape: (height, width) of the first frame that was read, which the others are resized to; None before that.
        failure: always "": a folder does not stop early.

    Raises:
        VideoError: no frames, too many, two series of them, or one that is no regular file.
    """

    failure = ""

    @staticmethod
    def looks() -> tuple[str, ...]:
        """As of a video file: pictures are ordinary."""
        return ()

    def __init__(self, path: Path) -> None:
        with os.scandir(path) as entries:
            # In one order on every disk, so that messages are the same everywhere, too.
            images = sorted((entry for entry in entries if is_image(entry.name)), key=lambda entry: natural(entry.name))
        for entry in images:
            if not entry.is_file():
                gate.regular(entry.path, error=VideoError)  # says what it is instead
        names = [entry.name for entry in images]
        if not names:
            raise VideoError("expected JPEG or PNG frames in the folder, found none")
        if len(names) > container.MAX_FRAMES:
            raise VideoError(container.too_long())
        _one_series(names)
        self.files = [path / name for name in names]
        self.shape: tuple[int, int] | None = None

    def close(self) -> None:
        """Nothing is held open."""

    def scan(self) -> Scan:
        """The number of frames, and when each is on show at `FOLDER_FPS`.

        Raises:
            VideoError: the first frame is no regular file, or too large.
            OSError: it is no picture.
        """
        gate.regular(self.files[0], FRAME_BYTES, VideoError)
        with Image.open(self.files[0], formats=("JPEG", "PNG")) as image:
            width, height = image.size
        count = len(self.files)
        return Scan(
            frames=count,
            exact=True,
            pts=np.arange(count, dtype=np.int64),
            keyframes=np.arange(count, dtype=np.int64),
            time_base=1 / Fraction(FOLDER_FPS),
            width=width,
            height=height,
            seconds=count / FOLDER_FPS,
        )

    def frames(self, pick: Pick) -> tuple[np.ndarray, dict[int, Any]]:
        """The picked indices and their files."""
        indices = pick(Clock(len(self.files)))
        return indices, {index: self.files[index] for index in set(indices.tolist())}

    def damage(self) -> Damage | None:
        """Numbers that are missing from a series that counts one by one; every fifth frame of a video is a choice."""
        numbers = np.array([int(re.findall(r"\d+", f.stem)[-1]) if re.search(r"\d", f.stem) else 0 for f in self.files])
        steps = np.diff(numbers)
        lost = int(steps.sum()) - len(steps)
        if not len(steps) or steps.min() < 1 or np.median(steps) > 1 or not lost:
            return None
        first = int(np.flatnonzero(steps > 1)[0])
        return Damage(
            len(numbers) / (len(numbers) + lost),
            f"{lost} of {len(numbers) + lost} numbered frames are missing, the first after {self.files[first].name}",
        )

    def announced(self) -> tuple[float, float]:
        """Seconds, and frames a second."""
        return len(self.files) / FOLDER_FPS, FOLDER_FPS

    def cut(self) -> Damage | None:
        """Nothing: a folder does not say where it ends."""
        return None

    def stream(self) -> Iterator[tuple[float, Any]]:
        """All frames with their seconds."""
        for index, file in enumerate(self.files):
            yield index / FOLDER_FPS, file

    def image(self, file: Path) -> np.ndarray:
        """One image file as upright RGB (height, width, 3), of the size of the first one."""
        gate.regular(file, FRAME_BYTES, VideoError)
        try:
            with Image.open(file, formats=("JPEG", "PNG")) as image:
                if image.width * image.height > container.MAX_PIXELS:
                    raise VideoError(f"{file.name} has more than {container.MAX_PIXELS:,} pixels (MAX_PIXELS)")
                shown = rgb(ImageOps.exif_transpose(image))
        except VideoError as error:
            raise VideoError(f"{file.name}: {error}" if file.name not in str(error) else str(error)) from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise VideoError(f"{file.name} is not a readable JPEG or PNG ({error})") from None
        self.shape = self.shape or (shown.height, shown.width)
        if (shown.height, shown.width) != self.shape:
            shown = shown.resize(self.shape[::-1], Image.Resampling.BICUBIC)
        return np.asarray(shown)

    def grey(self, file: Path) -> np.ndarray | None:
        """One image file as `kshot.video.shots` takes it; None for one that `image` would refuse."""
        try:
            gate.regular(file, FRAME_BYTES, VideoError)
            with Image.open(file, formats=("JPEG", "PNG")) as image:
                image.draft("L", (SIDE, SIDE))  # a JPEG need not be decoded in full
                return grey(image) if image.width * image.height <= container.MAX_PIXELS else None
        except (VideoError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None


def is_image(name: str) -> bool:
    """Whether a file name is that of a frame in a frame folder."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGES


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that reads runs of digits as numbers: frame2 before frame10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode in 8-bit RGB; of 16 bits the upper 8 are taken, as Pillow does with 16-bit colour.

    Raises:
        VideoError: its values have no agreed range, or colours that a profile only could tell.
    """
    if image.mode.startswith("I;16"):
        grey = np.asarray(image, dtype=np.uint16) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode not in COLOURS:
        raise VideoError(
            f"expected pictures of 8 or 16 bits a colour, found mode '{image.mode}': save them as 8-bit RGB"
        )
    clear = image.mode == "RGBa" or "transparency" in image.info  # Pillow warns of palettes with transparency
    return (image.convert("RGBA") if clear else image).convert("RGB")


def passed_over(path: Path) -> list[str]:
    """Names of what lies in a frame folder beside its frames; hidden files are not counted."""
    return sorted(name for name in os.listdir(path) if not name.startswith(".") and not is_image(name))


def _one_series(names: list[str]) -> None:
    """Refuse pictures of two kinds, such as img_00001.jpg and flow_x_00001.jpg: one of them is not what was filmed.

    Names are of one series if they differ in their numbers only. Pictures without any series are taken by name.
    """
    series = Counter(re.sub(r"\d+", "#", name.lower()) for name in names)
    if len(series) > 1 and max(series.values()) > 1:
        counts = ", ".join(f"{count} like {_example(names, kind)}" for kind, count in series.most_common(3))
        more = f" and {len(series) - 3} more kinds" if len(series) > 3 else ""
        raise VideoError(
            f"expected one series of frames in the folder, found {len(series)}: {counts}{more}: move all but one of "
            f"them into other folders"
        )


def _example(names: list[str], kind: str) -> str:
    return min((name for name in names if re.sub(r"\d+", "#", name.lower()) == kind), key=natural)
