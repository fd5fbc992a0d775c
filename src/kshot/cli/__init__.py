"""The command line: a thin coat. Each command calls one public function with the same argument names.

A command is a function in one of the files, and its line in `app.COMMANDS`.
"""

from __future__ import annotations

import os
import sys

from kshot import interrupt

try:
    import typer

    from kshot.cli.app import app
    from kshot.errors import KshotError
    from kshot.fewshot import cost
    from kshot.terminal import printing
except KeyboardInterrupt:
    sys.exit(interrupt.stopped())

__all__ = ["app", "main"]

# Newer releases of typer carry their own click; this is the class of wrong options in either.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


def main(arguments: list[str] | None = None) -> None:
    """Entry point: a KshotError or a wrong option is one line on stderr and exit code 2; Ctrl-C is 130."""
    # Threads that wait without spinning: beside any other busy process, spinning ones slow the small steps of
    # training many times over. PyTorch reads this when it is imported, so it is set before that.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # what ends a process of several is said in one line
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        sys.exit(_fail("standard output is closed: leave it open, or send it to a file or /dev/null"))
    with printing(), interrupt.only_once(last=arguments is None):
        code = _run(arguments)
    sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    try:
        with cost.own_process():
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
    except MemoryError:
        code = _fail("not enough memory for what was asked; ask for less at a time, or use a machine with more")
    except OSError as error:
        code = _fail(f"{error.filename or 'the disk'}: {error.strerror or error}; check the path and its permissions")
    if code == 130:  # also how some releases of typer tell of Ctrl-C
        interrupt.tell()
    return code if isinstance(code, int) else 0


def _fail(message: str) -> int:
    print("kshot: " + " ".join(message.split()), file=sys.stderr, flush=True)
    return 2
