"""What the commands share: NAME=VALUE texts, what the user gave, and the lines that are told on stderr."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from kshot import settings
from kshot.cli import common
from kshot.cli.settings import takes
from kshot.errors import OptionError
from kshot.progress import bars, lines


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("a=", "a", ""), ("a=None", "a", None), ("a=-1e-3", "a", -0.001), ("a=[1, 2]", "a", [1, 2]), ("a==", "a", "="),
        ("a=(1", "a", "(1"), ("a=true", "a", "true"), ("a=1 ", "a", 1), ("some-long-name=1", "some_long_name", 1),
        ("a-b=x-y", "a_b", "x-y"), ("a=__import__('os')", "a", "__import__('os')"), ("a={'b': 1}", "a", {"b": 1}),
    ],
)  # fmt: skip
def test_a_value_is_a_literal_where_it_reads_as_one(text: str, name: str, value: object) -> None:
    found = common.pairs([text])
    assert found == {name: value} and type(found[name]) is type(value)


@pytest.mark.parametrize("text", ["", "a", "=1", "=", "--a"])
def test_what_is_no_pair_is_refused_as_it_was_written(text: str) -> None:
    with pytest.raises(OptionError) as told:
        common.pairs(["b=1", text])
    assert str(told.value) == f"an option reads NAME=VALUE, found '{text}'"


def test_the_last_of_two_values_counts() -> None:
    assert common.pairs(["a-b=1", "a_b=2"]) == {"a_b": 2}


def test_bars_are_for_terminals_and_lines_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal, wanted in ((True, bars), (False, lines)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        assert common.chosen_progress(False) is wanted and common.chosen_progress(True) is wanted


def test_results_are_one_json_object_or_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[dict[str, Any]] = []
    common.show({"a": 1, "path": Path("b/c")}, True, told.append)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": 1, "path": str(Path("b/c"))} and out.count("\n") == 1 and not err and not told
    common.show({"a": 1}, False, told.append)
    assert capsys.readouterr() == ("", "") and told == [{"a": 1}]


# ---- what is told on stderr ----------------------------------------------------------------------------------------


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on stderr; stdout stays empty, it is for results."""
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


