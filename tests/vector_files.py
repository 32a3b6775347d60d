"""Reads the known answers of the reference implementation.

They lie in ``tests/vectors``, or in the folder named by the variable ``VECTORS_DIR``: another set of the same
schema, with other values and counts, which may hold only some of the files. What such a set lacks is skipped;
what ours lacks is an error.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

_OWN = Path(__file__).parent / "vectors"


def folder() -> Path:
    """Where the vector files are."""
    return Path(os.environ.get("VECTORS_DIR") or _OWN)


def is_foreign_set() -> bool:
    """Whether the folder was chosen by ``VECTORS_DIR``."""
    return bool(os.environ.get("VECTORS_DIR"))


def load(name: str) -> dict[str, Any]:
    """The whole file ``name`` (without ``.json``). Skips the test or module if a foreign set lacks it."""
    path = folder() / f"{name}.json"
    if is_foreign_set() and folder().is_dir() and not path.exists():
        pytest.skip(f"{path.name} is not in the folder named by VECTORS_DIR", allow_module_level=True)
    loaded = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def cases(file: Mapping[str, Any], item_type: str) -> list[Any]:
    """Parameters for the entries of one type in a file with a ``vectors`` list;

    their names are the test ids.
    """
    found = [pytest.param(item, id=item["name"]) for item in file["vectors"] if item["type"] == item_type]
    if found:
        return found
    assert is_foreign_set(), f"no vector of type {item_type}"
    reason = f"the folder named by VECTORS_DIR has no vector of type {item_type}"
    return [pytest.param({}, id=f"no-{item_type}", marks=pytest.mark.skip(reason=reason))]


def unknown_types(file: Mapping[str, Any], known: set[str]) -> set[str]:
    """Types of entries that nobody checks."""
    return {item["type"] for item in file["vectors"]} - known


def unhex(text: str) -> bytes:
    """Bytes of a hex string."""
    return bytes.fromhex(text)


def pattern(length: int) -> bytes:
    """The test message whose byte i is (31 i + 7) mod 251."""
    return bytes((31 * i + 7) % 251 for i in range(length))


def blob(entry: Mapping[str, Any]) -> bytes:
    """A byte string given as ``hex`` or as ``pattern_len``."""
    return unhex(entry["hex"]) if "hex" in entry else pattern(entry["pattern_len"])


def assert_blob(data: bytes, entry: Mapping[str, Any]) -> None:
    """Compare with an entry that holds ``hex`` or ``sha256``, and perhaps ``len``."""
    assert entry.keys() & {"hex", "sha256"}, "nothing to compare with"
    if "hex" in entry:
        assert data == unhex(entry["hex"])
    if "sha256" in entry:
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    if "len" in entry:
        assert len(data) == entry["len"]
