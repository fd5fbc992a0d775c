"""Names of people in pages: they show as they are, and are no markup, link, picture, cell or code."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markdown_it.token import Token

from kshot.templates import code, markdown, render
from odd_names import HOSTILE, READER, shown


def inside(text: str) -> list[Token]:
    """What Markdown makes of the cell of a table that holds a text."""
    tokens = READER.parse(f"| a | b |\n| --- | --- |\n| {text} | end |\n")
    cells = [after for token, after in itertools.pairwise(tokens) if token.type == "td_open"]
    assert len(cells) == 2 and cells[1].content == "end"
    return cells[0].children or []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_as_it_is(name: str) -> None:
    seen = " ".join(name.splitlines()).strip()
    assert shown(inside(markdown(name))) == seen
    for line in (f"- {markdown(name)}", f"# {markdown(name)}", f"{markdown(name)}\n"):  # also where a line begins
        tokens = READER.parse(line)
        assert [token.type for token in tokens if token.type == "inline"] == ["inline"], tokens
        assert {t.tag for t in tokens if t.type != "inline"} <= {"ul", "li", "p", "h1"}
        (inline,) = (token for token in tokens if token.type == "inline")
        assert shown(inline.children or []) == seen


@pytest.mark.parametrize("name", ["sit_down", "0.5", "wave (left)", "it's", "30 % + 2", "a/b-c.mp4", "10", "-0.350"])
def test_what_means_nothing_is_left_alone(name: str) -> None:
    assert markdown(name) == name


@pytest.mark.parametrize("address", ["https://x.example", "www.x.example", "me@x.example"])
def test_bare_addresses_are_no_links(address: str) -> None:
    """GitHub and the hub make links of them, which the reader above does not: a backslash stands before the sign."""
    assert "\\" in markdown(address)


@pytest.mark.parametrize("name", ["plain", "a`b", "``", "`a", "a`", "<b>", "a\nb", "a``b`c"])
def test_a_code_span_holds_any_text(name: str) -> None:
    (span,) = READER.parseInline(str(code(name)))[0].children or []
    assert (span.type, span.content) == ("code_inline", " ".join(name.splitlines()))


def page(folder: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, **values: object) -> str:
    """A template of a package made for it."""
    package = folder / "paged"
    (package / "templates").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "templates" / file).write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "paged", raising=False)
    return render("paged", file, {}, **values)


def test_every_value_is_escaped_as_the_page_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "{% macro item(x) %}- {{ x }}{% endmacro %}{{ item(name) }} {{ [name, name]|join(', ') }} {{ name|code }}"
    assert page(tmp_path / "1", monkeypatch, "a.md", text, name="<a|b>") == (
        "- &lt;a\\|b&gt; &lt;a\\|b&gt;, &lt;a\\|b&gt; `<a|b>`"
    )
    assert page(tmp_path / "2", monkeypatch, "a.html", "<i>{{ name }}</i>", name="<a|b>") == "<i>&lt;a|b&gt;</i>"


def test_a_name_that_the_template_does_not_know_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UndefinedError, match="'nam' is undefined"):
        page(tmp_path, monkeypatch, "a.html", "{{ nam }}", name="a")
