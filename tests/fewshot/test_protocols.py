"""Protocols: what they set, that an explicit option beats them, and that results say so."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from forks import Command
from kshot.backbones.backbone import PROMPTS, Backbone
from kshot.backbones.texts import expect_prompts
from kshot.datasets import load as load_data
from kshot.errors import OptionError
from kshot.fewshot import protocols
from kshot.fewshot.evaluation import evaluate
from kshot.fewshot.learner import Learner
from kshot.fewshot.protocol_tables import as_markdown, listing
from kshot.fewshot.protocols import OURS, PROTOCOLS, SETS, preset
from kshot.fewshot.result import Followed
from kshot.fewshot.training import train
from kshot.settings import Evaluating, Training
from kshot.study.file import read_study
from kshot.study.runner import run as study
from kshot.video.views import framing, parse

PAGE = Path(__file__).parents[2] / "docs" / "protocols.md"
QUICK: dict[str, Any] = {"way": 3, "shot": 1, "query": 2, "steps": 2, "val_every": 2, "val_episodes": 5, "views": 1}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_setting_is_an_argument_with_a_source(name: str) -> None:
    made = PROTOCOLS[name]
    for part, front in (("training", Training), ("testing", Evaluating)):
        settings = getattr(made, part)
        assert set(settings) <= set(front.fields())
        assert {"way", "query", "frames", "resize", "prompts"} <= set(settings)
        for setting in settings.values():
            assert len(setting.source) > 8 and set(setting.by_data) <= set(SETS)
            assert all(type(value) is type(setting.value) for value in setting.by_data.values())
    assert {"steps", "lr", "select"} <= set(made.training)
    assert {"episodes", "shared_group"} <= set(made.testing)
    sight = ("way", "frames", "resize", "prompts", "shared_group")
    assert all(made.training[key].value == made.testing[key].value for key in sight)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("data", ["", *SETS])
def test_every_value_can_be_used(name: str, data: str) -> None:
    values = preset(name, "training", data)
    plan = Training.of(values)  # which checks them
    used = plan.values() | {"prompts": list(plan.view.prompts)}
    assert {name: used[name] for name in values} == values
    framing(values["resize"])
    parse(values.get("augment", "time"))
    assert values["select"] == "val" and expect_prompts(values["prompts"]) == values["prompts"]


def test_the_values_that_were_read() -> None:
    """Tasks of the published configs are episodes: steps x accumulate."""
    tasks = {"hmdb51": 5_000, "ucf101": 3_000, "kinetics100": 5_000, "ssv2-full": 30_000, "ssv2-small": 30_000}
    rates = {"hmdb51": 1e-5, "ucf101": 2e-6, "kinetics100": 1e-5, "ssv2-full": 5e-5, "ssv2-small": 5e-5}
    for data in SETS:
        values = preset("clip-fsar", "training", data)
        assert (values["steps"] * values["accumulate"], values["lr"]) == (tasks[data], rates[data])
        assert (values["query"], preset("clip-fsar", "testing", data)["query"]) == (5, 1)
        trx = preset("trx", "training", data)
        assert trx["steps"] * trx["accumulate"] == (75_008 if "ssv2" in data else 10_000)
    assert preset("clip-fsar", "training", "kinetics100-clipfsar")["weight_decay"] == 5e-4
    assert preset("clip-fsar", "training", "clips")["lr"] == preset("clip-fsar:hmdb51", "training", "clips")["lr"]
    assert preset("clip-fsar:ucf101", "training", "hmdb51")["lr"] == 2e-6


def test_class_texts_and_filters_do_not_hide_the_data() -> None:
    assert preset("clip-fsar", "training", "ucf101:published")["lr"] == 2e-6
    assert preset("clip-fsar", "training", "kinetics100-clipfsar?split=train")["lr"] == 1e-5
    assert preset("cao2024", "training", "ssv2-small:published")["steps"] == 10_000
    assert preset("cao2024", "training", "hmdb51:spelled")["steps"] == 2_000


@pytest.mark.parametrize("name", ["paper", "cao2024"])
def test_what_their_code_says_is_not_called_our_choice(name: str) -> None:
    """Where the value is that of the group's code, the source is; where it is another, theirs is named."""
    theirs = PROTOCOLS["cao2024"]
    for part in ("training", "testing"):
        for key, setting in getattr(PROTOCOLS[name], part).items():
            other = getattr(theirs, part).get(key)
            if other is not None and key != "views":
                assert setting.source.startswith(OURS) == (setting.value != other.value), key
                assert "their code" in setting.source or "Task-Adapter++" in setting.source


