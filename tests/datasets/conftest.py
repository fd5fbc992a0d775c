"""What tests of data sets share: films to annotate."""

from __future__ import annotations

from pathlib import Path

import pytest

from numbered_films import write_film


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films, the last one in a folder of its own."""
    place = tmp_path_factory.mktemp("lab")
    for name in ("a.mp4", "b.mp4", "more/c d.mp4"):
        write_film(place / name)
    return place
