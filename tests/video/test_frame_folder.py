"""Folders of frames: one series, every kind of picture as another reader sees it, and nothing that is no file."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageCms

from kshot import video
from kshot.errors import VideoError
from kshot.video.frame_folder import passed_over, rgb

SIDE = 32
RAMP = np.linspace(0, 255, SIDE * SIDE * 3).reshape(SIDE, SIDE, 3).astype(np.uint8)


def png(path: Path, pixels: np.ndarray, colour: int, depth: int, chunks: bytes = b"") -> Path:
    """A PNG written by hand; colour: its colour type."""
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunks + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def shown(path: Path) -> np.ndarray:
    """The one frame in a folder of its own, as kshot reads it."""
    return video.read(path.parent, 1)[0]


def other(path: Path) -> np.ndarray:
    """The same by FFmpeg's decoder."""
    with av.open(str(path)) as file:
        return next(file.decode(video=0)).to_ndarray(format="rgb24")


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("depth", [8, 16])
def test_png_of_every_colour_type_equals_another_reader(tmp_path: Path, colour: int, channels: int, depth: int) -> None:
    """Grey, colour, each with transparency, at 8 and 16 bits: 16 become 8, never white."""
    pixels = np.random.default_rng(0).integers(0, 1 << depth, (SIDE, SIDE, channels)).astype(f">u{depth // 8}")
    path = png(tmp_path / "0.png", pixels, colour, depth)
    expected = (pixels >> (depth - 8)).astype(np.uint8)
    expected = expected[..., :3] if channels > 2 else expected[..., :1].repeat(3, -1)
    np.testing.assert_array_equal(shown(path), expected)
    np.testing.assert_allclose(shown(path).astype(int), other(path).astype(int), atol=1)


@pytest.mark.parametrize("values", [range(3000, 7000, 500)])
def test_dark_16_bit_frames_stay_dark(tmp_path: Path, values: range) -> None:
    for index, value in enumerate(values):
        Image.fromarray(np.full((64, 64), value, np.uint16)).save(tmp_path / f"{index}.png")
    assert video.read(tmp_path)[:, 0, 0, 0].tolist() == [value >> 8 for value in values]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV"])
def test_every_8_bit_mode_of_pillow_keeps_its_colours(mode: str) -> None:
    source = Image.fromarray(np.where(RAMP > 127, 255, 0).astype(np.uint8) if mode == "1" else RAMP)
    if mode in ("1", "L", "LA"):
        source = source.convert("L").convert("RGB")
    if mode == "RGBa":
        image = source.convert("RGBA").convert("RGBa")
    elif mode == "PA":
        image = source.quantize(256).convert("PA")
        source = source.quantize(256).convert("RGB")
    elif mode == "P":
        image = source.quantize(256)
        source = image.convert("RGB")
    elif mode == "LA":
        image = source.convert("L").convert("LA")
    else:
        image = source.convert(mode)
    tolerance = 6 if mode == "HSV" else 2 if mode == "YCbCr" else 0
    assert image.mode == mode
    np.testing.assert_allclose(np.asarray(rgb(image)).astype(int), np.asarray(source).astype(int), atol=tolerance)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B"])
def test_16_bit_modes_are_scaled(mode: str) -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], ">u2" if mode.endswith("B") else "<u2")
    image = Image.frombytes(mode, (5, 1), values.tobytes())
    assert np.asarray(rgb(image))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_values_without_an_agreed_range_are_refused_in_one_line(mode: str) -> None:
    with pytest.raises(VideoError, match=f"found mode '{mode}': save them as 8-bit RGB") as caught:
        rgb(Image.new(mode, (4, 4)))
    assert "\n" not in str(caught.value)


