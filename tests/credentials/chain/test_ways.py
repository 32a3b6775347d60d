"""Which transport a network gets, and what importing all of it costs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import aiohttp
import pytest

from nym_credentials.chain.grpc_transport_io import GrpcTransport
from nym_credentials.chain.rest_transport_io import RestTransport
from nym_credentials.chain.transport_io import JsonRpcTransport
from nym_credentials.chain.ways_io import transport_for
from nym_credentials.errors import NetworkDescriptionInvalid
from nym_credentials.networks import MAINNET


def test_the_published_way_is_the_default() -> None:
    transport = transport_for(MAINNET)
    assert isinstance(transport, JsonRpcTransport)
    assert transport.chain_id == "nyx"


def test_operators_may_have_others() -> None:
    assert isinstance(transport_for(replace(MAINNET, rest_url="http://a")), RestTransport)
    assert isinstance(transport_for(replace(MAINNET, grpc_url="http://a")), GrpcTransport)


def test_nothing_goes_around_a_proxy() -> None:
    with pytest.raises(NetworkDescriptionInvalid, match="proxy"):
        transport_for(replace(MAINNET, grpc_url="http://a"), connector_factory=aiohttp.TCPConnector)
    found = transport_for(replace(MAINNET, rest_url="http://a"), connector_factory=aiohttp.TCPConnector)
    assert isinstance(found, RestTransport)


def test_cosmpy_is_imported_only_when_it_is_used() -> None:
    program = (
        "import sys\n"
        "import nym_credentials.chain.ways_io, nym_credentials.chain.smartcontract_io\n"
        "import nym_credentials.networks, nym_credentials.money\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('cosmpy', 'grpc', 'google', 'ecdsa')])\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
