"""A chain and three signers on loopback, and a buyer in front of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.credentials.purchase.world import PurchaseWorld, running_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[PurchaseWorld]:
    async with running_world(tmp_path) as world:
        yield world
