"""Processes that work together, as torchrun starts them, in a moment: one that has imported PyTorch forks for each.

They are real processes with an environment of their own, so a test may kill one of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SERVER = """
import contextlib, json, os, random, socket, sys, traceback
import torch, filelock, safetensors.torch, tokenizers
import kshot.backbones.families.clip, kshot.cli.research, kshot.ranks, kshot.study.runner
torch.set_num_threads(1)
weight = torch.nn.Parameter(torch.zeros(1))
weight.grad = torch.zeros(1)
torch.optim.Adam([weight], foreach=True).step()  # the first one imports more than all else
for line in sys.stdin:
    script, world, folder, environments = json.loads(line)
    while True:  # below those that the system hands to whoever connects, which may be gone a moment later
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            break
    children = []
    for rank in range(world):
        child = os.fork()
        children.append(child)
        if child:
            continue
        code = 0
        try:
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(f"{folder}/{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            if world > 1:
                os.environ |= {
                    "RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank),
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                }
            os.environ |= environments.get(str(rank), {})
            exec(script, {"__name__": "__main__"})
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            code = 1
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
"""


@dataclass(frozen=True)
class Crew:
    """What came of processes: exit code, stdout and stderr of each."""

    codes: list[int]
    out: list[str]
    err: list[str]


class Crews:
    """`crews(script, world)` runs a script in as many processes that are told of each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"KSHOT_HOME": str(folder / "home"), "TORCH_CPP_LOG_LEVEL": "FATAL"},
        )  # fmt: skip

    def __call__(self, script: str, world: int, environments: dict[int, dict[str, str]] | None = None) -> Crew:
        assert self._server.stdin is not None and self._server.stdout is not None
        asked: list[Any] = [script, world, str(self._folder), environments or {}]
        print(json.dumps(asked), file=self._server.stdin, flush=True)
        codes = json.loads(self._server.stdout.readline())
        out, err = ([(self._folder / f"{kind}-{rank}").read_text() for rank in range(world)] for kind in ("out", "err"))
        return Crew(codes, out, err)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.communicate()
