"""The trained model: loaded once, and whether it is still what a training would begin from."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from kshot.errors import CheckpointError, KshotError, OptionError
from kshot.studio.project import Project

if TYPE_CHECKING:
    from kshot.recognizer import Recognizer

UNTRAINED = "nothing has been taught yet: press Teach first"


class TrainedModel:
    """The model that a project has trained.

    Args:
        project: whose it is.
        device: where its backbone computes.

    Attributes:
        project: as given.
        device: as given.
        changed: why it is not what training on the same clips would begin from now; "" if it is, as far as is known.
    """

    def __init__(self, project: Project, device: str) -> None:
        self.project, self.device = project, device
        self.changed = ""
        self._mutex = threading.Lock()
        self._loaded: tuple[str, Recognizer] | None = None
        self._own = 0.0  # its threshold, whatever was chosen

    @property
    def folder(self) -> Path:
        """Its folder. Raises OptionError if there is none."""
        trained = self.project.state.trained
        if trained is None:
            raise OptionError(UNTRAINED)
        return self.project.folder / "models" / trained.model

    def put(self, folder: Path, model: Recognizer) -> None:
        """Takes one that has just been trained, and saved there."""
        self._loaded, self.changed, self._own = (folder.name, model), "", model.threshold_

    def model(self) -> Recognizer:
        """The model itself. Raises KshotError if there is none, or it is damaged."""
        folder = self.folder
        from kshot.recognizer import Recognizer

        with self._mutex:
            loaded = self._loaded
            if loaded is None or loaded[0] != folder.name:
                moved = self.project.state.settings.get("backbone")
                try:
                    made = Recognizer.load(folder, device=self.device)
                except CheckpointError:
                    if moved is None:
                        raise
                    made = Recognizer.load(folder, moved, self.device)
                loaded = self._loaded = (folder.name, made)
                self._own = made.threshold_
            chosen = self.project.state.threshold
            loaded[1].threshold_ = self._own if chosen is None else chosen
        return loaded[1]

    def check(self) -> bool:
        """Finds out what `changed` says; whether there is something to say."""
        trained = self.project.state.trained
        if trained is None:
            return False
        try:
            changed = self._changed()
        except (KshotError, OSError) as error:
            changed = f"the taught model does not fit any more: {error}"
        if self.project.state.trained is not trained:
            return False
        self.changed = changed
        return bool(changed)

    def _changed(self) -> str:
        from kshot.backbones import backbone as backbones
        from kshot.recognizer import artefact

        settings, model = self.project.state.settings, self.model()
        before = model.learner_.backbone
        assert before is not None
        if self.project.state.base:  # from which training begins, whatever the settings are
            return ""
        if "backbone" not in settings and (
            "adapted" in settings or not (self.project.clips() or self.project.state.marks)
        ):
            wanted = str(model.backbone)  # the run's own, or nothing that one could be chosen by
        else:
            wanted = self.project.default_backbone().name
        if wanted != str(model.backbone):
            now = backbones.load(wanted, self.device)
            if now.fingerprint != before.fingerprint:
                return (
                    f"it was taught on the backbone {before.name} ({before.fingerprint[:12]}), and teaching begins "
                    f"from {now.name} ({now.fingerprint[:12]}) now"
                )
        runs = (model.adapted, settings.get("adapted"))
        if len({run and artefact.run_name(artefact.run_files(run)) for run in runs}) > 1:
            return "it was taught from another run of `kshot train` than teaching begins from now"
        return ""