def test_clip_loras_values_and_the_method_that_goes_with_them(backbone: Backbone) -> None:
    """Its code's defaults; the options that the protocol names are options, and reach q, k and v of all blocks."""
    values = preset("clip-lora", "training")
    assert (values["lr"], values["weight_decay"], values["steps"], values["optimizer"]) == (2e-4, 1e-2, 500, "adamw")
    assert values["schedule"] == "cosine" and values["prompts"] == ["a photo of a {}."]
    words = PROTOCOLS["clip-lora"].about.partition("--tuning-option ")[2].partition(" --")[0].split()
    chosen = dict(word.split("=") for word in words)
    learner = Learner.build(
        backbone, "lora",
        {**chosen, "rank": int(chosen["rank"]), "alpha": float(chosen["alpha"]), "dropout": float(chosen["dropout"])},
        "text",
    )  # fmt: skip
    layers = 3 * (backbone.depth + backbone.text.depth)
    assert len(learner.weights()) == 2 * layers and learner.cut == 1


def test_kshot_is_val_based_deterministic_and_source_disjoint() -> None:
    train_values, test_values = preset("kshot", "training"), preset("kshot", "testing")
    assert train_values["select"] == "val"
    assert train_values["shared_group"] is test_values["shared_group"] is False
    assert test_values["prompts"] == list(PROMPTS)
    assert all(setting.source.startswith(OURS) for setting in PROTOCOLS["kshot"].testing.values())


def test_wrong_names() -> None:
    with pytest.raises(OptionError, match="unknown protocol 'clip_fsar': did you mean 'clip-fsar'"):
        preset("clip_fsar", "training")
    with pytest.raises(OptionError, match="unknown data set of a protocol 'hmdb': did you mean 'hmdb51'"):
        preset("clip-fsar:hmdb", "training")
    with pytest.raises(OptionError, match="unknown protocol 'fsar'"):
        train("nowhere", "run", protocol="fsar")


def test_a_record_names_what_was_otherwise() -> None:
    preset = {"query": 5, "prompts": ["a"], "frames": 8}
    final = {"query": 7, "prompts": ("a",), "frames": 8, "way": 3}
    assert protocols.followed("p", preset, final) == Followed(name="p", changed={"query": 7})
    assert protocols.followed("p", preset, preset).changed == {}


def test_a_run_and_a_result_name_their_protocol(
    clips_csv: Path, backbone: Backbone, warm_store: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"backbone": backbone, "store": warm_store}
    train(clips_csv, tmp_path / "run", protocol="clip-fsar", resize="short", **common, **QUICK)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["protocol"] == {
        "name": "clip-fsar",
        "changed": {"way": 3, "query": 2, "steps": 2, "val_every": 2, "val_episodes": 5, "views": 1, "resize": "short"},
    }
    assert config["schedule"]["lr"] == 1e-5 and config["schedule"]["accumulate"] == 4
    assert config["prompts"] == ["a photo of {}"]
    with pytest.raises(OptionError, match="takes 4 batches a step, and 1 process would take 1 now"):
        train(clips_csv, tmp_path / "run", resume=True, **common, **QUICK)
    shape: dict[str, Any] = {"way": 3, "store": warm_store, "episodes": 10}
    result = evaluate(clips_csv, adapted=tmp_path / "run", protocol="clip-fsar", backbone=backbone, **shape)
    assert result.query == 1 and result.options.resize == "short", "a run sees clips as it was trained"
    assert result.options.protocol.changed == {"way": 3, "episodes": 10, "resize": "short"}
    given = evaluate(clips_csv, backbone, protocol="kshot", query=2, shared_group=True, **shape)
    assert given.options.shared_group is True, "what is given beats the protocol, even if it is the default"
    assert given.options.protocol.changed["shared_group"] is True
    plain = evaluate(clips_csv, backbone, protocol="kshot", query=2, **shape)
    assert plain.options.shared_group is False
    assert plain.options.protocol == Followed(name="kshot", changed={"way": 3, "query": 2, "episodes": 10})
    assert evaluate(clips_csv, backbone, query=2, **shape).options.protocol is None