@pytest.mark.parametrize("count", [0, 1, 19, 20, 21, 45])
def test_twenty_are_named_and_the_rest_counted(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    more = [f"and {count - 20} more; --json lists all"] if count > 20 else []
    common.tell_unreadable({f"{n}.mp4": f"{n}.mp4: no video" for n in range(count)})
    assert said(capsys) == [f"unreadable: {n}.mp4: no video" for n in range(min(20, count))] + more
    common.tell_damaged([{"clip": f"{n}.mp4", "kept": 0.75, "reason": "cut off"} for n in range(count)])
    line = "damaged: {}.mp4: 75 % of it is there: cut off"
    assert said(capsys) == [line.format(n) for n in range(min(20, count))] + more


def test_notes_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    common.tell_notes(["2 clips left out", "3 columns not used"])
    assert said(capsys) == ["note: 2 clips left out", "note: 3 columns not used"]
    common.tell_notes([])
    common.tell_missing("hmdb51", [])
    common.tell_passed_over({})
    common.tell_passed_over({"frames": []})
    assert said(capsys) == []


def test_files_among_frames_are_counted_over_all_folders(capsys: pytest.CaptureFixture[str]) -> None:
    common.tell_passed_over({"wave-1": ["notes.txt", "a.csv"], "wave-2": ["b.csv"]})
    assert said(capsys) == ["passed over: 3 other files in 2 frame folders, such as notes.txt in wave-1"]


def test_clips_that_a_copy_lacks_are_told_without_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    common.tell_missing("hmdb51", ["a", "b"])
    assert said(capsys) == ["this copy of hmdb51 lacks clips of the published split, --json names them"]


# ---- options from settings -----------------------------------------------------------------------------------------


def command(*groups: type[settings.Settings], **how: Any) -> tuple[typer.Typer, list[dict[str, Any]]]:
    """A program with one command that has the options of these settings, and the list of what it was called with."""
    program, calls = typer.Typer(add_completion=False), []

    @program.command()
    @takes(*groups, **how)
    def run(context: typer.Context, data: str, **given: Any) -> None:
        calls.append({"data": data, **given})

    return program, calls


def options(program: typer.Typer) -> dict[str, Any]:
    """Name -> option or argument of the program's command."""
    return {one.name or "": one for one in typer.main.get_command(program).params}


EVERY = tuple(settings.Training.groups().values())


def test_every_field_is_an_option_with_its_help_and_its_default() -> None:
    program, _ = command(*EVERY)
    found = options(program)
    fields = {one.name: one for group in EVERY for one in group.fields()}
    assert set(found) - {"help"} == {"data", *fields}
    for name, field in fields.items():
        option = found[name]
        assert option.param_type_name == "option" and option.help == field.metadata["help"], name
        assert option.opts[0] == "--" + (field.metadata["option"] or name).replace("_", "-")
        several = bool(field.metadata["option"]) or field.name == "no_flip"
        assert option.multiple == several, name
        assert option.default == (None if several else field.default), name


def test_what_is_on_by_default_can_be_turned_off_and_a_flag_stands_alone() -> None:
    found = options(command(*EVERY)[0])
    switches = {one.name: one for group in EVERY for one in group.fields() if isinstance(one.default, bool)}
    assert {field.metadata["flag"] for field in switches.values()} == {True, False}
    for name, field in switches.items():
        spelled = name.replace("_", "-")
        assert found[name].opts == [f"--{spelled}"]
        assert found[name].secondary_opts == ([] if field.metadata["flag"] else [f"--no-{spelled}"]), name


def test_fields_may_be_left_out_and_defaults_hidden() -> None:
    program, calls = command(settings.Schedule, without=["lr"], undecided=["steps"])
    found = options(program)
    assert "lr" not in found and found["steps"].default is None and found["warmup"].default is not None
    assert CliRunner().invoke(program, ["x", "--lr", "1"]).exit_code == 2
    assert CliRunner().invoke(program, ["x", "--steps", "7"]).exit_code == 0 and calls == [{"data": "x", "steps": 7}]


def test_only_what_the_user_gave_reaches_the_command() -> None:
    program, calls = command(*EVERY)
    default = {one.name: one.default for one in settings.Schedule.fields()}["steps"]
    for arguments, wanted in (
        ([], {}),
        (["--steps", str(default)], {"steps": default}),
        (["--lr", "0.5", "--optimizer", "sgd"], {"lr": 0.5, "optimizer": "sgd"}),
        (["--head-option", "scale=2", "--head-option", "name=x"], {"head_options": {"scale": 2, "name": "x"}}),
    ):
        calls.clear()
        done = CliRunner().invoke(program, ["clips", *arguments])
        assert done.exit_code == 0, done.output
        assert calls == [{"data": "clips", **wanted}], arguments


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--prompt", "a {}", "--prompt", "b {}"], {"prompts": ["a {}", "b {}"]}),
        (["--prompt", "a {}"], {"prompts": ["a {}"]}),
        (["--no-flip", "none"], {"no_flip": []}),
        (["--no-flip", "none", "--no-flip", "wave"], {"no_flip": ["none", "wave"]}),
        (["--augment", "time,crop"], {"augment": "time,crop"}),
    ],
)
def test_a_list_is_given_value_by_value_and_none_empties_it(arguments: list[str], wanted: dict[str, Any]) -> None:
    program, calls = command(settings.View, settings.Augmentation)
    done = CliRunner().invoke(program, ["x", *arguments])
    assert done.exit_code == 0, done.output
    assert calls == [{"data": "x", **wanted}]


def test_a_wrapped_command_shows_its_own_arguments_first() -> None:
    @takes(settings.EpisodeShape)
    def run(context: typer.Context, data: str, **given: Any) -> None:
        """About it."""

    shown = inspect.signature(run).parameters
    assert list(shown) == ["context", "data", *settings.EpisodeShape.names()]
    assert run.__name__ == "run" and run.__doc__ == "About it." and set(run.__annotations__) == set(shown)


def test_mappings_and_sequences_are_told_apart() -> None:
    """Else NAME=VALUE texts would reach a head as a list."""
    from kshot.cli.settings import _members, _value

    assert _value(Mapping[str, Any] | None, ["a=1"]) == {"a": 1}
    assert _value(Sequence[str] | None, ["a=1"]) == ["a=1"]
    assert _members(int | None) == {int} and _members(str) == {str} and _members(int | str) == {int, str}


def test_the_collector_rests_while_pytorch_is_imported_and_works_afterwards() -> None:
    script = (
        "import gc\nfrom kshot.cli.common import importing\n"
        "with importing():\n    print(gc.isenabled()); import torch\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 100_000)\n"
        "before = gc.get_freeze_count()\nwith importing():\n    print(gc.isenabled())\n"
        "print(gc.get_freeze_count() == before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True", "True", "True"]
