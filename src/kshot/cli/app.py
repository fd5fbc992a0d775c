"""The application that the commands register with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, MutableMapping
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

import kshot


class Program(typer.Typer):
    """A Typer that makes a command when it is asked for: making all of them takes longer than the rest of a start.

    Attributes:
        entries: command -> its function, or the group of commands that it is.
    """

    def __init__(self, name: str | None = None, help: str | None = None) -> None:
        self.entries: dict[str, Callable[..., Any] | Program] = {}
        group = type("Group", (_Group,), {"entries": self.entries})
        how = {"help_option_names": ["-h", "--help"]}
        super().__init__(name=name, help=help, cls=group, context_settings=how, **PLAIN)

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


PLAIN: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}


def _help(context: typer.Context) -> None:
    """What a group does where no command of it is named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


class _Made(MutableMapping[str, Any]):
    """Name -> command, made from its function at the first look."""

    def __init__(self, entries: dict[str, Callable[..., Any] | Program]) -> None:
        self._entries = entries
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            entry = self._entries[name]
            if not isinstance(entry, Program):
                single = typer.Typer(**PLAIN)
                single.command(name)(entry)
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
    entries: ClassVar[dict[str, Callable[..., Any] | Program]]

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Made(self.entries)

    def list_commands(self, ctx: Any) -> list[str]:
        return _ordered(self.entries)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each command with the first sentence of its text, whole."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _sentence(self.entries[name])) for name in _ordered(self.entries)])


def _ordered(entries: dict[str, Callable[..., Any] | Program]) -> list[str]:
    """Groups stand last."""
    return sorted(entries, key=lambda name: isinstance(entries[name], Program))


def _sentence(entry: Callable[..., Any] | Program) -> str:
    text = entry.info.help if isinstance(entry, Program) else inspect.getdoc(entry)
    paragraph = " ".join((text or "").partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".") + "."


app = Program("kshot", "Teach a video model new actions from a handful of clips. Start with: kshot demo")


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version and stop")] = False,
) -> None:
    if version:
        typer.echo(f"kshot {kshot.__version__}")
        raise typer.Exit
    _help(context)
