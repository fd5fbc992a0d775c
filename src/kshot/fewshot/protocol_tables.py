"""How protocols are shown: as JSON, as a page's tables, and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kshot.fewshot.protocols import PROTOCOLS, Setting, preset
from kshot.settings import Evaluating, Training


def listing(name: str | None = None) -> dict[str, Any]:
    """What `kshot data protocols --json` prints: every protocol, or the one named, with values and sources."""
    if name is not None:
        preset(name, "testing")
    chosen = [name.partition(":")[0]] if name else list(PROTOCOLS)

    def table(settings: Mapping[str, Setting]) -> dict[str, Any]:
        return {
            key: {"value": s.value, "source": s.source} | ({"by_data": dict(s.by_data)} if s.by_data else {})
            for key, s in settings.items()
        }

    return {
        "protocols": {
            key: {
                "title": made.title,
                "about": made.about,
                "training": table(made.training),
                "testing": table(made.testing),
                "differs": list(made.differs),
            }
            for key, made in PROTOCOLS.items()
            if key in chosen
        }
    }


def as_markdown(name: str) -> str:
    """One protocol as a page's section, a table of training and one of testing."""
    made = PROTOCOLS[name]
    lines = [f"## `{name}`: {made.title}", "", made.about, ""]
    for part, settings in (("kshot train", made.training), ("kshot evaluate", made.testing)):
        lines += [f"| `{part}` | value | source |", "| --- | --- | --- |"]
        lines += [f"| `--{_option(key)}` | {shown(setting)} | {setting.source} |" for key, setting in settings.items()]
        lines.append("")
    if made.differs:
        lines += ["What kshot does otherwise, whatever is set:", "", *(f"- {line}" for line in made.differs), ""]
    return "\n".join(lines)


def as_text(name: str) -> str:
    """One protocol for the terminal."""
    made, lines = PROTOCOLS[name], []
    for part, settings in (("training", made.training), ("testing", made.testing)):
        rows = [(f"--{_option(key)}", shown(setting), setting.source) for key, setting in settings.items()]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        lines += ["", f"  {part}"]
        lines += [f"    {o:<{widths[0]}}  {v:<{widths[1]}}  {source}" for o, v, source in rows]
    differs = ["", "  kshot does otherwise, whatever is set", *(f"    {line}" for line in made.differs)]
    return "\n".join([f"{name}: {made.title}", f"  {made.about}", *lines, *(differs if made.differs else [])])


def shown(setting: Setting) -> str:
    """A value, and those of single data sets, in one line."""
    others = "; ".join(f"{name} {_text(value)}" for name, value in setting.by_data.items())
    return _text(setting.value) + (f" ({others})" if others else "")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _option(argument: str) -> str:
    """How the command line calls a setting."""
    fields = Training.fields() | Evaluating.fields()
    return (fields[argument].metadata["option"] or argument).replace("_", "-")
