"""The application that the commands register with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, MutableMapping
from importlib import import_module
from typing import Annotated, Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

import kshot
from kshot.errors import OptionError


class Listed(NamedTuple):
    """A command whose file is imported when it is asked for, and registers it then.

    Attributes:
        file: in this folder.
        about: the first sentence of its help.
    """

    file: str
    about: str


class Program(typer.Typer):
    """A Typer that makes a command when it is asked for: making all of them takes longer than the rest of a start.

    Args:
        name: of the group.
        help: what it is.
        listed: commands that are imported when they are asked for.
        completion: whether it has the options that install completion in a shell.

    Attributes:
        entries: command -> its function, the group of commands that it is, or where it is to be found.
    """

    def __init__(
        self,
        name: str | None = None,
        help: str | None = None,
        listed: dict[str, Listed] | None = None,
        completion: bool = False,
    ):
        self.entries: Entries = dict(listed or {})
        group = type("Group", (_Group,), {"entries": self.entries})
        how = {"help_option_names": ["-h", "--help"]}
        super().__init__(
            name=name, help=help, cls=group, context_settings=how, **PLAIN | {"add_completion": completion}
        )

    def command(self, name: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # type: ignore[override]
        """Registers a function under a name, its own by default."""

        def keep(function: Callable[..., Any]) -> Callable[..., Any]:
            self.entries[name or function.__name__] = function
            return function

        return keep

    def group(self, name: str, help: str) -> Program:
        """A new group of commands."""
        self.entries[name] = made = Program(name, help)
        made.callback(invoke_without_command=True)(_help)
        return made


Entry = Callable[..., Any] | Program | Listed
Entries = dict[str, Entry]
PLAIN: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}


def _help(context: typer.Context) -> None:
    """What a group does where no command of it is named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


SINGLE = ("shot", "seed", "strategy", "tuning", "layers", "head", "lr")
"""What a study takes several of: who gives a command two does not mean the last one."""


class _Command(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuses two values of an option that takes one: the first would be passed over without a word."""
        if not ctx.resilient_parsing:
            order = self.make_parser(ctx).parse_args(list(args))[2]
            for option in order:
                single = option.name in SINGLE and option.param_type_name == "option" and not option.multiple
                if single and (times := order.count(option)) > 1:
                    raise OptionError(
                        f"{option.opts[0]} takes one value, found {times}: give it once; a study compares several"
                    )
        return super().parse_args(ctx, args)


class _Made(MutableMapping[str, Any]):
    """Name -> command, made from its function at the first look."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            entry = self._entries[name]
            if isinstance(entry, Listed):
                import_module(f"kshot.cli.{entry.file}")
                entry = self._entries[name]
            assert not isinstance(entry, Listed)
            if not isinstance(entry, Program):
                single = typer.Typer(**PLAIN)
                single.command(name, cls=_Command)(entry)
                entry = single
            self._made[name] = typer.main.get_command(entry)
            self._made[name].name = name
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._entries[name]
        self._made.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(_ordered(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


class _Group(TyperGroup):
    entries: ClassVar[Entries]

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Made(self.entries)

    def list_commands(self, ctx: Any) -> list[str]:
        return _ordered(self.entries)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each command with the first sentence of its text, whole."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _sentence(self.entries[name])) for name in _ordered(self.entries)])


def _ordered(entries: Entries) -> list[str]:
    """Groups stand last."""
    return sorted(entries, key=lambda name: isinstance(entries[name], Program))


def _sentence(entry: Entry) -> str:
    if isinstance(entry, Listed):
        return entry.about
    text = entry.info.help if isinstance(entry, Program) else inspect.getdoc(entry)
    paragraph = " ".join((text or "").partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".") + "."


COMMANDS = {
    "fit": Listed(
        "recognizer", "Train a recognizer of your own actions on a few clips of each, and say what to expect of it."
    ),
    "predict": Listed("recognizer", "Name the action in each video, or (--timeline) the actions in a long one."),
    "extract": Listed("research", "Store the activations of every clip, once."),
    "train": Listed("research", "Adapt a backbone to the base classes of a data set."),
    "evaluate": Listed("research", "Few-shot accuracy over random episodes, with its 95 % interval."),
    "demo": Listed("research", "Everything, offline, in minutes: drawn clips, every strategy, one table and a report."),
    "study": Listed("research", "Compare strategies, tuning methods and heads on the same episodes."),
    "report": Listed("research", "Render a study as one self-contained HTML page, with its plots as files."),
    "verify": Listed("research", "Check what kshot wrote against its seals; what has none is named."),
    "doctor": Listed("shipping", "Look at this machine: versions, devices, decoding, weights, disk, camera."),
    "backbones": Listed("shipping", "List backbones: which are on this machine, what they cost and were trained on."),
    "export": Listed(
        "shipping", "Write a trained model for programs without kshot and torch, checked to answer as it does here."
    ),
    "forget": Listed(
        "forgetting",
        "Remove one person's or one video's clips from stores, models and projects; what must be taught again is said.",
    ),
    "serve": Listed("studio", "The studio: teach actions on a web page of this computer."),
    "watch": Listed("watching", "Name what a camera sees, live."),
    "summary": Listed("summary", "Time budgets of timelines or annotations, and their agreement with a person's."),
    "data": Listed("data", "Data sets: what there is, and the field's benchmarks made ready."),
}
"""The commands in the order of the help, which imports none of their files."""

app = Program(
    "kshot", "Teach a video model new actions from a handful of clips. Start with: kshot demo", COMMANDS, True
)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version and stop")] = False,
) -> None:
    if version:
        typer.echo(f"kshot {kshot.__version__}")
        raise typer.Exit
    _help(context)
