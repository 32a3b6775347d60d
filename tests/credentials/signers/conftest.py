"""Three signers on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from nym_credentials.signers.client_io import SignerHttp, SignerHttpOptions
from tests.credentials.signers.mini_signers import Network, running_signers


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with running_signers() as network:
        yield network


@pytest.fixture
async def http() -> AsyncIterator[SignerHttp]:
    async with SignerHttp(options=SignerHttpOptions(timeout_seconds=20.0)) as http:
        yield http
