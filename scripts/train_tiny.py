"""Train `kshot-tiny`, the small CLIP that comes with kshot, on pictures and captions that this script draws itself.

    python scripts/train_tiny.py --out DIR --minutes 60 --seed 0

DIR gets the drawn pool of pictures, a checkpoint each minute (run the same command again to go on after a kill),
`metrics.jsonl`, `loss.png` and `weights/`, a folder in transformers' format. With `--steps` instead of `--minutes` the
schedule counts steps, and the same seed gives the same weights on the same machine.

What is learned from a picture of a figure in a random pose:

1. where each joint is, asked of the patch tokens half way up (a heatmap) and of the class token;
2. the pose itself, free of camera and body, asked of the projected embedding: joint positions in body coordinates, and
   a cosine space in which near means similar pose (the batch's own pose distances are the targets);
3. in the last part of the run, with a slow image tower: captions of the pose, equal meanings being equal targets.

No picture is a frame of the `motion` data set: poses are drawn at random. The base and val classes of `motion` are only
looked at for the log; the novel ones once, at the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from PIL import Image, ImageFilter
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from kshot.datasets import bodies, drawing, motion
from kshot.datasets.bodies import ANGLES, BODY, JOINTS, MIRROR_JOINTS
from kshot.datasets.figures import Look, Viewpoint, draw_figure, project

SIZE, PATCH, WIDTH, DEPTH, HEADS, EMBED = 64, 8, 96, 5, 6, 96
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
POSES_A_CHUNK, VIEWS = 1000, 2
"""A pose is drawn twice, as another person in another place seen by another camera."""

# ---- poses and what they are called -----------------------------------------------------------------------------

# An arm: (upper flex, upper out, lower flex, lower out), said of one arm and of both.
ARMS = {
    "down": ((3, 10, 12, 6), ("down", "hanging down", "at rest", "lowered")),
    "ahead": ((88, 3, 88, 3), ("stretched forward", "reaching forward", "held out in front", "pointing forward")),
    "wide": ((0, 90, 0, 90), ("out to the side", "stretched sideways", "spread wide", "open")),
    "up": ((0, 168, 0, 172), ("raised", "up in the air", "overhead", "raised overhead")),
    "high": ((0, 130, 0, 130), ("raised to the side", "diagonally up", "up and out")),
    "low": ((0, 45, 0, 45), ("low to the side", "a little away from the body")),
    "back": ((-48, 8, -48, 8), ("stretched back", "behind the body", "swung back")),
    "hip": ((0, 45, 0, -50), ("with the hand on the hip", "on the hip", "akimbo")),
    "head": ((0, 115, 0, 225), ("with the hand on the head", "bent over the head", "touching the head")),
    "chest": ((40, 12, 143, 0), ("bent with the fist at the chin", "guarding the face", "folded close")),
    "elbow": ((8, 8, 92, 0), ("bent at the elbow", "with the forearm forward", "carrying something")),
    "reach": ((135, 5, 135, 5), ("reaching up and forward", "forward and up", "reaching for something high")),
    "goal": ((5, 90, 5, 180), ("bent up at the side", "with the hand up beside the head", "waving", "wave")),
    "across": ((60, 15, 80, -50), ("across the chest", "folded over the chest", "crossed in front")),
}
# Legs: left and right, said of the whole person.
LEGS = {
    "stand": (((0, 5, 0, 4), (0, 5, 0, 4)), ("standing", "standing still", "upright", "stand up")),
    "apart": (((0, 26, 0, 26), (0, 26, 0, 26)), ("standing with the legs apart", "with legs spread", "straddling")),
    "stride": (((28, 3, 15, 3), (-24, 3, -38, 3)), ("walking", "taking a step", "in mid stride", "walk")),
    "dash": (((70, 3, -20, 3), (-30, 3, -80, 3)), ("running", "sprinting", "in a wide running step", "run")),
    "knee": (((88, 5, 0, 3), (0, 4, 0, 3)), ("lifting one knee", "with one knee raised", "marching", "march")),
    "kick": (((85, 4, 85, 4), (0, 4, 0, 3)), ("kicking forward", "kick forward", "with one leg stretched forward")),
    "side": (
        ((0, 75, 0, 75), (0, 5, 0, 4)),
        ("kicking to the side", "kick to the side", "with one leg out to the side"),
    ),
    "tail": (((-35, 4, -60, 3), (5, 4, 0, 3)), ("with one leg stretched back", "with a leg behind")),
    "flamingo": (
        ((20, 60, -10, -50), (0, 4, 0, 3)),
        ("standing on one leg", "stand on one leg", "balancing with a foot at the knee"),
    ),
    "bent": (((45, 8, -35, 4), (45, 8, -35, 4)), ("with bent knees", "about to jump", "half crouching")),
    "crouch": (((108, 14, -25, 8), (108, 14, -25, 8)), ("crouching", "squatting", "in a deep squat", "squat")),
    "sit": (((86, 8, 0, 4), (86, 8, 0, 4)), ("sitting", "seated", "sitting on a stool", "sit down")),
    "long": (((86, 8, 84, 4), (86, 8, 84, 4)), ("sitting on the floor", "sitting with straight legs")),
    "kneel": (((5, 8, -88, 4), (5, 8, -88, 4)), ("kneeling", "on both knees", "kneel down")),
    "oneknee": (((85, 5, 0, 4), (0, 5, -85, 4)), ("kneeling on one knee", "down on one knee")),
    "lunge": (((80, 4, -5, 2), (-30, 4, -65, 2)), ("in a lunge", "lunging forward", "lunge forward")),
}
TRUNKS = {
    "upright": ((0, 0), ("",)),
    "lean": ((32, 0), ("leaning forward", "tilted forward")),
    "bow": ((75, 0), ("bowing", "bow", "bent over", "bent forward at the waist")),
    "back": ((-20, 0), ("leaning back",)),
    "bend": ((0, 32), ("bending to the side", "bend to the side", "leaning sideways")),
}
WHOLES = {
    "upright": ((0, 0), ("",)),
    "supine": ((-90, 0), ("lying on the back", "lie down", "lying down face up")),
    "prone": ((88, 0), ("lying face down", "lying on the belly")),
    "fours": ((75, 90), ("on hands and knees", "crawling on all fours", "crawl")),
    "plank": ((75, 72), ("in a plank", "in a push-up", "push-ups")),
}
WEIGHT_OF_UPRIGHT = 0.72
_AT = {name: i for i, name in enumerate(ANGLES)}


def draw_poses(rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[tuple[str, ...] | None]]:
    """Random plausible poses (count, A) and for each its meaning, or None where a limb is in no named position.

    A meaning is (one arm, the other arm, legs, trunk, whole body); the arms are in alphabetical order, since nobody can
    tell left from right in a mirror.
    """
    poses, meanings = [], []
    for _ in range(count):
        named = True
        angles: dict[str, float | tuple[float, ...]] = {}
        arms = rng.choice(list(ARMS), 2)
        if rng.uniform() < 0.55:
            arms[1] = arms[0]
        legs, trunk, whole = (
            str(rng.choice(list(family))) if rng.uniform() > keep else next(iter(family))
            for family, keep in ((LEGS, 0.2), (TRUNKS, 0.6), (WHOLES, WEIGHT_OF_UPRIGHT))
        )
        lying = whole != "upright"
        if lying:
            trunk, legs = "upright", legs if whole == "supine" and rng.uniform() < 0.7 else "stand"
        (angles["lean"], angles["bend"]), pitch = TRUNKS[trunk][0], WHOLES[whole][0]
        angles["pitch"] = pitch[0]
        angles["left_leg"], angles["right_leg"] = LEGS[legs][0]
        if whole in ("fours", "plank"):
            arms = np.array(["ahead", "ahead"])
            angles["nod"] = -25.0
            if whole == "fours":
                angles["left_leg"] = angles["right_leg"] = (80, 5, -18, 3)
        angles["left_arm"], angles["right_arm"] = ARMS[arms[0]][0], ARMS[arms[1]][0]
        for side in ("left", "right"):
            if rng.uniform() < 0.18:
                named = False
                flex, out = rng.uniform(-55, 180), rng.uniform(-10, 60)
                if rng.uniform() < 0.4:
                    flex, out = rng.uniform(-20, 40), rng.uniform(0, 175)
                angles[f"{side}_arm"] = (flex, out, flex + rng.uniform(0, 120), out + rng.uniform(-60, 60))
            if rng.uniform() < 0.12 and not lying:
                named = False
                flex, out = rng.uniform(-35, 110), rng.uniform(0, 40)
                angles[f"{side}_leg"] = (flex, out, flex - rng.uniform(0, 110), out * rng.uniform(0, 1))
        row = bodies.pose(**angles) + rng.normal(0, 10, len(ANGLES))
        row[_AT["turn"]], row[_AT["advance"]], row[_AT["lift"]] = 0, 0, rng.uniform(0, 0.3) * (rng.uniform() < 0.12)
        if rng.uniform() < 0.5:
            row = bodies.mirror(row)
        poses.append(row)
        meanings.append((*sorted(str(arm) for arm in arms), legs, trunk, whole) if named else None)
    return np.array(poses), meanings


def caption(rng: np.random.Generator, meaning: tuple[str, ...]) -> str:
    """One of many ways to say it.

    >>> caption(np.random.default_rng(0), ("up", "up", "sit", "upright", "upright"))  # doctest: +SKIP
    'a person sitting with both arms raised'
    """

    def say(words: tuple[str, ...]) -> str:
        return str(rng.choice(words))

    one, other, legs, trunk, whole = meaning
    who = say(("a person", "a figure", "someone", "a drawing of a person", "a man", "a woman"))
    if rng.uniform() < 0.4:
        who = say(("a video of a person", "a video of a person doing", "a person doing"))
    parts = []
    if whole != "upright":
        parts.append(say(WHOLES[whole][1]))
        if legs != "stand":
            parts.append(f"as if {say(LEGS[legs][1])}")
    elif legs != "stand" or one == other == "down" or rng.uniform() < 0.4:
        parts.append(say(LEGS[legs][1]))
    if trunk != "upright":
        parts.append(say(TRUNKS[trunk][1]))
    text = f"{who} {' and '.join(parts)}".strip()
    if whole in ("fours", "plank") or (parts and one == other == "down" and rng.uniform() < 0.6):
        return text
    link = say((" with", ",", " and"))
    if one == other:
        return f"{text}{link} {say(('both arms', 'the arms', 'arms'))} {say(ARMS[one][1])}"
    if "down" in (one, other) and rng.uniform() < 0.6:
        return f"{text}{link} one arm {say(ARMS[other if one == 'down' else one][1])}"
    return f"{text}{link} one arm {say(ARMS[one][1])} and the other {say(ARMS[other][1])}"


# ---- the pool of pictures ---------------------------------------------------------------------------------------


def draw_chunk(seed: int, chunk: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """`count` random poses, each drawn VIEWS times.

    Returns:
        Pictures (n, V, 64, 64, 3) uint8; poses (n, A); joints in the picture (n, V, 14, 2) as fractions of its side;
        the same in body units from the hips; the meanings as JSON.
    """
    rng = np.random.default_rng([seed, 77, chunk])
    poses, meanings = draw_poses(rng, count)
    side = 2 * SIZE
    scenes = [drawing.scene(rng, int(1.3 * side)) for _ in range(80)]
    pictures = np.empty((len(poses), VIEWS, SIZE, SIZE, 3), np.uint8)
    seen, centred = np.empty((len(poses), VIEWS, 14, 2)), np.empty((len(poses), VIEWS, 14, 2))
    for i, angles in enumerate(poses):
        for view in range(VIEWS):
            look = Look.random(rng)
            camera = Viewpoint.random(rng, yaw=rng.uniform(-62, 62), spread=1.3)
            points = project(bodies.joints(angles, look.body), camera)
            left, top = rng.integers(0, int(0.3 * side), 2)
            picture = scenes[rng.integers(len(scenes))].crop((left, top, left + side, top + side))
            if rng.uniform() < 0.5:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            draw_figure(picture, points, look, camera)
            if rng.uniform() < 0.2:
                drawing.occlude(picture, rng)
            picture = picture.reduce(2)
            if rng.uniform() < 0.5:
                picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.7)))
            slope = rng.uniform(-0.12, 0.12) * np.linspace(-1, 1, SIZE)
            gain = (1 + slope[:, None, None]) * rng.uniform(0.7, 1.15) * rng.uniform(0.94, 1.06, 3)
            pictures[i, view] = drawing.light(picture, gain)
            seen[i, view] = points[:, :2]
            hips = (points[8, :2] + points[11, :2]) / 2
            centred[i, view] = (points[:, :2] - hips) / camera.scale
    return pictures, poses, seen, centred, [json.dumps(meaning) for meaning in meanings]


def _store_chunk(job: tuple[Path, int, int]) -> int:
    folder, seed, chunk = job
    if not (folder / f"{chunk:04d}.npz").exists():
        pictures, poses, seen, centred, lines = draw_chunk(seed, chunk, POSES_A_CHUNK)
        part = folder / f".{chunk:04d}.npz"
        with part.open("wb") as file:
            np.savez(file, pictures=pictures, poses=poses, seen=seen, centred=centred, lines=np.array(lines))
        part.rename(folder / f"{chunk:04d}.npz")
    return chunk


class Pool:
    """All drawn pictures in memory."""

    def __init__(self, folder: Path, seed: int, chunks: int, processes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [(folder, seed, chunk) for chunk in range(chunks)]
        if processes > 1:
            with multiprocessing.Pool(processes) as workers:
                list(workers.imap_unordered(_store_chunk, jobs))
        else:
            list(map(_store_chunk, jobs))
        parts = [np.load(folder / f"{chunk:04d}.npz") for chunk in range(chunks)]
        self.pictures = np.concatenate([part["pictures"] for part in parts])
        poses = np.concatenate([part["poses"] for part in parts])
        self.seen = np.concatenate([part["seen"] for part in parts]).astype(np.float32)
        self.centred = np.concatenate([part["centred"] for part in parts]).astype(np.float32)
        self.body = body_coordinates(poses)
        meanings = [json.loads(line) for part in parts for line in part["lines"]]
        rng = np.random.default_rng([seed, 88])
        self.captions = [[caption(rng, tuple(m)) for _ in range(VIEWS)] if m else None for m in meanings]
        names = {json.dumps(m): None for m in meanings if m}
        number = {name: i for i, name in enumerate(names)}
        self.meaning = np.array([number[json.dumps(m)] if m else -1 for m in meanings])

    def __len__(self) -> int:
        return len(self.pictures)


def body_coordinates(poses: np.ndarray) -> np.ndarray:
    """What a pose is, whoever takes it and whoever looks: joints (n, 14, 3) of an average body, from the hips."""
    points = bodies.joints(poses, BODY)
    return (points - (points[:, 8:9] + points[:, 11:12]) / 2).astype(np.float32)


# ---- the model --------------------------------------------------------------------------------------------------


def train_tokenizer(texts: list[str], merges: int = 600) -> CLIPTokenizer:
    """A byte-pair tokenizer in CLIP's format, complete on bytes: any text has tokens."""
    counts = Counter(word for text in texts for word in text.replace(",", " ,").split())
    words = {word: (*word[:-1], word[-1] + "</w>") for word in counts}
    pairs: list[tuple[str, str]] = []
    while len(pairs) < merges:
        seen: Counter[tuple[str, str]] = Counter()
        for word, pieces in words.items():
            for pair in itertools.pairwise(pieces):
                seen[pair] += counts[word]
        if not seen:
            break
        best = max(seen, key=lambda pair: (seen[pair], pair))
        pairs.append(best)
        for word, pieces in words.items():
            joined, rest = [], list(pieces)
            while rest:
                take = 2 if tuple(rest[:2]) == best else 1
                joined.append("".join(rest[:take]))
                del rest[:take]
            words[word] = tuple(joined)
    letters = sorted(ByteLevel.alphabet())
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in pairs)]
    vocabulary = [*dict.fromkeys(vocabulary), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(vocabulary)}, merges=pairs, model_max_length=77)


