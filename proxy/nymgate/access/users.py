"""The users file: who may use the proxy, with hashed passwords and limits of their own.

One user a line, ``name:hash``, then what limits them, in any order and all optional::

    # nymgate users add writes these lines
    alice:$scrypt$ln=15,r=8,p=1$c2FsdA$aGFzaA streams=20 per_day=1GiB per_month=10GiB

The hash is scrypt (RFC 7914) in the usual notation, with salt and key in base64 without padding. Checking one takes a
tenth of a second and 32 MiB, which is the point: call :func:`is_right` in a thread.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nymgate.units import format_size, parse_size

MAX_FILE_BYTES: Final = 4 << 20
MAX_PASSWORD_BYTES: Final = 255  # what SOCKS5 can carry (RFC 1929)
SALT_BYTES: Final = 16
KEY_BYTES: Final = 32
LOG_N, R, P = 15, 8, 1
_MAX_MEMORY_BYTES: Final = 256 << 20
_MAX_P: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}", re.ASCII)
_HASH: Final = re.compile(
    r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)", re.ASCII
)
TOKEN_MARK: Final = "+"  # noqa: S105 - what stands between a user's name and a token of isolation


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A password as the file keeps it."""

    log_n: int
    r: int
    p: int
    salt: bytes = field(repr=False)
    key: bytes = field(repr=False)

    def __str__(self) -> str:
        salt, key = (base64.b64encode(raw).decode().rstrip("=") for raw in (self.salt, self.key))
        return f"$scrypt$ln={self.log_n},r={self.r},p={self.p}${salt}${key}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one user may take; None: as the configuration says for all."""

    streams: int | None = None
    """At once."""
    bytes_per_day: int | None = None
    bytes_per_month: int | None = None
    """Up and down together, by the calendar in UTC."""


@dataclass(frozen=True, slots=True)
class User:
    """A line of the file."""

    name: str = field(repr=False)
    password: PasswordHash = field(repr=False)
    limits: Limits = Limits()


Users = Mapping[str, User]


class UsersFileInvalid(ValueError):
    """A line that cannot be understood. The message names its number, not what it holds."""


def is_name(text: str) -> bool:
    """Whether a user can have this name."""
    return _NAME.fullmatch(text) is not None


def parse_users(text: str) -> dict[str, User]:
    """The users of a file. Raises UsersFileInvalid."""
    users: dict[str, User] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            user = parse_line(line)
        except ValueError as error:
            raise UsersFileInvalid(f"line {number}: {error}") from None
        if user.name in users:
            raise UsersFileInvalid(f"line {number}: the user stands in an earlier line as well")
        users[user.name] = user
    return users


def parse_line(line: str) -> User:
    """One user. ValueError says what is wrong."""
    name, colon, rest = line.partition(":")
    if not colon or not is_name(name):
        raise ValueError("not name:hash, with letters, digits and . _ @ - in the name")
    hashed, *words = rest.split() or [""]
    return User(name, parse_hash(hashed), _limits(words))


def parse_hash(text: str) -> PasswordHash:
    """``$scrypt$ln=…,r=…,p=…$salt$key``. ValueError otherwise, or where checking it would take too much."""
    found = _HASH.fullmatch(text)
    if found is None:
        raise ValueError("not a scrypt hash; `nymgate users add` makes one")
    log_n, r, p = (int(found[index]) for index in (1, 2, 3))
    if not (1 <= log_n <= 24 and r and 1 <= p <= _MAX_P) or 128 * r * (p + (1 << log_n)) > _MAX_MEMORY_BYTES:
        raise ValueError("a scrypt hash with parameters beyond 256 MiB")
    try:
        salt, key = (base64.b64decode(found[index] + "==") for index in (4, 5))
    except binascii.Error:
        raise ValueError("a scrypt hash with broken base64") from None
    if not 16 <= len(key) <= 64 or not 8 <= len(salt) <= 64:
        raise ValueError("a scrypt hash with a salt or key of odd length")
    return PasswordHash(log_n, r, p, salt, key)


def _limits(words: list[str]) -> Limits:
    values: dict[str, int] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name in values:
            raise ValueError("a limit that stands there twice")
        if name == "streams" and value.isascii() and value.isdigit() and int(value) > 0:
            values[name] = int(value)
        elif name in ("per_day", "per_month"):
            values[name] = parse_size(value)
        else:
            raise ValueError("a limit other than streams=N, per_day=SIZE, per_month=SIZE")
    return Limits(values.get("streams"), values.get("per_day"), values.get("per_month"))


def format_line(user: User) -> str:
    """A line as :func:`parse_line` reads it."""
    limits = user.limits
    words = [f"{user.name}:{user.password}"]
    if limits.streams is not None:
        words.append(f"streams={limits.streams}")
    if limits.bytes_per_day is not None:
        words.append(f"per_day={format_size(limits.bytes_per_day)}")
    if limits.bytes_per_month is not None:
        words.append(f"per_month={format_size(limits.bytes_per_month)}")
    return " ".join(words)


def hash_password(password: bytes, salt: bytes) -> PasswordHash:
    """A new hash. Takes a tenth of a second."""
    empty = PasswordHash(LOG_N, R, P, salt, bytes(KEY_BYTES))
    return PasswordHash(LOG_N, R, P, salt, _derive(empty, password))


def is_right(hashed: PasswordHash, password: bytes) -> bool:
    """Whether it is this password. Takes a tenth of a second, of other threads nothing."""
    return hmac.compare_digest(_derive(hashed, password), hashed.key)


def _derive(like: PasswordHash, password: bytes) -> bytes:
    memory = 128 * like.r * ((1 << like.log_n) + like.p + 2) + (1 << 20)
    return hashlib.scrypt(
        password, salt=like.salt, n=1 << like.log_n, r=like.r, p=like.p, maxmem=memory, dklen=len(like.key)
    )


NOBODYS_PASSWORD: Final = PasswordHash(LOG_N, R, P, bytes(SALT_BYTES), bytes(KEY_BYTES))
"""Checked in place of an unknown user's, so that time does not tell who exists."""


def split_name(name: bytes) -> tuple[str, str | None]:
    """``alice+token`` → user and token of isolation."""
    user, mark, token = name.decode("latin-1").partition(TOKEN_MARK)
    return user, token if mark else None
