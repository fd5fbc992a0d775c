"""Templates of class texts."""

from __future__ import annotations

from collections.abc import Sequence

from kshot.errors import OptionError

READABLE, SPELLED = "{}", "{spelled}"
"""Where a class name goes in a template: with underscores read as spaces, or as it is spelled."""


def expect_prompts(prompts: Sequence[str] | str) -> list[str]:
    """Templates of class texts as a list; the name of an ensemble, as "clip", stands for all of its own.

    Raises:
        OptionError: none, or one that is neither an ensemble nor has one kind of place for the class name.
    """
    given = [prompts] if isinstance(prompts, str) else list(prompts)
    return [template for one in given or [""] for template in ([one] if _has_a_place(one) else _ensemble(one))]


def _has_a_place(one: object) -> bool:
    return (READABLE in str(one)) != (SPELLED in str(one))


def _ensemble(name: object) -> tuple[str, ...]:
    from kshot.backbones.ensembles import ENSEMBLES

    if name not in ENSEMBLES:
        raise OptionError(
            f"a prompt needs {{}} where the class name goes, got '{name}'; without, it is the name of an ensemble: "
            f"{', '.join(ENSEMBLES)}"
        )
    return ENSEMBLES[str(name)]