def test_the_command_line_tells_given_from_default(
    command: Command, clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path: Path
) -> None:
    place = ("--backbone", clip_folder, "--store", warm_store)
    quick = ("--way", 3, "--episodes", 10, "--json")
    crowded = ("evaluate", clips_csv, *place, *quick, "--protocol", "kshot", "--shot", 3)
    code, out, err = command(*crowded)
    assert code == 2 and "but 5 queries are asked for" in err and not out, "sources are kept apart"
    assert command(*crowded, "--shared-group")[0] == 0
    found = json.loads(command("evaluate", clips_csv, *place, *quick, "--protocol", "paper")[1])
    assert (found["query"], found["options"]["shared_group"]) == (1, True)
    assert found["options"]["protocol"] == {"name": "paper", "changed": {"way": 3, "episodes": 10}}
    told = command("evaluate", clips_csv, *place, *quick[:-1], "--protocol", "paper", "--query", 2)[1]
    assert "protocol paper, but way 3, query 2, episodes 10\n" in told
    arguments = ("--way", 3, "--query", 2, "--steps", 1, "--val-episodes", 5, "--views", 1, "--resize", "short")
    code, _, err = command(
        "train", clips_csv, "--out", tmp_path / "run", *place, *arguments, "--protocol", "trx", "--lr", "1e-4"
    )
    assert code == 0, err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["schedule"]["optimizer"] == "sgd" and config["schedule"]["accumulate"] == 16
    assert config["protocol"]["changed"]["lr"] == 1e-4, "the default value, but given"
    assert command("evaluate", clips_csv, *place, "--protocol", "trex")[0] == 2


def test_a_study_follows_where_its_file_is_silent(
    clips_csv: Path, backbone: Backbone, warm_store: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    head = 'protocol = "clip-fsar"\nway = 3\nshots = [1]\nepisodes = 10\nresize = "short"\n'
    rest = '[train]\nsteps = 2\nval_every = 2\nval_episodes = 5\nviews = 1\n[[row]]\nname = "m"\nstrategy = "meta"\n'
    file.write_text(head + rest)
    plan = read_study(file)
    assert (plan.query, plan.way, plan.prompts, plan.resize) == (1, 3, ("a photo of {}",), "short")
    assert read_study(file, "kshot").query == 5 and read_study(file, "kshot").protocol == "kshot"
    file.write_text("query = 2\n" + head + rest)
    assert (read_study(file).query, read_study(file).train["query"]) == (2, 2)
    done = study(file, tmp_path / "study", [load_data(clips_csv)], [backbone], store=warm_store)
    (row,) = done.rows
    assert not row.error, row
    run = json.loads((tmp_path / "study" / row.folder / "run" / "config.json").read_text())
    assert run["schedule"]["lr"] == 1e-5 and run["strategy"]["options"]["query"] == 2
    assert run["protocol"]["name"] == "clip-fsar" and run["protocol"]["changed"]["steps"] == 2
    result = json.loads((tmp_path / "study" / row.folder / "1-shot.json").read_text())
    assert result["options"]["protocol"]["changed"] == {"way": 3, "query": 2, "episodes": 10, "resize": "short"}
    assert done.settings.protocol == "clip-fsar"
    with pytest.raises(OptionError, match="unknown protocol 'x'"):
        read_study(file, "x")


def test_the_listing(command: Command) -> None:
    code, out, _ = command("data", "protocols", "--json")
    found = json.loads(out)["protocols"]
    assert code == 0 and set(found) == set(PROTOCOLS) and found == json.loads(json.dumps(listing()))["protocols"]
    assert found["clip-fsar"]["training"]["lr"]["by_data"]["ucf101"] == 2e-6
    text = command("data", "protocols", "trx")[1]
    assert text.startswith("trx: ") and "--lr" in text and "clip-fsar" not in text
    assert command("data", "protocols", "tex")[0] == 2


def test_the_page_holds_the_tables() -> None:
    text = PAGE.read_text("utf-8")
    for name in PROTOCOLS:
        assert as_markdown(name).strip() in text, "run python scripts/protocol_docs.py"


def test_imports_nothing_heavy() -> None:
    assert "torch" not in inspect.getsource(protocols)
