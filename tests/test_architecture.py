"""Rules of the house that no linter knows: who may touch the event loop and the network, and who never does."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "nym_sphinx": ROOT / "mixnet/nym_sphinx",
    "nym_mixnet": ROOT / "mixnet/nym_mixnet",
    "nym_exit": ROOT / "mixnet/nym_exit",
    "zknym": ROOT / "credentials/zknym",
    "nym_credentials": ROOT / "credentials/nym_credentials",
    "nymgate": ROOT / "proxy/nymgate",
    "nym_localnet": ROOT / "localnet/nym_localnet",
}
IO_MODULES = {
    "asyncio",
    "aiohttp",
    "uvloop",
    "socket",
    "selectors",
    "sqlite3",
    "subprocess",
    "threading",
    "ssl",
    "sqlalchemy",
    "alembic",
    "grpc",
}
# Commands and processes are shells by nature; the state database is the inner half of store_io; migrations are
# programs of Alembic.
SHELLS = (
    "nymgate.cli.",
    "nym_localnet.worker",
    "nym_localnet.pytest_plugin",
    "nym_mixnet.store_db",
    "nym_credentials.store.migrations",
)

# Shared by threads that compute, so it needs a lock.
LOCKS = {"nym_localnet.ecash.key_epochs": {"threading"}}

# What opens a connection or asks a resolver. Whoever is listed below may, and the reason stands beside it.
REACHING_OUT = {
    "open_connection",
    "open_unix_connection",
    "create_connection",
    "create_datagram_endpoint",
    "sock_connect",
    "connect_ex",
    "getaddrinfo",
    "gethostbyname",
    "urlopen",
    "build_opener",
    "HTTPConnection",
    "ClientSession",
    "ws_connect",
}
MAY_REACH_OUT = {
    "nym_mixnet.gateway_socket_io": "the entry gateway",
    "nym_mixnet.topology_io": "the nym-api",
    "nym_credentials.chain.transport_io": "the chain",
    "nym_credentials.chain.rest_transport_io": "the chain, where an operator has REST",
    "nym_credentials.signers.client_io": "the signers",
    "nymgate.ways.mixnet_connector_io": "chain and signers, through our own listener and the mixnet",
    "nymgate.cli.localnet": "the faucet of the local network",
    "nymgate.apps.exec_forward_io": "the proxy, for a command without a network",
    "nymgate.apps.exec_io": "the proxy, to see whether it runs",
    "nymgate.watch.asking_io": "a running proxy of this machine: its control socket, its port for metrics",
    "nymgate.cli.demo_fetch": "the demo's application, to the proxy it shows, where curl is missing",
}


def modules() -> Iterator[tuple[str, Path]]:
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *parts)).removesuffix(".__init__"), path


ALL = dict(modules())


@functools.cache
def tree(name: str) -> ast.Module:
    return ast.parse(ALL[name].read_text(encoding="utf-8"))


def imported(name: str) -> set[str]:
    """Top-level names of imported modules, those for type checkers left out."""
    found: set[str] = set()
    skip: set[ast.AST] = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skip.update(inner for statement in node.body for inner in ast.walk(statement))
        elif node not in skip and isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif node not in skip and isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def names_used(name: str) -> set[str]:
    """Attributes and variables that a module speaks of."""
    nodes = list(ast.walk(tree(name)))
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return attributes | {node.id for node in nodes if isinstance(node, ast.Name)}


def is_shell(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last.endswith("_io") or last in ("server", "daemon") or f"{name}.".startswith(SHELLS)


def test_there_is_something_to_look_at():
    assert len(ALL) > 60
    assert all(any(name.startswith(f"{package}.") for name in ALL) for package in PACKAGES)
    assert "asyncio" in imported("nym_mixnet.client_io"), "the rule below would see it"


# One test a rule and not one a module: there are hundreds of modules.
def test_protocol_logic_does_no_input_or_output():
    """Time and randomness are arguments, bytes go in and come out (sans-IO)."""
    found = {name: imported(name) & IO_MODULES - LOCKS.get(name, set()) for name in ALL if not is_shell(name)}
    assert not {name: modules for name, modules in found.items() if modules}


def test_connections_are_opened_to_gateway_and_directory_only():
    """Fail closed by construction: no code of the product connects to a destination or resolves a name.

    The local network is another matter: its nodes connect to each other, and its exit to destinations.
    """
    watched = [name for name in ALL if name not in MAY_REACH_OUT and not name.startswith("nym_localnet")]
    found = {name: names_used(name) & REACHING_OUT for name in watched}
    assert not {name: used for name, used in found.items() if used}


def test_those_who_may_reach_out_still_do():
    assert [name for name in MAY_REACH_OUT if not names_used(name) & REACHING_OUT] == []


def test_modules_are_rooms_not_halls():
    """100 to 400 lines, one idea each; 600 is where a reader gives up."""
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in ALL.items()}
    assert {name: count for name, count in lines.items() if count > 600} == {}


def test_every_module_says_what_it_is():
    docstrings = {name: ast.get_docstring(tree(name)) for name in ALL}
    assert [name for name, text in docstrings.items() if not text or "Placeholder docstring" in text] == []
