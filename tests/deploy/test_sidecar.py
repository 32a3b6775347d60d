"""The sidecar arrangements in network namespaces: an application without a way out reaches a page by name through the
proxy, and reaches nothing when the proxy is stopped."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.namespaces import Machine, Program, cable, needed, open_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FENCE = Path(__file__).parents[2] / "deploy/kubernetes/components/fence/fence.py"
NYMGATE = str(Path(sys.executable).with_name("nymgate"))
NYMGATE_USER, APP_USER = 65532, 10001
PAGE_HOST, PAGE_ADDRESS, PAGE_PORT = "page.example", "198.51.100.2", 8080
BODY = "only the exit knows where I live"


@dataclass
class World:
    """Where the page is, and the machine that has a way there; the exit's name server is its hosts file."""

    page: Machine
    gate: Machine
    folder: Path


@contextlib.contextmanager
def world(user: int = 0) -> Iterator[World]:
    needed()
    with open_folder(user) as folder, open_folder() as site:
        hosts = site / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{PAGE_ADDRESS} {PAGE_HOST}\n")
        (site / "index.html").write_text(BODY)
        with Machine("page") as page, Machine("gate", hosts) as gate:
            cable(page, f"{PAGE_ADDRESS}/24", gate, "198.51.100.1/24")
            words = ["-m", "http.server", str(PAGE_PORT), "--bind", PAGE_ADDRESS, "--directory", str(site)]
            page.start([sys.executable, "-u", *words]).wait_for("Serving HTTP")
            yield World(page, gate, folder)


def localnet(here: World, user: int = 0) -> None:
    """Gateways, mix nodes and an exit on the gate's loopback."""
    words = [NYMGATE, "localnet", "up", "--json", "--data-dir", str(here.folder)]
    here.gate.start(words, user=user).wait_for('"nym_api"')


def proxy(here: World, listen: str, user: int = 0, **settings: str) -> Program:
    environment = {
        "NYMGATE_NETWORK": str(here.folder / "localnet.toml"),
        "NYMGATE_DATA_DIR": str(here.folder / "own"),
        "NYMGATE_LISTEN__MIXED": listen,
        "NYMGATE_MIXNET__PROFILE": "uncovered",
    } | settings
    running = here.gate.start([NYMGATE, "run", "--json"], environment, user=user)
    running.wait_for('"ready"')
    return running


def curl(machine: Machine, *words: str) -> str:
    """What an application gets, nothing if it gets nothing."""
    said = machine.run(["curl", "--silent", "--show-error", "--max-time", "40", *words], user=APP_USER)
    assert (said.returncode == 0) == (said.stdout == BODY), said
    return said.stdout


BY_NAME = f"http://{PAGE_HOST}:{PAGE_PORT}/"
BY_ADDRESS = f"http://{PAGE_ADDRESS}:{PAGE_PORT}/"


def test_an_application_on_a_network_of_its_own_gets_out_by_the_proxy_alone():
    """As in compose: the application has a cable to the proxy and no route to anywhere else."""
    with world() as here, Machine("app") as app:
        cable(app, "10.53.0.2/24", here.gate, "10.53.0.1/24")
        localnet(here)
        running = proxy(here, "10.53.0.1:1080", NYMGATE_ACCESS__ALLOW="10.53.0.0/24")
        through = ("--proxy", "socks5h://10.53.0.1:1080")
        assert curl(here.gate, BY_ADDRESS) == BODY, "the gate itself has a way"
        assert curl(app, BY_ADDRESS) == ""
        assert curl(app, BY_NAME) == "", "the name means nothing here"
        assert curl(app, *through, BY_NAME) == BODY
        assert curl(app, "--proxy", "http://10.53.0.1:1080", BY_NAME) == BODY
        assert running.stop() == 0
        assert curl(app, *through, BY_NAME) == ""
        assert curl(app, *through, BY_ADDRESS) == ""
        assert curl(app, BY_ADDRESS) == ""
        assert curl(here.gate, BY_ADDRESS) == BODY, "the page is still there"


def test_an_application_in_the_same_pod_gets_out_by_the_proxy_alone_once_fenced():
    """As in Kubernetes: one network for both, and routing rules that let out nobody but nymgate's user."""
    with world(NYMGATE_USER) as here:
        pod = here.gate
        assert curl(pod, BY_ADDRESS) == BODY, "without the fence everybody gets out"
        fence = pod.run([sys.executable, str(FENCE), str(NYMGATE_USER)])
        assert fence.returncode == 0, fence.stderr
        assert pod.run([sys.executable, str(FENCE), str(NYMGATE_USER)]).returncode == 0, "again does no harm"
        # The exit is in the same namespace here and opens the connections, so it runs as the user that may.
        localnet(here, NYMGATE_USER)
        running = proxy(here, "127.0.0.1:1080", NYMGATE_USER)
        through = ("--proxy", "socks5h://127.0.0.1:1080")
        assert curl(pod, BY_ADDRESS) == ""
        assert curl(pod, *through, BY_NAME) == BODY
        for kind in ("udp", "tcp"):
            assert refused(pod, kind), f"{kind} without the proxy"
        assert running.stop() == 0
        assert curl(pod, *through, BY_NAME) == ""
        assert curl(pod, BY_ADDRESS) == ""


def refused(machine: Machine, kind: str) -> bool:
    """Whether a plain socket of the application's user is denied a way, whatever it runs."""
    said = machine.run(["bash", "-c", f"exec 3<>/dev/{kind}/{PAGE_ADDRESS}/53"], user=APP_USER)
    return said.returncode != 0 and "Permission denied" in said.stderr


def test_a_fence_that_cannot_be_put_up_is_an_error():
    needed()
    with Machine("none") as machine:
        said = machine.run([sys.executable, str(FENCE), "0"])
        assert said.returncode != 0
        assert "must not be the one" in said.stderr
        said = machine.run(["setpriv", "--bounding-set=-net_admin", sys.executable, str(FENCE), "65532"])
        assert said.returncode != 0
        assert "closed for everybody" not in said.stdout
