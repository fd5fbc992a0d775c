"""What kshot's own files hold, field by field: anything else is refused at the door (`kshot.gate.typed`).

Only what is read again is here; further keys are let through. Importing this takes a tenth of a second: do it late.
"""

from __future__ import annotations

from kshot.forms.base import Count, Finite, Form, Names, Saved, Seed
from kshot.forms.models import ModelFile
from kshot.forms.runs import PreparedFile, RunFile, TrainingState

__all__ = ["Count", "Finite", "Form", "ModelFile", "Names", "PreparedFile", "RunFile", "Saved", "Seed", "TrainingState"]
