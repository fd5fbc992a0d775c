"""The cache folder follows KSHOT_HOME and is asked for anew each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from kshot.paths import home


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "a"))
    assert home() == tmp_path / "a"
    monkeypatch.setenv("KSHOT_HOME", "")
    assert home() == Path.home() / ".cache" / "kshot"
    assert not (tmp_path / "a").exists()
