"""Names that people may give, and a reader that tells what Markdown makes of them."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.token import Token

HOSTILE = (
    "<img src=x onerror=alert(1)>", "</td></table><script>alert(1)</script>", "a|b", "a\\|b", "`rm -rf`", "``", "a\nb",
    "a\r\n\r\n# b", "[click](https://x.example)", "![x](y.png)", "**bold** and __init__", "*", "_a_", "~~gone~~",
    "# head", "1. one", "2) two", "- item", "+ item", "---", "===", "> quote", "    code", "&lt;b&gt;", "&#60;",
    "<https://x.example>", "https://x.example/a_b", "www.x.example", "me@x.example", "[ref]: x", "$x^2$", "{{ 7 * 7 }}",
    "{% raw %}", "a \"quoted\" 'one'", "\\", "a\\", "sit_down", "0.5", "-0.35", "漢字", ":-)", "[x] done", "a\u2028b",
)  # fmt: skip
READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def shown(tokens: list[Token]) -> str:
    """The text of tokens that are text and nothing else."""
    assert {token.type for token in tokens} <= {"text", "text_special", "softbreak"}, tokens
    return "".join(token.content for token in tokens)
