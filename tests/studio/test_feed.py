"""Whoever waits for changes is woken, from any thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kshot.studio.feed import Feed


def test_everybody_who_waits_is_woken_from_another_thread() -> None:
    feed = Feed()

    async def waits() -> int:
        with feed.listen() as one, feed.listen() as other:
            threading.Thread(target=feed.announce).start()
            await asyncio.wait_for(asyncio.gather(one.wait(), other.wait()), 60)
            one.clear()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(one.wait(), 0.05)
        feed.announce()  # nobody waits any more
        return len(feed._waiting)

    assert asyncio.run(waits()) == 0


def test_a_loop_that_has_ended_is_no_fault() -> None:
    feed = Feed()

    async def leaves() -> None:
        feed.listen().__enter__()  # and is cut off

    asyncio.run(leaves())
    feed.announce()
