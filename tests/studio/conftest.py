"""What the studio's tests share: a project, and an engine for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from studio_pages import browser, drawn, opened, ready, studio, taught  # noqa: F401

from clips import draw, write_video
from kshot.studio.engine import StudioEngine
from kshot.studio.project import Project


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short video."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", draw(0, 3, np.random.default_rng(0)))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with closing(Project(tmp_path / "project", {})) as made:
        yield made


@pytest.fixture(scope="session")
def reader_once() -> Iterator[list[object]]:
    """Holds the reading process that the tests share."""
    held: list[object] = []
    yield held
    for reader in held:
        reader.close()  # type: ignore[attr-defined]


@pytest.fixture
def engine(project: Project, reader_once: list[object]) -> Iterator[StudioEngine]:
    """An engine without anything running."""
    made = StudioEngine(project, lambda: None)
    if reader_once:
        made.reader = reader_once[0]  # type: ignore[assignment]
    else:
        reader_once.append(made.reader)
    yield made
    made.cancel()
