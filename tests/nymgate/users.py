"""Users files for tests, with hashes that cost next to nothing."""

import hashlib
from pathlib import Path

from nymgate.access.users import Limits, PasswordHash, User, format_line


def cheap_hash(password: bytes, salt: bytes = b"saltsalt") -> PasswordHash:
    key = hashlib.scrypt(password, salt=salt, n=4, r=8, p=1, dklen=32)
    return PasswordHash(2, 8, 1, salt, key)


def user(name: str, password: str, **limits) -> User:
    return User(name, cheap_hash(password.encode()), Limits(**limits))


def users_file(folder: Path, **passwords: str) -> Path:
    path = folder / "users"
    path.write_text("".join(format_line(user(name, word)) + "\n" for name, word in passwords.items()))
    return path