def test_palettes_transparency_gamma_and_profiles(tmp_path: Path) -> None:
    """A colour key, a palette with it, a gamma and a profile change no colour, in either reader."""
    colours = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    extras = {
        "key": chunk(b"tRNS", struct.pack(">3H", *colours[0, 0])),
        "gamma": chunk(b"gAMA", struct.pack(">I", 100000)),
        "profile": chunk(b"iCCP", b"x\0\0" + zlib.compress(profile)),
    }
    for name, extra in extras.items():
        (tmp_path / name).mkdir()
        path = png(tmp_path / name / "0.png", colours, 2, 8, extra)
        np.testing.assert_array_equal(shown(path), colours, err_msg=name)
        np.testing.assert_array_equal(other(path), colours, err_msg=name)
    (tmp_path / "palette").mkdir()
    indices = np.random.default_rng(2).integers(0, 4, (SIDE, SIDE, 1)).astype(np.uint8)
    table = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], np.uint8)
    path = png(
        tmp_path / "palette" / "0.png", indices, 3, 8, chunk(b"PLTE", table.tobytes()) + chunk(b"tRNS", b"\0\x80")
    )
    np.testing.assert_array_equal(shown(path), table[indices[..., 0]])
    np.testing.assert_array_equal(other(path), table[indices[..., 0]])


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_every_mode_equals_another_reader(tmp_path: Path, mode: str) -> None:
    Image.fromarray(RAMP).convert(mode).save(tmp_path / "0.jpg", quality=95)
    seen = shown(tmp_path / "0.jpg").astype(int)
    np.testing.assert_allclose(
        seen, np.asarray(Image.fromarray(RAMP).convert(mode).convert("RGB")).astype(int), atol=12
    )
    if mode != "CMYK":  # which FFmpeg reads as colours of another kind
        np.testing.assert_allclose(seen, other(tmp_path / "0.jpg").astype(int), atol=4)


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_turns_are_undone(tmp_path: Path, turn: int) -> None:
    """The eight orientations: what is stored is the upright picture after the inverse turn."""
    stored = {
        1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x), 7: lambda x: np.rot90(x, 2).swapaxes(0, 1), 8: lambda x: np.rot90(x, -1),
    }[turn](RAMP)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "0.png", exif=exif)
    np.testing.assert_array_equal(shown(tmp_path / "0.png"), RAMP)


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(RAMP).save(folder / name)
    return folder


TWO = {
    "flow beside the camera": ["img_00001.jpg", "img_00002.jpg", "flow_x_00001.jpg", "flow_x_00002.jpg"],
    "two endings": ["1.jpg", "2.jpg", "3.png"],
    "a cover": ["1.jpg", "2.jpg", "cover.jpg"],
    "copies": ["1.jpg", "2.jpg", "2 (1).jpg"],
    "a thumbnail of each": ["a1.jpg", "a1_thumb.jpg", "a2.jpg", "a2_thumb.jpg"],
}


@pytest.mark.parametrize("what", TWO)
def test_two_series_in_one_folder_are_refused(tmp_path: Path, what: str) -> None:
    with pytest.raises(VideoError, match=r"expected one series of frames in the folder, found 2: .*move all but one"):
        video.read(fill(tmp_path / "clip", *TWO[what]))


def test_the_way_out_names_both_series(tmp_path: Path) -> None:
    folder = fill(tmp_path / "v0", *(f"{s}_{i:05d}.jpg" for s in ("img", "flow_x", "flow_y") for i in range(1, 4)))
    with pytest.raises(VideoError) as caught:
        video.scan(folder)
    assert str(caught.value).startswith(f"{folder}: expected one series of frames in the folder, found 3: ")
    for part in ("3 like img_00001.jpg", "3 like flow_x_00001.jpg", "3 like flow_y_00001.jpg"):
        assert part in str(caught.value)
    for name in os.listdir(folder):
        if name.startswith("flow"):
            (folder / name).unlink()
    assert video.scan(folder).frames == 3


@pytest.mark.parametrize(
    "names",
    [
        ["0001.jpg", "0002.jpg", "0010.jpg"],
        ["img_9.JPG", "img_10.jpg", "img_11.jpg"],
        ["00-00-59.png", "00-01-00.png", "00-01-01.png"],
        ["a.jpg", "b.jpg", "c.jpg"],
        ["only.png"],
    ],
)
def test_one_series_whatever_its_names(tmp_path: Path, names: list[str]) -> None:
    assert video.scan(fill(tmp_path / "clip", *names)).frames == len(names)


def test_natural_order(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    for index in (10, 9, 2, 1, 100):
        Image.new("L", (8, 8), index).save(folder / f"img_{index}.png")
    assert video.frames_at(folder, range(5))[:, 0, 0, 0].tolist() == [1, 2, 9, 10, 100]


def test_what_is_passed_over_in_a_frame_folder(tmp_path: Path) -> None:
    folder = fill(tmp_path / "clip", "1.jpg", "2.jpg")
    for name in ("notes.txt", "flow.npy", ".DS_Store"):
        (folder / name).write_text("x")
    assert passed_over(folder) == ["flow.npy", "notes.txt"]


def test_what_is_no_file_among_frames(tmp_path: Path) -> None:
    folder = fill(tmp_path / "clip", "1.jpg", "2.jpg")
    (folder / "2.jpg").unlink()
    (folder / "2.jpg").symlink_to("/dev/zero")
    with pytest.raises(VideoError, match=r"2\.jpg is a device: expected a regular file"):
        video.read(folder, 2)