def build(tokenizer: CLIPTokenizer) -> CLIPModel:
    """The two towers, untrained."""
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    ends["pad_token_id"] = tokenizer.pad_token_id
    tower = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": HEADS, "hidden_act": "gelu"}
    text = {**tower, "num_hidden_layers": 2, "vocab_size": len(tokenizer), "max_position_embeddings": 77, **ends}
    vision = {**tower, "num_hidden_layers": DEPTH, "image_size": SIZE, "patch_size": PATCH}
    for part in (text, vision):
        part["projection_dim"] = EMBED
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=EMBED))


def export(model: CLIPModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """A folder that `CLIPModel.from_pretrained` and `AutoTokenizer.from_pretrained` read."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tokens = tokenizer.get_vocab()
    (folder / "vocab.json").write_text(json.dumps(tokens, ensure_ascii=False))
    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    rows = [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *rows, ""]))
    steps = dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"), True)
    sizes = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}, "resample": 3}
    scales = {"rescale_factor": 1 / 255, "image_mean": MEAN, "image_std": STD}
    settings = {"image_processor_type": "CLIPImageProcessor", **steps, **sizes, **scales}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")


class Heads(nn.Module):
    """The throw-away readouts of the dense losses."""

    def __init__(self) -> None:
        super().__init__()
        self.spot = nn.Linear(WIDTH, len(JOINTS))
        self.seen = nn.Linear(WIDTH, 2 * len(JOINTS))
        self.body = nn.Linear(EMBED, 3 * len(JOINTS))


def pixels(pictures: np.ndarray) -> torch.Tensor:
    """Normalised (N, 3, H, W) from uint8 (N, H, W, 3)."""
    values = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


# ---- the losses -------------------------------------------------------------------------------------------------


def pose_distance(body: torch.Tensor) -> torch.Tensor:
    """Mean squared joint distance (B, B) between poses (B, 14, 3), the nearer of a pose and its mirror image."""
    flat, flipped = body.flatten(1), mirrored(body).flatten(1)
    return torch.minimum(torch.cdist(flat, flat), torch.cdist(flat, flipped)).square() / len(JOINTS)


def mirrored(body: torch.Tensor) -> torch.Tensor:
    return body[:, MIRROR_JOINTS] * torch.tensor([-1.0, 1.0, 1.0])


def dense_losses(
    model: CLIPModel, heads: Heads, images: torch.Tensor, seen: torch.Tensor, centred: torch.Tensor, body: torch.Tensor
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Losses 1 and 2 of the module's text, and the normalised embeddings (B, P)."""
    out = model.vision_model(pixel_values=images, output_hidden_states=True)
    embedding = model.visual_projection(out.pooler_output)

    grid = SIZE // PATCH
    cell = (seen.clamp(0, 1 - 1e-4) * grid).long()
    cell = cell[..., 1] * grid + cell[..., 0]
    spots = heads.spot(out.hidden_states[DEPTH - 3][:, 1:])
    losses = {"spot": F.cross_entropy(spots, cell)}
    losses["seen"] = F.smooth_l1_loss(heads.seen(out.pooler_output), centred.flatten(1), beta=0.1)

    guess = heads.body(embedding).view_as(body)
    errors = [F.smooth_l1_loss(guess, t, beta=0.1, reduction="none").mean((1, 2)) for t in (body, mirrored(body))]
    losses["body"] = torch.minimum(*errors).mean()

    unit = F.normalize(embedding, dim=-1)
    itself = torch.eye(len(unit), dtype=torch.bool)
    target = (-pose_distance(body) / 0.012).masked_fill(itself, -1e9).softmax(-1)
    score = (unit @ unit.T * 12).masked_fill(itself, -1e9)
    losses["metric"] = -(target * score.log_softmax(-1)).sum(-1).mean()
    return losses, unit


def caption_loss(
    model: CLIPModel, unit: torch.Tensor, tokens: dict[str, torch.Tensor], meaning: torch.Tensor
) -> torch.Tensor:
    """Contrastive both ways; every picture and caption of the same meaning is an equally good answer."""
    text = F.normalize(model.text_projection(model.text_model(**tokens).pooler_output), dim=-1)
    score = unit @ text.T * model.logit_scale.clamp(max=4.6).exp()
    same = (meaning[:, None] == meaning[None]).float()
    target = same / same.sum(-1, keepdim=True)
    return -(target * (score.log_softmax(-1) + score.T.log_softmax(-1))).sum(-1).mean() / 2


# ---- what it is worth -------------------------------------------------------------------------------------------


def read_clips(clips: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eight evenly spaced frames (N, 8, 64, 64, 3) of each `motion` clip, its label and its split."""
    table = motion.cached(clips)
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    frames = []
    for row in rows:
        with av.open(str(table.parent / row[0])) as file:
            images = [frame.to_image() for frame in file.decode(video=0)]
        chosen = [images[int((i + 0.5) * len(images) / 8)] for i in range(8)]
        frames.append([np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for image in chosen])
    return np.array(frames), np.array([row[1] for row in rows]), np.array([row[2] for row in rows])


@torch.no_grad()
def embed(model: CLIPModel, frames: np.ndarray) -> np.ndarray:
    """Mean over the frames of each clip of the normalised embedding (N, P)."""
    model.eval()
    rows = [model.get_image_features(pixel_values=pixels(clip)).pooler_output for clip in frames]
    model.train()
    return F.normalize(torch.stack(rows), dim=-1).mean(1).numpy()


def nearest_mean(features: np.ndarray, labels: np.ndarray, shot: int, way: int = 5, episodes: int = 2000) -> float:
    """Accuracy in per cent of the nearest class mean by cosine, five queries a class."""
    rng = np.random.default_rng(0)
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    members = [np.flatnonzero(labels == name) for name in np.unique(labels)]
    right = []
    for _ in range(episodes):
        means, queries = [], []
        for c in rng.choice(len(members), way, replace=False):
            chosen = rng.choice(members[c], shot + 5, replace=False)
            mean = features[chosen[:shot]].mean(0)
            means.append(mean / np.linalg.norm(mean))
            queries.append(features[chosen[shot:]])
        guess = (np.stack(queries) @ np.stack(means).T).argmax(-1)
        right.append((guess == np.arange(way)[:, None]).mean())
    return 100 * float(np.mean(right))


@torch.no_grad()
def zero_shot(model: CLIPModel, tokenizer: CLIPTokenizer, features: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy in per cent among all classes of `labels`, by their bare names."""
    names = np.unique(labels)
    tokens = tokenizer([f"a person, {name}" for name in names], padding=True, return_tensors="pt")
    text = F.normalize(model.get_text_features(**tokens).pooler_output, dim=-1).numpy()
    return 100 * float((names[(features @ text.T).argmax(1)] == labels).mean())


def figures(
    model: CLIPModel, tokenizer: CLIPTokenizer, clips: tuple[np.ndarray, ...], splits: tuple[str, ...]
) -> dict[str, float]:
    """5-way 1- and 5-shot and zero-shot on some splits of `motion`."""
    frames, labels, split = clips
    found: dict[str, float] = {}
    for name in splits:
        mine = split == name
        features = embed(model, frames[mine])
        for shot in (1, 5):
            found[f"{name}_{shot}shot"] = round(nearest_mean(features, labels[mine], shot), 1)
        found[f"{name}_zero"] = round(zero_shot(model, tokenizer, features, labels[mine]), 1)
    return found


def plot(metrics: Path, picture: Path) -> None:
    """The losses, and the figure on the val classes, over minutes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    left, right = plt.subplots(1, 2, figsize=(9, 3.2), dpi=110)[1]
    losses = {"spot": "joint heatmap", "metric": "pose similarity", "caption": "captions"}
    for name, label in losses.items():
        line = [(row["minutes"], row[name]) for row in rows if name in row]
        if line:
            left.plot(*zip(*line, strict=True), label=label)
    left.set(xlabel="minutes", ylabel="loss")
    left.legend(frameon=False)
    for split, label in (("val", "val classes"), ("train", "base classes")):
        line = [(row["minutes"], row[f"{split}_1shot"]) for row in rows if f"{split}_1shot" in row]
        if line:
            right.plot(*zip(*line, strict=True), marker="o", markersize=3, label=label)
    right.axhline(20, color="grey", linewidth=0.8, linestyle=":")
    right.set(xlabel="minutes", ylabel="motion, 5-way 1-shot (%)", ylim=(0, 100))
    if right.lines[1:]:
        right.legend(frameon=False)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    plt.tight_layout()
    plt.savefig(picture)


# ---- the run ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60, help="of training; drawing the pool comes before")
    parser.add_argument("--steps", type=int, help="count steps instead of minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chunks", type=int, default=50, help=f"of the pool, {POSES_A_CHUNK * VIEWS} pictures each")
    parser.add_argument("--batch", type=int, default=64, help=f"poses, each seen {VIEWS} times")
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--captions-from", type=float, default=0.6, help="part of the run before captions come in")
    parser.add_argument("--clips", type=int, default=16, help="of motion, a class, for the log; 0 looks at none")
    parser.add_argument("--save-every", type=float, default=60, help="seconds between checkpoints")
    parser.add_argument("--processes", type=int, default=2)
    train(parser.parse_args(arguments))


def train(a: argparse.Namespace) -> None:
    transformers.utils.logging.disable_progress_bar()
    a.out.mkdir(parents=True, exist_ok=True)
    metrics, checkpoint = a.out / "metrics.jsonl", a.out / "checkpoint.pt"
    metrics.touch()
    pool = Pool(a.out / "pool", a.seed, a.chunks, a.processes)
    tokenizer = train_tokenizer([text for says in pool.captions if says for text in says])
    clips = read_clips(a.clips) if a.clips else None

    torch.manual_seed(a.seed)
    model, heads = build(tokenizer), Heads()
    image = [*model.vision_model.parameters(), *model.visual_projection.parameters(), *heads.parameters()]
    text = [*model.text_model.parameters(), *model.text_projection.parameters(), model.logit_scale]
    optimizer = torch.optim.AdamW([{"params": image}, {"params": text}], betas=(0.9, 0.98), weight_decay=0.05)
    step, elapsed = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        step, elapsed = state["step"], state["elapsed"]
        model.load_state_dict(state["model"])
        heads.load_state_dict(state["heads"])
        optimizer.load_state_dict(state["optimizer"])
        rows = [json.loads(line) for line in metrics.read_text().splitlines()]
        metrics.write_text("".join(json.dumps(row) + "\n" for row in rows if row["step"] <= step))

    def log(**values: float) -> None:
        row = {"step": step, "minutes": round(elapsed / 60, 2)} | values
        with metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)

    def save() -> None:
        state = {"model": model.state_dict(), "heads": heads.state_dict(), "optimizer": optimizer.state_dict()}
        part = checkpoint.with_suffix(".part")
        torch.save(state | {"step": step, "elapsed": elapsed}, part)
        part.rename(checkpoint)
        export(model, tokenizer, a.out / "weights")

    def progress() -> float:
        return step / a.steps if a.steps else elapsed / 60 / a.minutes

    means: Counter[str] = Counter()
    saved, looked, averaged = time.monotonic(), elapsed, 0
    while progress() < 1:
        began = time.monotonic()
        rng = np.random.default_rng([a.seed, 99, step])
        speaking = progress() > a.captions_from
        decay = 0.5 * (1 + math.cos(math.pi * progress())) * min(1, (step + 1) / 300)
        optimizer.param_groups[0]["lr"] = a.rate * decay * (0.5 if speaking else 1)
        optimizer.param_groups[1]["lr"] = a.rate * (1 - progress()) / (1 - a.captions_from) if speaking else 0.0

        chosen = rng.choice(len(pool), a.batch, replace=False)
        seen, centred = (torch.from_numpy(v[chosen]).flatten(0, 1) for v in (pool.seen, pool.centred))
        body = torch.from_numpy(pool.body[chosen]).repeat_interleave(VIEWS, 0)
        images = pixels(pool.pictures[chosen].reshape(-1, SIZE, SIZE, 3))
        contrast = torch.from_numpy(rng.uniform(0.8, 1.2, (len(images), 1, 1, 1)).astype(np.float32))
        images = images * contrast + torch.from_numpy(rng.normal(0, 0.15, (len(images), 3, 1, 1)).astype(np.float32))
        losses, unit = dense_losses(model, heads, images, seen, centred, body)
        loss = losses["spot"] * 0.3 + losses["seen"] * 3 + losses["body"] * 6 + losses["metric"]
        if speaking:
            meaning = torch.from_numpy(pool.meaning[chosen]).repeat_interleave(VIEWS)
            says = [caption for i in chosen for caption in pool.captions[i] or ()]
            tokens = dict(tokenizer(says, padding=True, return_tensors="pt"))
            losses["caption"] = caption_loss(model, unit[meaning >= 0], tokens, meaning[meaning >= 0])
            loss = loss + losses["caption"]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*image, *text], 1.0)
        optimizer.step()

        step += 1
        averaged += 1
        means.update({name: value.item() for name, value in losses.items()})
        elapsed += time.monotonic() - began
        if step % 50 == 0 or progress() >= 1:
            log(**{name: round(value / averaged, 4) for name, value in means.items()})
            means.clear()
            averaged = 0
        if time.monotonic() - saved > a.save_every:
            save()
            saved = time.monotonic()
        if clips and elapsed - looked > 300:
            log(**figures(model, tokenizer, clips, ("val", "train")))
            looked = elapsed
    save()
    if clips:
        log(**figures(model, tokenizer, clips, ("val", "train", "test")))
    plot(metrics, a.out / "loss.png")


if __name__ == "__main__":
    main()
