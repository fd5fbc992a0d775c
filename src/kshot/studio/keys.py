"""What opens the page: links that work once each, and the secret that a browser gets for one and keeps in a cookie.

Both are new at each start and written nowhere. A link in a browser's history or among the arguments of a process is
worth nothing once it has been opened.
"""

from __future__ import annotations

import hmac
import math
import secrets
import time
from collections.abc import Callable

LINKS = 20  # unused, at most: the oldest gives way


class Keys:
    """The links that have not been opened yet, and the secret.

    Attributes:
        secret: what a cookie must hold.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.secret = secrets.token_urlsafe(32)
        self._clock = clock
        self._links: dict[str, float] = {}

    def link(self, seconds: float = math.inf) -> str:
        """A new one-time key for the page's address.

        Args:
            seconds: how long it may wait to be used.
        """
        made = secrets.token_urlsafe(32)
        for old in list(self._links)[: max(0, len(self._links) + 1 - LINKS)]:
            del self._links[old]
        self._links[made] = self._clock() + seconds
        return made

    def exchange(self, given: str) -> bool:
        """Whether that is an unused link; it is used then."""
        found = [link for link in list(self._links) if _same(given, link)]
        return any(self._links.pop(link, 0.0) > self._clock() for link in found)

    def known(self, given: str) -> bool:
        """Whether that is the secret."""
        return _same(given, self.secret)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())
