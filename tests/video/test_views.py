"""Views: other frames, squares and mirror images of the same clips for training, drawn as pure functions."""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import kshot
from clips import write_clips, write_table, write_video
from kshot import datasets, video
from kshot.activations.activations import Activations
from kshot.activations.drawn_views import extract_views
from kshot.activations.extraction import extract
from kshot.backbones import backbone as backbones
from kshot.errors import DataError, OptionError
from kshot.fewshot.fit import load_tensors
from kshot.fewshot.training import train
from kshot.video import FRAMINGS, Framing, preprocess, views
from kshot.video.views import AUGMENT, framing, has_side, never_flipped, parse
from tiny import random_clip

FRAMES = 4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("views")
    write_clips(folder / "clips", clips=4)
    random_clip(folder / "clip")
    return folder


@pytest.fixture(scope="module")
def backbone(place: Path) -> backbones.Backbone:
    return backbones.load(place / "clip")


@pytest.fixture(scope="module")
def data(place: Path) -> datasets.Dataset:
    return datasets.load(place / "clips/clips.csv").select("val")


def quick(data: datasets.Dataset, backbone: backbones.Backbone, store: Path, cut: str = "frames", **how: object):
    return extract(data, backbone, cut, store, frames=FRAMES, workers=0, **how)


# ---- framing ----------------------------------------------------------------------------------------------------


