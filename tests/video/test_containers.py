"""A clip of each container is drawn and read, with the PyAV that is there: lowest, newest, or any between.

Needs no torch; `scripts/check_pythons.py` and `make test-lowest` run it as well.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kshot.video import Taken, container
from kshot.video.workers import Job, decode

FORMATS = {"m2ts": "mpegts", "ts": "mpegts", "m4v": "mp4", "ogv": "ogg", "wmv": "asf", "mkv": "matroska"}
FORMATS |= dict.fromkeys(("mts", "m2t", "tod", "trp", "tp"), "mpegts") | dict.fromkeys(("divx", "xvid"), "avi")
FORMATS |= dict.fromkeys(("qt", "3gpp", "3gp2", "mj2", "f4v", "insv"), "mov") | {"mk3d": "matroska", "wm": "asf"}
FORMATS |= dict.fromkeys(("mpe", "m2p", "vob", "mod", "evo", "vro"), "vob") | dict.fromkeys(("ogm", "ogx"), "ogg")
CODECS = {"webm": "libvpx", "ogv": "libvpx", "ogg": "libvpx", "gif": "gif", "wmv": "msmpeg4v3", "asf": "msmpeg4v3"}
CODECS |= dict.fromkeys(("ogm", "ogx"), "libvpx") | {"wm": "msmpeg4v3", "divx": "mpeg4", "xvid": "mpeg4"}
CODECS |= dict.fromkeys(("mpe", "m2p", "vob", "mod", "evo", "vro"), "mpeg2video")
CODECS |= {"flv": "flv1", "avi": "mpeg4", "mpg": "mpeg2video", "mpeg": "mpeg2video"}
NO_UTF8 = b"\xe9\xff\xfe!"


def drawn(path: Path) -> Path:
    """16 frames from dark to bright, with a title that is no UTF-8 where the container keeps one."""
    kind = path.suffix[1:]
    with av.open(str(path), "w", format=FORMATS.get(kind)) as file:
        file.metadata["title"] = "zzzz"
        stream = file.add_stream(CODECS.get(kind, "libx264"), rate=Fraction(25))
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "rgb8" if kind == "gif" else "yuv420p"
        for level in range(16):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 16 * level, np.uint8), format="rgb24")
            file.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        file.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"zzzz", NO_UTF8))
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("containers")
    return {suffix: drawn(folder / f"clip{suffix}") for suffix in sorted(container.SUFFIXES)}


def test_a_clip_of_each_container_is_decoded(clips: dict[str, Path]) -> None:
    """In a process of its own, as a crash of FFmpeg would end this one."""
    results = decode([Job(path, 4, size=32) for path in clips.values()], workers=1)
    for suffix, (_, found) in zip(clips, sorted(results, key=lambda result: result[0]), strict=True):
        assert isinstance(found, Taken), f"{suffix}: {found}"
        levels = found.frames.mean((1, 2, 3))
        assert found.frames.shape == (4, 32, 32, 3) and (np.diff(levels) > 20).all(), (suffix, levels)


def test_tags_need_not_be_utf8(clips: dict[str, Path]) -> None:
    tagged = [suffix for suffix, path in clips.items() if NO_UTF8 in path.read_bytes()]
    assert {".avi", ".mp4", ".mkv", ".flv"} <= set(tagged)


def test_a_clip_that_crashed_an_older_pyav(shared: Path) -> None:
    """PyAV 17.0 ended the process on every FLV once it was told which protocols and formats are allowed."""
    path = shared.parent / "cases" / "av17-segfault.flv"
    if not path.exists():
        pytest.skip("the case is not there")
    ((_, found),) = decode([Job(path, 4, size=32)], workers=1)
    assert isinstance(found, Taken), found
