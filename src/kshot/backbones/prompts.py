"""Templates of class texts."""

from __future__ import annotations

from collections.abc import Sequence

from kshot.errors import OptionError


def expect_prompts(prompts: Sequence[str] | str) -> list[str]:
    """Templates of class texts as a list; the name of an ensemble, as "clip", stands for all of its own.

    Raises:
        OptionError: none, or one that is neither an ensemble nor has a place for the class name.
    """
    given = [prompts] if isinstance(prompts, str) else list(prompts)
    return [template for one in given or [""] for template in ([one] if "{}" in str(one) else _ensemble(one))]


def _ensemble(name: object) -> tuple[str, ...]:
    from kshot.backbones.ensembles import ENSEMBLES

    if name not in ENSEMBLES:
        raise OptionError(
            f"a prompt needs {{}} where the class name goes, got '{name}'; without, it is the name of an ensemble: "
            f"{', '.join(ENSEMBLES)}"
        )
    return ENSEMBLES[str(name)]
