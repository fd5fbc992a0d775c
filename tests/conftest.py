"""Shared fixtures: the optional real data beside the repository, and a home that no test shares with the user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Threads that wait without spinning: on a busy machine spinning ones slow small steps a hundredfold. Before torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real clips, features and split lists that lies beside the repository in CI; skips where absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the shared data folder is not beside the repository")
    return SHARED / "data"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private KSHOT_HOME, so that tests neither read nor leave anything in the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "kshot-home"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("KSHOT_HOME", str(folder))
    return folder
