"""The command line: a thin coat. Each command calls one public function with the same argument names.

A group of commands is one file and its line here.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


def _stopped() -> int:
    """Exit code of Ctrl-C, which is said once; further ones, as people press it, change nothing any more."""
    deaf = False
    while not deaf:
        try:
            with suppress(ValueError):  # only the main thread may say what a signal does
                signal.signal(signal.SIGINT, lambda *_: None)  # takes one that is on its way
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # and this lasts while Python ends
            deaf = True
        except KeyboardInterrupt:  # the next one was quicker
            continue
    print("kshot: stopped; what was done is kept, the same command goes on (train: with --resume)", file=sys.stderr)
    return 130


try:
    import typer

    from kshot import cost
    from kshot.cli import data, recogniser, research, shipping, studio, watching  # noqa: F401  (importing registers them)
    from kshot.cli.app import app
    from kshot.errors import KshotError
except KeyboardInterrupt:
    sys.exit(_stopped())

__all__ = ["app", "main"]

# Newer releases of typer carry their own click; this is the class of wrong options in either.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


def main(arguments: list[str] | None = None) -> None:
    """Entry point: a KshotError or a wrong option is one line on stderr and exit code 2; Ctrl-C is 130."""
    before = signal.getsignal(signal.SIGINT)
    try:
        code = _run(arguments)
    except KeyboardInterrupt:
        code = _stopped()
    if arguments is not None and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # somebody else's process goes on
        signal.signal(signal.SIGINT, before)
    sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    # Threads that wait without spinning: beside any other busy process, spinning ones slow the small steps of
    # training many times over. PyTorch reads this when it is imported, so it is set before that.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with cost.own_process():
            code = app(arguments, "kshot", standalone_mode=False)
    except KshotError as error:
        return _fail(str(error))
    except _USAGE_ERROR as error:
        command = error.ctx.command_path if error.ctx else "kshot"  # type: ignore[attr-defined]
        return _fail(f"{error.format_message()} Try '{command} --help'.")  # type: ignore[attr-defined]
    except typer.Abort:
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        return 0
    except OSError as error:
        return _fail(f"{error.filename or 'the disk'}: {error.strerror or error}; check the path and its permissions")
    if code == 130:  # how some releases of typer tell of Ctrl-C
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _fail(message: str) -> int:
    print("kshot: " + " ".join(message.split()), file=sys.stderr)
    return 2
