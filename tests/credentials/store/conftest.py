"""Stores in temporary folders, and on a real PostgreSQL server."""

from __future__ import annotations

import pytest

from nym_credentials.store.keys import StoreKey
from tests.credentials.store.postgres import postgres_server

KEY = StoreKey.from_bytes(bytes(range(32)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "tickets.sqlite"


@pytest.fixture(scope="session")
def server():
    """One server for all tests of this process; each makes its own databases."""
    with postgres_server() as running:
        yield running


@pytest.fixture
async def url(server):
    """An empty database."""
    return server.url(await server.database())
