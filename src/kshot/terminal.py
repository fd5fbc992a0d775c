"""What may reach a terminal: text alone, whatever labels, file names and error messages hold.

Characters that move the cursor, colour, rename or hide what is shown come out as escapes such as \\x1b. The commands
print through `printing`, tables and bars through `console`; both leave JSON as it is, which escapes them itself.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# Control characters but tab and newline, separators of lines, marks that hide or turn the direction of writing, and
# halves of pairs: the bytes of a file name that is no UTF-8.
_HARMFUL = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def harmless(text: str) -> str:
    r"""Text with its control characters shown.

    >>> harmless("wave\x1b[2J\r"), harmless("winken, 手を振る")
    ('wave\\x1b[2J\\x0d', 'winken, 手を振る')
    """
    return _HARMFUL.sub(lambda found: _escaped(ord(found[0])), text)


def percent(share: float) -> str:
    """A share as people read it, everywhere in the same way.

    >>> percent(0.594)
    '59 %'
    """
    return f"{100 * share:.0f} %"


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


class Harmless:
    """A text stream that shows the control characters of what is written to it; all else is the stream's own.

    Attributes:
        stream: the one beneath.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Writes text; gives the number of its characters back."""
        self.stream.write(harmless(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes one text after the other."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def printing() -> Iterator[None]:
    """Makes all that is printed meanwhile harmless; what a terminal's encoding lacks comes as escapes, too."""
    streams = sys.stdout, sys.stderr
    errors = [_forgiving(stream) for stream in streams]
    sys.stdout, sys.stderr = (Harmless(stream) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for stream, before in zip(streams, errors, strict=True):
            if before is not None and isinstance(stream, io.TextIOWrapper) and not stream.closed:
                stream.reconfigure(errors=before)


def _forgiving(stream: TextIO) -> str | None:
    """How a stream took what it cannot encode, where that could be changed."""
    if not isinstance(stream, io.TextIOWrapper) or stream.closed:
        return None
    before = stream.errors
    stream.reconfigure(errors="backslashreplace")
    return before


def beneath(stream: TextIO) -> TextIO:
    """The stream that `printing` covers, for what brings colours of its own or is data for another program."""
    return stream.stream if isinstance(stream, Harmless) else stream


def console(stderr: bool = False, **options: Any) -> Console:
    """A rich console that prints labels as they are: nothing in them is a colour, an emoji or a control character."""
    from rich.console import Console

    class Plain(Console):
        def render_str(self, text: str, **how: Any) -> Any:
            return super().render_str(harmless(text), **how)

    stream = beneath(sys.stderr if stderr else sys.stdout)
    return Plain(file=stream, markup=False, emoji=False, highlight=False, **options)
