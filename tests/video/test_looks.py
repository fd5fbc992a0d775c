"""Interlaced and HDR files are told, with a count, and read as they are stored; of ordinary ones nothing is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import kshot
from kshot import video
from kshot.cli import main
from kshot.recognizer import Recognizer
from kshot.video.looks import looks, noted
from kshot.video.workers import Job, Stream, decode
from scenes import scene

KINDS: dict[str, tuple[str, str, dict[str, str], tuple[str, ...]]] = {
    "interlaced.mpg": ("mpeg2video", "yuv420p", {"flags": "+ildct+ilme"}, ("interlaced",)),
    "interlaced.mp4": ("libx264", "yuv420p", {"x264-params": "tff=1"}, ("interlaced",)),
    "pq.mp4": ("libx264", "yuv420p10le", {"x264-params": "transfer=smpte2084"}, ("HDR (PQ)",)),
    "hlg.mp4": ("libx264", "yuv420p10le", {"x264-params": "transfer=arib-std-b67"}, ("HDR (HLG)",)),
    "both.mkv": ("libx264", "yuv420p10le", {"x264-params": "tff=1:transfer=smpte2084"}, ("interlaced", "HDR (PQ)")),
    "ten bits.mp4": ("libx264", "yuv420p10le", {}, ()),
    "bt709.mp4": ("libx264", "yuv420p", {"x264-params": "transfer=bt709"}, ()),
    "plain.mp4": ("libx264", "yuv420p", {}, ()),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of each kind, of 48 frames."""
    made = tmp_path_factory.mktemp("looks")
    for name, (codec, pixels, options, _) in KINDS.items():
        with av.open(str(made / name), "w") as file:
            stream = file.add_stream(codec, rate=25, options=options)
            stream.height, stream.width = 64, 96
            stream.pix_fmt = pixels
            for image in scene(48, 64, 96):
                frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixels)
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
    return made


@pytest.mark.parametrize("name", KINDS)
def test_what_is_unusual_is_seen_and_frames_stay_as_stored(folder: Path, name: str) -> None:
    path, wanted = folder / name, KINDS[name][3]
    taken = video.take(path, 8)
    assert taken.looks == wanted
    with av.open(str(path)) as file:
        every = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    np.testing.assert_array_equal(taken.frames, np.stack([every[at] for at in video.choose(len(every), 8)]))
    samples = video.Samples(path, 0.5)
    assert list(samples) and samples.looks == wanted


