"""Checks passwords: off the event loop, a few at once, once for each user, and slowly for those who guess.

A right password is remembered by a keyed hash for as long as the process lives, so a thousand connections cost one
scrypt. Whoever sends wrong ones waits longer each time, holds one of a few places while waiting, and is refused unheard
beyond them: others are let in meanwhile, because what is remembered needs no place.
"""

import asyncio
import hashlib
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from nymgate.access.addresses import plain_address
from nymgate.access.users import NOBODYS_PASSWORD, PasswordHash, User, Users, is_right, split_name
from nymgate.listener.credential import Credential

CHECKS_AT_ONCE: Final = 2
PLACES: Final = 64
PLACES_PER_PEER: Final = 32
PLACES_OF_GUESSERS: Final = 4  # for an address that was wrong a moment ago
WRONG_REMEMBERED: Final = 4096
PEERS_REMEMBERED: Final = 4096
FORGIVEN_AFTER_SECONDS: Final = 60.0
FIRST_DELAY_SECONDS: Final = 0.25
LONGEST_DELAY_SECONDS: Final = 4.0


class TooManyGuesses(Exception):
    """Nobody listens to more passwords from there for now."""


@dataclass(slots=True)
class _Guesses:
    count: int
    last: float


class Doorkeeper:
    """Knows the users, and who was right."""

    def __init__(
        self,
        users: Users,
        clock: Callable[[], float] = time.monotonic,
        check: Callable[[PasswordHash, bytes], bool] = is_right,
    ) -> None:
        self._users = users
        self._clock = clock
        self._check = check
        self._key = os.urandom(32)
        self._right: dict[str, tuple[bytes, PasswordHash]] = {}
        self._wrong: OrderedDict[bytes, float] = OrderedDict()
        self._guesses: OrderedDict[str, _Guesses] = OrderedDict()
        self._places: Counter[str] = Counter()
        self._checking: dict[bytes, asyncio.Future[bool]] = {}
        self._threads = ThreadPoolExecutor(CHECKS_AT_ONCE, thread_name_prefix="passwords")
        self.checks = 0
        """Passwords that were hashed."""
        self.refused = 0
        """Logins that were wrong, or one too many."""

    def change(self, users: Users) -> None:
        """Other users from now on; who was right stays so if the hash is the same."""
        self._users = users
        self._wrong.clear()

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def known(self, credential: Credential) -> User | None:
        """The user, if this very login was right before."""
        name, _token = split_name(credential.name)
        user, right = self._users.get(name), self._right.get(name)
        if user is None or right is None or right[1] != user.password:
            return None
        return user if right[0] == self._digest(name, credential.password) else None

    async def check(self, credential: Credential, peer: str | None) -> User | None:
        """The user, or None after a while. Raises TooManyGuesses."""
        if (user := self.known(credential)) is not None:
            return user
        where = _origin(peer)
        name, _token = split_name(credential.name)
        joins = (
            self._digest(name, credential.password) in self._checking
        )  # costs nothing, and so needs no place
        if not joins:
            self._take_place(where)
        try:
            user = self._users.get(name) if not credential.scheme else None
            right = await self._is_right(name, user, credential.password)
            if user is not None and right and self._users.get(name) == user:
                return user
            self.refused += 1
            await asyncio.sleep(self._delay(where))
            return None
        finally:
            if not joins:
                self._places[where] -= 1
                self._places += Counter()

    def _take_place(self, where: str) -> None:
        guesses = self._guesses.get(where)
        guesser = guesses is not None and self._clock() - guesses.last < FORGIVEN_AFTER_SECONDS
        most = PLACES_OF_GUESSERS if guesser else PLACES_PER_PEER
        if self._places[where] >= most or self._places.total() >= PLACES:
            self.refused += 1
            raise TooManyGuesses
        self._places[where] += 1

    async def _is_right(self, name: str, user: User | None, password: bytes) -> bool:
        """One hash for all who ask the same at once, none for what was wrong a moment ago."""
        digest = self._digest(name, password)
        wrong = self._wrong.get(digest)
        if wrong is not None and self._clock() - wrong < FORGIVEN_AFTER_SECONDS:
            return False
        checking = self._checking.get(digest)
        if checking is None:
            hashed = user.password if user is not None else NOBODYS_PASSWORD
            self.checks += 1
            checking = asyncio.get_running_loop().run_in_executor(
                self._threads, self._check, hashed, password
            )
            self._checking[digest] = checking
            checking.add_done_callback(lambda _done: self._checking.pop(digest, None))
        right = await asyncio.shield(checking)
        if right and user is not None:
            self._right[name] = (digest, user.password)
        else:
            self._wrong[digest] = self._clock()
            if len(self._wrong) > WRONG_REMEMBERED:
                self._wrong.popitem(last=False)
        return right

    def _delay(self, where: str) -> float:
        now = self._clock()
        guesses = self._guesses.pop(where, None)
        if guesses is None or now - guesses.last > FORGIVEN_AFTER_SECONDS:
            guesses = _Guesses(0, now)
        guesses.count, guesses.last = guesses.count + 1, now
        self._guesses[where] = guesses
        if len(self._guesses) > PEERS_REMEMBERED:
            self._guesses.popitem(last=False)
        longest: float = FIRST_DELAY_SECONDS * 2.0 ** min(guesses.count - 1, 10)
        return min(longest, LONGEST_DELAY_SECONDS)

    def _digest(self, name: str, password: bytes) -> bytes:
        return hashlib.blake2b(name.encode() + b"\0" + password, key=self._key, digest_size=32).digest()


def _origin(peer: str | None) -> str:
    """Where guesses come from: an IPv4 address, the half of an IPv6 address that is one customer's, or this machine."""
    address = plain_address(peer) if peer is not None else None
    if address is None:
        return "local"
    return str(address) if address.version == 4 else address.exploded[:19]
