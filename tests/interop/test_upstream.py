"""Each half of nymgate against the reference's own programs.

(a) our client through upstream's nodes and exit, (b) upstream's SOCKS client through our localnet. Both need programs
that nobody has by default: NYM_NODE_PROGRAM and NYM_SOCKS5_CLIENT_PROGRAM name them. (c) is in `test_wasm_client.py`.
"""

from __future__ import annotations

import json
import os
import shutil

import pytest

from tests.interop.namespace import run_in_namespace, unshare_command
from tests.interop.upstream import NODE_VARIABLE, SOCKS_CLIENT_VARIABLE

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]


def require_program(variable: str) -> None:
    if not os.environ.get(variable):
        pytest.skip(f"needs program: {variable} does not name one")
    if shutil.which(os.environ[variable]) is None:
        pytest.fail(f"{variable} names {os.environ[variable]}, which cannot be run")
    if unshare_command() is None:
        pytest.skip("needs program: unshare and ip, and the right to make network namespaces")


def scenario(module: str, *arguments: str) -> dict:
    done = run_in_namespace(module, *arguments, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    report = json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps(report, indent=1))
    return report


@pytest.mark.parametrize("profile", ["standard", "uncovered"])
def test_our_client_through_upstreams_nodes_and_exit(profile):
    require_program(NODE_VARIABLE)
    report = scenario("tests.interop.scenario_nodes", profile)
    assert report["alive"]
    assert report["by_ipv4"] == 0
    # The exit says "failed filter check" for its policy and for names it cannot resolve alike.
    assert report["denied"] == 2
    assert report["unresolvable"] in (2, 4)
    assert report["closed"] == 5
    assert report["denied_seconds"] < 20
    assert report["closed_seconds"] < 20


@pytest.mark.parametrize("replies", ["anonymous", "own-address"])
def test_upstreams_client_through_our_localnet(replies):
    require_program(SOCKS_CLIENT_VARIABLE)
    report = scenario("tests.interop.scenario_client", replies)
    assert report["alive"]
    assert report["errors"] == []
