"""The command line: a thin coat. Each command calls one public function with the same argument names.

A group of commands is one file and its line here.
"""

from __future__ import annotations

import os
import signal
import sys

import typer

from kshot.cli import data, recogniser, research, shipping, studio, watching  # noqa: F401  (importing registers them)
from kshot.cli.app import app
from kshot.errors import KshotError

__all__ = ["app", "main"]

# Newer releases of typer carry their own click; this is the class of wrong options in either.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


def main(arguments: list[str] | None = None) -> None:
    """Entry point: a KshotError or a wrong option is one line on stderr and exit code 2; Ctrl-C is 130."""
    # Threads that wait without spinning: beside any other busy process, spinning ones slow the small steps of
    # training many times over. PyTorch reads this when it is imported, so it is set before that.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(arguments, "kshot", standalone_mode=False)
    except KshotError as error:
        code = _fail(str(error))
    except _USAGE_ERROR as error:
        command = error.ctx.command_path if error.ctx else "kshot"  # type: ignore[attr-defined]
        code = _fail(f"{error.format_message()} Try '{command} --help'.")  # type: ignore[attr-defined]
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        code = 0
    except OSError as error:
        code = _fail(f"{error.filename or 'the disk'}: {error.strerror or error}; check the path and its permissions")
    if code == 130:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # pressed again, it would only cut short what still closes
        print("kshot: stopped; what was done is kept, the same command goes on (train: with --resume)", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> int:
    print("kshot: " + " ".join(message.split()), file=sys.stderr)
    return 2