def coordinates(height: int, width: int) -> np.ndarray:
    """A picture whose red says x and whose green says y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, 0 * x], -1).astype(np.uint8)


def test_a_squash_and_a_short_side_cut_what_they_say():
    picture = coordinates(140, 210)[None]
    squashed = preprocess(picture, 112, FRAMINGS["squash-256"])[0]
    # 210 columns to 128, of which the middle 112: from 8 * 210 / 128 to 120 * 210 / 128
    assert (
        abs(int(squashed[50, 0, 0]) - 8.5 * 210 / 128) < 1.5 and abs(int(squashed[50, -1, 0]) - 119.5 * 210 / 128) < 2
    )
    assert abs(int(squashed[0, 50, 1]) - 8.5 * 140 / 128) < 1.5
    short = preprocess(picture, 112, FRAMINGS["short-256"])[0]
    # 192 x 128, of which columns 40..152 and rows 8..120
    assert abs(int(short[50, 0, 0]) - 40.5 * 210 / 192) < 1.5 and abs(int(short[0, 50, 1]) - 8.5 * 140 / 128) < 1.5
    tall = preprocess(coordinates(210, 140)[None], 112, FRAMINGS["short-256"])[0]
    assert np.abs(tall[..., [1, 0, 2]].swapaxes(0, 1).astype(int) - short).max() <= 1


def test_pillow_gives_the_same_square():
    from PIL import Image

    rng = np.random.default_rng(0)
    for height, width in ((90, 160), (160, 90), (100, 100)):
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        whole = Image.fromarray(picture).resize((73, 73), Image.Resampling.BICUBIC)
        found = preprocess(picture[None], 64, Framing(squash=True, margin=256 / 224, place=(0.99, 0.0), flip=True))[0]
        assert np.array_equal(found, np.asarray(whole)[:64, 9:73][:, ::-1])


def test_a_random_square_lies_inside_the_picture_and_reaches_its_edges():
    picture = coordinates(60, 80)[None] + 1  # 0 would be what lies outside
    corners = set()
    for clip in range(300):
        drawn = framing("short", ("crop",), view=1, clip=clip)
        assert drawn.margin == 256 / 224 and not drawn.flip and drawn.place is not None
        square = preprocess(picture, 56, drawn)[0]
        assert square.shape == (56, 56, 3) and square[..., :2].min() >= 1 and square[0, -1, 0] <= 80
        corners.add((int(square[0, 0, 0]), int(square[0, 0, 1])))
    left, top = np.array(sorted(corners)).T
    assert left.min() == top.min() == 1 and left.max() >= 80 - 53 - 2 and top.max() >= 60 - 53 - 2


def test_half_of_all_views_are_mirrored_and_view_0_never():
    flips = [framing("squash-256", ("flip",), view, clip).flip for view in (1, 2) for clip in range(1000)]
    assert 0.45 < np.mean(flips) < 0.55
    assert framing("squash-256", AUGMENT, 0, 7) == FRAMINGS["squash-256"]
    with pytest.raises(OptionError, match="unknown resize 'squahs-256': did you mean 'squash-256'"):
        framing("squahs-256")


def test_names_of_augmentations():
    assert parse("flip, time") == ("time", "flip") and parse(["crop"]) == ("crop",)
    with pytest.raises(OptionError, match="unknown augmentation 'colour'"):
        parse("time,colour")
    with pytest.raises(OptionError, match="views need an augmentation"):
        parse([])


def test_classes_with_a_side_in_their_name_are_never_mirrored():
    named = ["Pushing [something] from left to right", "Turning the camera left", "swipe-right", "SwipeLeft",
             "rotate counter-clockwise", "RIGHT hook"]  # fmt: skip
    others = ["Moving [something] up", "Moving [something] down", "copyright", "bright light", "cleft", "upright"]
    assert all(map(has_side, named)) and not any(map(has_side, others))
    assert never_flipped(named + others, None) == tuple(named)
    assert never_flipped(named + others, ["cleft"]) == ("cleft",)
    assert never_flipped(named, []) == ()
    with pytest.raises(OptionError, match="unknown class 'clef': did you mean 'cleft'"):
        never_flipped(others, ["clef"])


# ---- the store --------------------------------------------------------------------------------------------------


def test_view_0_holds_the_middle_frames_and_others_what_they_drew(place: Path, backbone, data):
    parts = [quick(data, backbone, place / "store", view=view) for view in (0, 1, 2)]
    clip = 3
    middle = video.read(data.paths[clip], FRAMES, size=backbone.size)
    assert (parts[0].gather([clip])[0] == middle).all()
    shots = [part.gather([clip])[0] for part in parts]
    assert (shots[1] != shots[0]).any() and (shots[1] != shots[2]).any()
    again = quick(data, backbone, place / "other", view=2)
    assert (again.gather([clip])[0] == shots[2]).all()


def test_every_frame_of_a_clip_gets_the_same_crop_and_flip(place: Path, backbone, data):
    """A crop or flip of view 1 is one of those of the middle frames, the same for all of them."""
    made = quick(data, backbone, place / "store", view=1, augment="crop,flip").gather(range(len(data)))
    flips = set()
    for clip, path in enumerate(data.paths):
        digest = quick(data, backbone, place / "store").digests[clip]
        drawn = framing("short", ("crop", "flip"), 1, int(digest[:15], 16))
        frames = video.read(path, FRAMES)
        assert np.array_equal(made[clip], preprocess(frames, backbone.size, drawn))
        flips.add(drawn.flip)
    assert flips == {True, False}


@pytest.mark.parametrize("workers", [0, 1])
def test_every_frame_may_get_a_crop_of_its_own(workers: int, backbone, data, tmp_path: Path):
    few = data.subset([0])
    made = extract(
        few, backbone, "frames", tmp_path, frames=FRAMES, workers=workers, view=1, augment="crops", resize="squash-257"
    )
    drawn = framing("squash-257", ("crops",), 1, int(made.digests[0][:15], 16), FRAMES)
    rows = zip(video.read(few.paths[0], FRAMES), drawn.places, strict=True)
    own = [preprocess(frame[None], backbone.size, replace(drawn, place=place, places=()))[0] for frame, place in rows]
    assert np.array_equal(made.gather([0])[0], np.stack(own)) and len(set(drawn.places)) == FRAMES


def test_equal_bytes_under_another_name_get_the_same_view(place: Path, backbone, data, tmp_path: Path):
    shutil.copytree(data.paths[0], tmp_path / "elsewhere")
    table = write_table(tmp_path / "clips.csv", [("elsewhere", "a", "", "")])
    one = quick(datasets.load(table), backbone, tmp_path / "store", view=1, augment="time,crop,flip")
    two = quick(data, backbone, place / "store", view=1, augment="time,crop,flip")
    assert np.array_equal(one.gather([0]), two.gather([0]))


def test_each_choice_has_a_key_of_its_own(backbone, data, tmp_path: Path):
    few = data.subset([1, 2])
    folders = {}
    for resize in FRAMINGS:
        for view, augment in [(0, AUGMENT), (1, "time"), (2, "time"), (1, "crop"), (1, "time,crop"), (1, "flip"),
                              (1, "time,crop,flip")]:  # fmt: skip
            made = quick(few, backbone, tmp_path, resize=resize, view=view, augment=augment)
            folders.setdefault(made.store.folder, []).append((resize, view, augment, made.stored_now))
    shared = [cases for cases in folders.values() if len(cases) > 1]
    # a random crop is taken from the wider picture in any case, so there is nothing to tell apart
    assert {tuple(case[:3] for case in cases) for cases in shared} == {
        ((narrow, 1, a), (wide, 1, a))
        for narrow, wide in (("short", "short-256"), ("squash-256", "squash"))
        for a in ("crop", "time,crop", "time,crop,flip")
    }
    assert len(folders) == len(FRAMINGS) * 7 - 6
    again = quick(few, backbone, tmp_path, augment="flip")
    assert again.stored_now == 0, "view 0 is the same whatever views change"


def test_stores_of_before_are_still_found(backbone, data, tmp_path: Path):
    """The keys of what could be stored before there were crops and flips."""
    short = "short side to size (PIL bicubic), centre crop"
    for view, sampling in ((0, "middle"), (1, "random")):
        key = quick(data.subset([1]), backbone, tmp_path, view=view).store.key
        assert key == {"cut": 0, "frames": FRAMES, "sampling": sampling, "size": backbone.size, "view": view,
                       "format": 1, "preprocessing": short}  # fmt: skip


# ---- visits -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def joined(place: Path, backbone, data) -> Activations:
    first = quick(data, backbone, place / "store")
    return extract_views(first, backbone, 3, "time,crop", store=place / "store", frames=FRAMES, workers=0)


def test_a_visit_draws_views_by_seed_number_and_clip_alone(joined: Activations, place: Path, backbone, data):
    parts = [quick(data, backbone, place / "store", view=view, augment="time,crop") for view in (0, 1, 2)]
    clips = list(range(len(data)))
    assert (joined.gather(clips) == parts[0].gather(clips)).all()
    drawn = joined.gather(clips, visit=(0, 5))
    assert (drawn == joined.gather(clips, visit=(0, 5))).all()
    assert (drawn[[7]] == joined.gather([7], visit=(0, 5))).all()
    assert (drawn[[7, 2]] == joined.gather([7, 2], visit=(0, 5))).all()
    source = [next(v for v in range(3) if (parts[v].gather([c])[0] == drawn[c]).all()) for c in clips]
    assert set(source) == {0, 1, 2}
    assert (joined.gather(clips, visit=(0, 6)) != drawn).any()
    assert (joined.gather(clips, visit=(1, 5)) != drawn).any(), "another seed, other views"
    half = joined.subset(np.arange(8, 16))
    assert (half.gather([0, 1]) == joined.gather([8, 9])).all()
    assert {bytes(half.gather([0], (0, visit))) for visit in range(40)} == {
        bytes(parts[view].gather([8])) for view in range(3)
    }


def test_classes_that_must_not_be_mirrored_are_not(backbone, data, tmp_path: Path):
    still = data.classes[1]
    first = quick(data, backbone, tmp_path)
    made = extract_views(first, backbone, 6, "flip", [still], store=tmp_path, frames=FRAMES, workers=0)
    plain = first.gather(range(len(data)))
    kinds = {}
    for clip, label in enumerate(data.labels):
        seen = {bytes(made.gather([clip], (0, visit))) for visit in range(60)}
        assert seen <= {bytes(plain[clip]), bytes(np.ascontiguousarray(plain[clip][:, :, ::-1]))}
        kinds.setdefault(data.classes[label], []).append(len(seen))
    assert set(kinds.pop(still)) == {1}
    assert all(2 in each for each in kinds.values())
    both = extract_views(first, backbone, 2, "crop,flip", [still], store=tmp_path, frames=FRAMES, workers=0)
    crops = quick(data, backbone, tmp_path, view=1, augment="crop")
    mine = np.flatnonzero(data.labels == 1)
    wanted = {bytes(crops.gather([mine[0]])), bytes(plain[mine[0]])}
    assert {bytes(both.gather([mine[0]], (0, visit))) for visit in range(20)} == wanted


def test_a_clip_that_only_view_0_can_read_is_named(backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    rows = []
    for name in ("good.mp4", "bad.mp4"):
        write_video(tmp_path / name, rng.integers(0, 255, (9, 32, 32, 3), dtype=np.uint8))
        rows.append((name, "a", "", ""))
    data = datasets.load(write_table(tmp_path / "clips.csv", rows))
    first = quick(data, backbone, tmp_path / "store")
    real = views.framing

    def lost(resize: str, augment=(), view: int = 0, clip: int = 0, frames: int = 1) -> Framing:
        found = real(resize, augment, view, clip, frames)
        return Framing(margin=1e9) if first.digests[1].startswith(f"{clip:015x}") and view else found

    monkeypatch.setattr(views, "framing", lost)
    with pytest.raises(DataError, match=r"bad\.mp4: .* it could be read in view 0, but not in view 1"):
        extract_views(first, backbone, 2, store=tmp_path / "store", frames=FRAMES, workers=0)


# ---- training ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_training_sees_the_views_and_its_config_names_them(place: Path, tmp_path: Path):
    common = {"backbone": place / "clip", "store": place / "store", "frames": FRAMES, "way": 3, "query": 2, "steps": 2}
    table = place / "clips/clips.csv"
    for name, how in {"1": {}, "3": {"views": 3, "augment": "time,crop,flip", "no_flip": ["jump"]}}.items():
        train(table, tmp_path / name, val_episodes=5, select="none", **common, **how)
    one, three = ((tmp_path / v / "metrics.jsonl").read_text() for v in "13")
    assert one != three
    config = json.loads((tmp_path / "3/config.json").read_text())
    assert (config["views"], config["augment"], config["no_flip"]) == (3, ["time", "crop", "flip"], ["jump"])
    assert config["resize"] == "short" and json.loads((tmp_path / "1/config.json").read_text())["augment"] == []
    with pytest.raises(OptionError, match="started with other settings: augment was"):
        train(table, tmp_path / "3", val_episodes=5, select="none", resume=True, **common, views=3, no_flip=["jump"])
    with pytest.raises(OptionError, match="views must be at least 1"):
        train(table, tmp_path / "0", views=0, **common)
    with pytest.raises(OptionError, match="unknown class 'hop'"):
        train(table, tmp_path / "0", views=2, augment="flip", no_flip=["hop"], **common)
    with pytest.raises(OptionError, match="unknown resize 'long'"):
        train(table, tmp_path / "0", resize="long", **common)


@pytest.mark.parametrize("strategy", ["meta", "finetune"])
def test_stopped_and_resumed_with_views_equals_straight(place: Path, tmp_path: Path, strategy: str):
    def run(out: str, **how: object):
        return train(
            place / "clips/clips.csv", tmp_path / out, strategy=strategy, backbone=place / "clip",
            store=place / "store",
            frames=FRAMES, way=3, query=2, steps=6, val_every=3, val_episodes=10, views=3, augment="time,crop,flip",
            **how,
        )  # fmt: skip

    @contextmanager
    def press(title: str, total: float, unit: str):
        steps: list[str] = []

        def step(done: float = 1, note: str = "") -> None:
            if title == "training" and note:
                steps.append(note)
                if len(steps) == 4:
                    os.kill(os.getpid(), signal.SIGINT)

        yield step

    run("straight")
    with pytest.raises(KeyboardInterrupt):
        run("stopped", progress=press)
    run("stopped", resume=True)
    one, two = (load_tensors(tmp_path / name / "weights.safetensors")[0] for name in ("straight", "stopped"))
    assert one.keys() == two.keys() and all(bool((one[name] == two[name]).all()) for name in one)
    losses = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("straight", "stopped")]
    first, second = ([{k: v for k, v in json.loads(row).items() if k != "seconds"} for row in rows] for rows in losses)
    assert first == second


@pytest.mark.slow
def test_a_run_is_evaluated_as_it_was_trained(place: Path, tmp_path: Path):
    from kshot.fewshot.evaluation import evaluate

    table = place / "clips/clips.csv"
    common = {"way": 3, "query": 2, "store": place / "store"}
    train(table, tmp_path / "run", backbone=place / "clip", frames=FRAMES, steps=1, val_episodes=5,
          resize="squash-256", **common)  # fmt: skip
    own = evaluate(table, adapted=tmp_path / "run", episodes=20, **common)
    assert (own.options.frames, own.options.resize) == (FRAMES, "squash-256")
    other = evaluate(table, adapted=tmp_path / "run", episodes=20, resize="short", **common)
    assert other.options.resize == "short"
    with pytest.raises(OptionError, match="with resize squash-256, but a recognizer sees frames with resize short"):
        kshot.Recognizer(place / "clip", adapted=tmp_path / "run").fit([place / "clips" / "clap-1.mp4"] * 2, ["a", "b"])
