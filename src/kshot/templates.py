"""Pages from templates (Jinja2): every value is escaped as what the page is written in, HTML or Markdown.

A template is a file `templates/NAME` of its package. Jinja2 is imported when the first page is made, not before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

# What Markdown and its usual extensions (tables, bare links, formulas) read as a sign wherever it stands; an underline
# within a word is none.
_SIGNS = re.compile(r"[\\`*\[\]|~$@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=\bwww)\.", re.IGNORECASE)
# And at the start of a line: a heading, an item of a list, a rule, the underline of a heading.
_START = re.compile(r"^(?:(?=[#+=-]+(?:\s|$))|(\d{1,9})(?=[.)](?:\s|$)))")


def render(package: str, name: str, filters: Mapping[str, Callable[..., Any]], /, **values: Any) -> str:
    """A page from a template of a package.

    Args:
        package: dotted name of the package that holds `templates/`.
        name: the template's file. One that ends in ".md" has its values escaped as Markdown, any other as HTML.
        filters: name -> function, for this template beside Jinja2's own.
        **values: what the template calls by name.

    Raises:
        jinja2.UndefinedError: the template uses a name that no value has.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # `finalize` is called with each value before Jinja2 escapes it as HTML, which leaves `Markup` alone.
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        finalize=_marked_down if name.endswith(".md") else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({"code": code, **filters})
    return environment.get_template(name).render(**values)


def markdown(text: object) -> str:
    """A value as one line of Markdown that shows just these characters: no markup, link, picture, cell or new line.

    Examples:
        >>> markdown("sit_down"), markdown("<img src=x>")
        ('sit_down', '&lt;img src=x&gt;')
    """
    line = " ".join(str(text).splitlines()).strip()
    return _START.sub(r"\1\\", escape(_SIGNS.sub(r"\\\g<0>", line), quote=False))


def code(text: object) -> Markup:
    """A value as a code span of Markdown, whatever backticks it holds."""
    from markupsafe import Markup

    line = " ".join(str(text).splitlines())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    room = " " if line.startswith("`") or line.endswith("`") else ""
    return Markup(f"{fence}{room}{line}{room}{fence}")


def _marked_down(value: object) -> object:
    from markupsafe import Markup

    return value if hasattr(value, "__html__") else Markup(markdown(value))
