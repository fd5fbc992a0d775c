"""What opens the page: links and the secret."""

from __future__ import annotations

from kshot.studio.keys import Keys


def test_links_work_once_for_a_while_and_not_without_end() -> None:
    now = [0.0]
    keys = Keys(lambda: now[0])
    short, long = keys.link(10), keys.link()
    now[0] = 11
    assert not keys.exchange(short) and keys.exchange(long) and not keys.exchange(long)
    many = [keys.link() for _ in range(30)]
    assert [keys.exchange(link) for link in many] == [False] * 10 + [True] * 20
    assert len({Keys().secret for _ in range(5)}) == 5
    for wrong in ("", "\ud800", "ß", keys.secret):
        assert not keys.exchange(wrong)
