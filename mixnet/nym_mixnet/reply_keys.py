"""Keys of the reply SURBs we gave out: whose they are, and how many the other side may still hold.

A reply carries the digest of its key (docs/protocol/02 §8). The keys tell more than upstream uses them for: each
was given to one recipient, so a reply can be attributed to one exit; and since a replier takes its SURBs in the
order they arrived, the newest key answered so far tells how many are left there (docs/protocol/04 §4.4a). Keys
of lost replies, which never come back, therefore do not starve the bank.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from nym_sphinx import Recipient, ReplySurb

MAX_KEY_AGE_SECONDS = 24 * 3600.0
MAX_KEYS = 200_000


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """One reply key as it is kept, in memory and in the store. `issued_unix` is in seconds."""

    digest: bytes
    key: bytes = field(repr=False)
    recipient: Recipient
    issued_unix: float
    rotation_id: int
    index: int  # position in the order of issue to this recipient, from 1


@dataclass(slots=True)
class _Account:
    issued: int = 0
    newest_answered: int = 0
    floor: int = 0  # indices up to here are known or assumed to be gone at the other side
    answered: int = 0


@dataclass(slots=True)
class ReplyKeys:
    """All outstanding reply keys of one client."""

    max_keys: int = MAX_KEYS
    _keys: OrderedDict[bytes, IssuedKey] = field(default_factory=OrderedDict)
    _accounts: dict[Recipient, _Account] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._keys)

    def issue(
        self, recipient: Recipient, surbs: Iterable[ReplySurb], now_unix: float, rotation_id: int
    ) -> list[IssuedKey]:
        """Record SURBs made for `recipient`; persist the returned keys before the SURBs leave."""
        account = self._accounts.setdefault(recipient, _Account())
        issued: list[IssuedKey] = []
        for surb in surbs:
            account.issued += 1
            key = IssuedKey(surb.digest, surb.key, recipient, now_unix, rotation_id, account.issued)
            self._keys[key.digest] = key
            issued.append(key)
        while len(self._keys) > self.max_keys:
            self._keys.popitem(last=False)
        return issued

    def restore(self, keys: Iterable[IssuedKey], *, stock_known: bool, rotation_id: int) -> None:
        """Take over keys of an earlier run, in order of issue.

        With `stock_known` the other side is assumed to still hold those of the current rotation; without, the keys
        only serve late replies.
        """
        for key in keys:
            account = self._accounts.setdefault(key.recipient, _Account())
            account.issued += 1
            kept = IssuedKey(
                key.digest, key.key, key.recipient, key.issued_unix, key.rotation_id, account.issued
            )
            self._keys[kept.digest] = kept
            if not stock_known or key.rotation_id != rotation_id:
                account.floor = account.issued

    def take(self, digest: bytes) -> IssuedKey | None:
        """The key behind a digest, used up by this call; None for a message that is no reply of ours."""
        key = self._keys.pop(digest, None)
        if key is not None:
            account = self._accounts[key.recipient]
            account.newest_answered = max(account.newest_answered, key.index)
            account.answered += 1
        return key

    def stock(self, recipient: Recipient) -> int:
        """How many SURBs the recipient is believed to hold (including those still on their way)."""
        account = self._accounts.get(recipient)
        if account is None:
            return 0
        return max(0, account.issued - max(account.newest_answered, account.floor))

    def note_short(self, recipient: Recipient) -> None:
        """The recipient says it has run short: what we believed it to hold is not there."""
        account = self._accounts.get(recipient)
        if account is not None:
            account.floor = account.issued

    def note_rotation(self) -> None:
        """The network's keys rotated: SURBs made before are dying, so nobody's stock counts any more."""
        for account in self._accounts.values():
            account.floor = account.issued

    def expire(self, now_unix: float) -> list[bytes]:
        """Drop keys older than 24 h; returns their digests for the store."""
        expired: list[bytes] = []
        while self._keys:
            digest, key = next(iter(self._keys.items()))
            if now_unix - key.issued_unix <= MAX_KEY_AGE_SECONDS:
                break
            del self._keys[digest]
            expired.append(digest)
        return expired
