"""Every tuning method on a small checkpoint of every family: a step changes what it says, or one line says why not."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch

from checkpoints import EVERY, frames, write
from kshot import tuning
from kshot.backbones.backbone import Backbone, load
from kshot.errors import OptionError
from scripted import script

pytestmark = pytest.mark.slow

SMALL = {
    "lora": {"rank": 2}, "adaptformer": {"width": 4}, "st-adapter": {"width": 4}, "vpt": {"tokens": 2},
    "coop": {"context": 2}, "aim": {"frames": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> ModuleType:
    return script("tuning_table")


def test_the_page_is_the_scripts_own(table: ModuleType) -> None:
    assert table.PAGE.read_text("utf-8") == table.page(), "run python scripts/tuning_table.py"


@pytest.mark.parametrize("pair", [*EVERY, ("lite", "")], ids=lambda pair: " ".join(pair).strip())
def test_a_step_changes_what_a_method_says_and_nothing_else(
    pair: tuple[str, str], tmp_path: Path, table: ModuleType
) -> None:
    if pair != ("lite", ""):
        write(tmp_path, *pair)
    frozen = load("lite" if pair == ("lite", "") else tmp_path)
    x = frames(frozen, 4)
    for method in tuning.TUNING:
        fits = frozen.tunings is None or method in frozen.tunings
        assert fits is _fits(frozen, method, x), method
    assert pair[0] in table.REAL


def _fits(frozen: Backbone, method: str, x: torch.Tensor) -> bool:
    tuned = frozen.copy()
    torch.manual_seed(0)
    try:
        cut = tuning.apply(method, tuned, **SMALL.get(method, {}))
    except OptionError as error:
        assert "\n" not in str(error) and f"has no {tuning.lacking(method, frozen)}: take partial, " in str(error)
        return False
    before = {name: value.detach().clone() for name, value in [*tuned.named_parameters(), *tuned.named_buffers()]}
    learns = {name: value for name, value in tuned.named_parameters() if value.requires_grad}
    tuned.train()
    if method == "coop":
        ids = torch.randint(3, 500, (4, 8), generator=torch.Generator().manual_seed(5))
        ids[:, -1] = tuned.text.end
        loss = tuned.text.encode_from(ids, 0).square().sum()
    else:
        with torch.no_grad():
            stored = tuned.encode_to(x, cut)
        loss = tuned.encode_from(stored, cut, frames=2).square().sum()
    loss.backward()
    torch.optim.SGD(learns.values(), lr=1e-2).step()
    after = dict([*tuned.named_parameters(), *tuned.named_buffers()])
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed and changed <= learns.keys(), method
    assert not any(value.requires_grad for value in frozen.parameters())
    return True
