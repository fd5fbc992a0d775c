"""`kshot backbones`: every published backbone with what it needs, true where it can be looked at, fetching nothing."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

import checkpoints
from forks import Command
from kshot import catalogue, tuning
from kshot.activations.encoding import encode
from kshot.backbones import families, hub, published
from kshot.backbones.backbone import load
from kshot.errors import CheckpointError
from kshot.fewshot import cost


@pytest.mark.parametrize("name", ["kshot-tiny", "lite"])
def test_what_is_shipped_is_what_the_backbone_needs(name: str) -> None:
    backbone = load(name)
    shipped, found = catalogue._shipped()[name], catalogue.sizes_of(backbone)
    assert shipped == found
    clip = torch.zeros(1, found.frames, found.side, found.side, 3, dtype=torch.uint8).numpy()
    kept = encode(backbone, backbone.depth, clip, "float16", backbone.image.exact)
    assert found.stored == kept.nbytes
    assert found.weights == backbone.describe()["image"]["parameters"]
    assert found.multiply_adds == cost.of_clip(backbone, 8)
    tuning.apply("partial", tuned := backbone.copy())
    assert found.partial == sum(value.numel() for value in tuned.parameters() if value.requires_grad)
    assert (found.text, found.unit, found.frames) == (True, 1, 8)


def test_every_published_backbone_has_its_sizes_and_a_family() -> None:
    shipped = json.loads(catalogue.SIZES.read_text("utf-8"))
    names = [one.name for one in published.PUBLISHED]
    assert list(shipped) == names and len(set(names)) == len(names)
    assert set(hub.ALIASES) <= set(names)
    known = {one.family for one in published.PUBLISHED}
    assert known <= {*families.FAMILIES, "open_clip", "efficientnet-lite"}
    assert all(one.licence and one.trained_on for one in published.PUBLISHED)
    # counted by others: Radford et al. (2021) and the papers of the networks
    assert 85e6 < shipped["ViT-B/16"]["weights"] < 87e6 and 303e6 < shipped["ViT-L/14"]["weights"] < 305e6
    assert 16e9 < shipped["ViT-B/16"]["multiply_adds"] / 8 < 18e9
    assert shipped["MCG-NJU/videomae-base"]["unit"] == 16


def test_a_folder_is_looked_at_and_a_stranger_is_refused(tmp_path: Path) -> None:
    checkpoints.write(tmp_path, "dinov2")
    (one,) = catalogue.entries([str(tmp_path)], measure=True)
    assert (one.here, one.present, one.licence, one.trained_on) == ("folder", True, "", "")
    assert one.sizes is not None and one.sizes.side == 32 and not one.sizes.text
    assert one.clips_a_second is not None and one.clips_a_second > 0
    with pytest.raises(
        CheckpointError, match=r"'me/unheard' is neither a folder, nor in the hub's cache.*fetch it first"
    ):
        catalogue.entries(["me/unheard"])


def test_the_command_prints_both_tables_and_one_object(command: Command) -> None:
    code, out, err = command("backbones", "lite", "ViT-B/16", "--json")
    assert (code, err) == (0, "")
    lite, vit = json.loads(out)["backbones"]
    assert (lite["here"], vit["here"], vit["present"]) == ("installed", "fetched at first use", False)
    assert lite["clips_a_second"] is None and lite["sizes"] == asdict(catalogue.sizes_of(load("lite")))
    code, out, err = command("backbones")
    assert (code, err) == (0, "")
    whole = re.sub(r"[│\s]", "", out)
    assert all(one.name[:12] in whole and one.family[:8] in whole for one in published.PUBLISHED)
    assert "…" not in out and "?" not in out and "clips/s" not in out
    code, out, err = command("backbones", "me/unheard")
    assert code == 2 and not out and err.count("\n") == 1


def test_a_study_says_what_its_backbones_were_trained_on() -> None:
    assert published.trained_on("openai/clip-vit-base-patch16@main") == published.trained_on("ViT-B/16") != ""
    assert published.trained_on("/some/folder") == ""
