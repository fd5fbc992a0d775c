"""Python processes that start in a moment: a server imports what is heavy once and forks for each script.

A script has a process of its own, to be killed or limited as a test likes, without the seconds that imports take.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

Command = Callable[..., tuple[int, str, str]]
"""The fixture `command`: arguments of the command line in, exit code, stdout and stderr out."""

OBEDIENT = "import ctypes; ctypes.CDLL(None).capset((ctypes.c_uint * 2)(0x20080522, 0), (ctypes.c_uint * 6)()); "
"""Begins a script that obeys the permissions of folders: without its capabilities even root must."""

SERVER = """
import json, os, sys, traceback
import kshot.fewshot.training
for line in sys.stdin:
    script, arguments, out, err = json.loads(line)
    child = os.fork()
    if not child:
        code = 0
        try:
            for number, path in ((0, os.devnull), (1, out), (2, err)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
            sys.argv = ["-c", *arguments]
            exec(script, {"__name__": "__main__"})
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            code = 1
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """`forks(script, *arguments)` runs a script in a new process and tells its exit code, stdout and stderr."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        assert self._server.stdin is not None and self._server.stdout is not None
        out, err = self._folder / "out", self._folder / "err"
        out.write_text("")
        err.write_text("")
        print(json.dumps([script, [*map(str, arguments)], str(out), str(err)]), file=self._server.stdin, flush=True)
        code = int(self._server.stdout.readline())
        return subprocess.CompletedProcess([*map(str, arguments)], code, out.read_text(), err.read_text())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.communicate()
