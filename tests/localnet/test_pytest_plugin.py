"""The fixtures that other projects get."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from nym_localnet import Localnet
    from nym_localnet.pytest_plugin import LocalnetFactory

pytest_plugins = ["pytester"]


async def test_the_network_of_a_test(localnet: Localnet) -> None:
    localnet.topology.ensure_usable()
    assert localnet.exit_address


@pytest.mark.localnet(gateways=1, exits=0, loss={"mix2": 0.5})
async def test_the_network_that_a_marker_asks_for(localnet: Localnet) -> None:
    assert len(localnet.gateways) == 1
    assert localnet.nodes["mix2"].loss == 0.5


async def test_as_many_as_a_test_wants(localnet_factory: LocalnetFactory) -> None:
    first = await localnet_factory(exits=0)
    second = await localnet_factory(exits=0, gateways=3)
    assert first.nym_api_url != second.nym_api_url
    assert len(second.gateways) == 3


def test_a_network_for_tests_without_an_event_loop(localnet_url: str) -> None:
    with urllib.request.urlopen(f"{localnet_url}v1/epoch/key-rotation-info") as answer:
        assert answer.status == 200


def test_the_plugin_loads_nothing_until_it_is_used() -> None:
    heavy = ["aiohttp", "cryptography", "nacl", "uvloop", "sqlite3", "nym_sphinx", "nym_mixnet", "nym_exit"]
    program = (
        f"import sys, nym_localnet.pytest_plugin; print([name for name in {heavy} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_project_that_just_has_it_installed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.asyncio
        async def test_uses_it(localnet):
            assert localnet.nym_api_url.startswith("http://127.0.0.1:")

        @pytest.mark.localnet(mixnodes=6)
        @pytest.mark.asyncio
        async def test_marks_it(localnet):
            assert len(localnet.nodes) == 9
        """
    )
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")
    result = pytester.runpytest_subprocess("--strict-markers", "-p", "no:randomly")
    result.assert_outcomes(passed=2)
    shown = pytester.runpytest_subprocess("--fixtures")
    shown.stdout.fnmatch_lines(["*localnet*"])