def test_a_folder_of_pictures_is_ordinary(tmp_path: Path) -> None:
    from PIL import Image

    for number, image in enumerate(scene(3, 64, 96)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    assert video.take(tmp_path, 3).looks == ()


def test_decoding_processes_say_so_too(folder: Path) -> None:
    found = [taken for _, taken in decode([Job(folder / name) for name in KINDS], 1)]
    assert [one.looks for one in found if isinstance(one, video.Taken)] == [kind[3] for kind in KINDS.values()]
    stream = Stream(folder / "both.mkv", 0.5)
    assert list(stream.samples()) and tuple(stream.looks) == KINDS["both.mkv"][3]


def test_a_note_for_each_kind_with_its_count() -> None:
    assert looks(False, 1) == looks(False, 2) == () and noted([(), ()]) == []
    one, two = noted([("interlaced",), (), ("interlaced", "HDR (PQ)"), ("HDR (HLG)",)])
    assert one.startswith("2 clips are interlaced: frames are taken as stored") and "data cut --deinterlace" in one
    assert two.startswith("2 clips are HDR (HLG) and HDR (PQ): colours are taken as stored")
    assert noted([("HDR (PQ)",)])[0].startswith("1 clip is HDR (PQ): ")


def test_extraction_says_so_once_stored_and_read_again(
    folder: Path, tmp_path: Path, clip_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the keys and values of ordinary clips know nothing of it."""
    table = tmp_path / "clips.csv"
    table.write_text("path,label\n" + "".join(f"{folder / name},a{at % 2}\n" for at, name in enumerate(KINDS)))
    for _ in range(2):
        stored = kshot.extract(table, clip_folder, store=tmp_path / "store")
        assert [note.split(":")[0] for note in stored.notes if " is " in note or " are " in note] == [
            "3 clips are interlaced",
            "3 clips are HDR (HLG) and HDR (PQ)",
        ]
    assert stored.store is not None
    assert set(stored.store.looks()) < set(stored.digests) and len(stored.store.looks()) == 5
    plain = tmp_path / "plain.csv"
    plain.write_text(f"path,label\n{folder / 'plain.mp4'},a\n{folder / 'bt709.mp4'},b\n")
    alone = kshot.extract(plain, clip_folder, store=tmp_path / "other")
    assert alone.store is not None and not (alone.store.folder / "looks.json").exists()
    assert alone.store.key == stored.store.key and not [note for note in alone.notes if "clip" in note]
    again = kshot.extract(plain, clip_folder, store=tmp_path / "store")
    assert again.stored_now == 0
    found, wanted = (np.asarray(one.gather(range(2)), np.float32) for one in (again, alone))
    np.testing.assert_allclose(found, wanted, atol=4e-3)  # of other batches, in half precision


def test_fit_and_predict_say_so(
    folder: Path, tmp_path: Path, clip_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: Any = Recognizer(clip_folder, method="prototype", store=tmp_path / "store")
    made.fit([folder / name for name in ("interlaced.mpg", "pq.mp4", "plain.mp4", "bt709.mp4")], ["a", "a", "b", "b"])
    told = [note for note in made.report_.notes if "taken as stored" in note]
    assert [note.split(":")[0] for note in told] == ["1 clip is interlaced", "1 clip is HDR (PQ)"]
    made.save(tmp_path / "model")
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["predict", str(tmp_path / "model"), str(folder / "interlaced.mp4"), str(folder / "plain.mp4"), "--json"])
    said = capsys.readouterr()
    assert all({"video", "label", "proba", "likeness"} <= set(one) for one in json.loads(said.out)["answers"])
    assert said.err.count("note: ") == 1 and "note: 1 clip is interlaced: " in said.err
    course = made.timeline(folder / "hlg.mp4")
    assert any(note.startswith("HDR (HLG): colours are taken as stored") for note in course.notes)


def test_predictions_may_take_the_fields_apart(folder: Path, tmp_path: Path, clip_folder: Path, command: Any) -> None:
    made: Any = Recognizer(clip_folder, method="prototype", reject=False, store=tmp_path / "store")
    made.fit([folder / name for name in ("bt709.mp4", "pq.mp4", "plain.mp4", "hlg.mp4")], ["a", "a", "b", "b"])
    made.save(tmp_path / "model")
    arguments = ("predict", tmp_path / "model", folder / "interlaced.mp4")
    for more, told in (((), True), (("--deinterlace",), False)):
        for timeline in ((), ("--timeline",)):
            code, _, err = command(*arguments, *more, *timeline)
            assert code == 0 and ("interlaced: frames are taken as stored" in err) is told, err


def test_extraction_and_training_may_take_the_fields_apart(
    folder: Path, tmp_path: Path, clip_folder: Path, command: Any
) -> None:
    """In a place of their own in the store; what was stored before stays, and a model goes on as it was trained."""
    table, store = tmp_path / "clips.csv", tmp_path / "store"
    names = ("interlaced.mpg", "interlaced.mp4", "plain.mp4", "bt709.mp4")
    table.write_text("path,label\n" + "".join(f"{folder / name},a{at // 2}\n" for at, name in enumerate(names)))
    arguments = ("extract", table, "--backbone", clip_folder, "--store", store, "--cut", "frames", "--json")
    told = [json.loads(command(*arguments, *more)[1]) for more in ((), ("--deinterlace",), ("--deinterlace",), ())]
    assert [one["stored_now"] for one in told] == [4, 4, 0, 0]
    assert [any("interlaced" in note for note in one["notes"]) for one in told] == [True, False, False, True]
    plain, apart = (kshot.extract(table, clip_folder, "frames", store, deinterlace=how) for how in (False, True))
    frames, mended = (np.asarray(one.gather(range(4))) for one in (plain, apart))
    assert [bool((a == b).all()) for a, b in zip(frames, mended, strict=True)] == [False, False, True, True]
    code, text, error = command("evaluate", table, "--backbone", clip_folder, "--store", store, "--deinterlace",
                                "--split", "all", "--way", 2, "--query", 1, "--episodes", 2, "--json")  # fmt: skip
    assert code == 0 and json.loads(text)["options"]["deinterlace"], error
    assert "interlaced" not in " ".join(json.loads(text)["notes"])
    assert command("fit", table, "--backbone", clip_folder, "--store", store, "--out", tmp_path / "model",
                   "--method", "prototype", "--deinterlace")[0] == 0  # fmt: skip
    made = Recognizer.load(tmp_path / "model")
    assert made.deinterlace and made.framing.deinterlace
    assert "interlaced" not in " ".join(made.report_.notes)
