"""The files of a network: what it needs to come back as itself, and what tells other programs about it.

`localnet.json` (private) keeps the seed and the ports; `network.json`, `localnet.toml` and `localnet.env`
are for clients: upstream's topology file, nymgate's network file, and upstream's environment file.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nym_localnet.errors import StartFailed
from nym_localnet.plan import Ports
from nym_localnet.sphinx_keys import SEED_BYTES

STATE_FILE: Final = "localnet.json"
NETWORK_JSON: Final = "network.json"
NETWORK_TOML: Final = "localnet.toml"
NETWORK_ENV: Final = "localnet.env"
API_NAME: Final = "nym-api"
RESOLVER_NAME: Final = "resolver"
STATE_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class NetworkState:
    """What a kept network remembers."""

    seed: bytes = field(repr=False)
    rotation_id: int
    ports: Mapping[str, Ports] = field(default_factory=dict)
    """by node name, and that of the directory under `nym-api` as mix port"""


def read_state(folder: Path) -> NetworkState | None:
    """The state in a folder; None for a new one. `StartFailed` when it cannot be understood."""
    path = folder / STATE_FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        ports = {name: Ports(*pair) for name, pair in value["ports"].items()}
        state = NetworkState(bytes.fromhex(value["seed"]), int(value["rotation_id"]), ports)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartFailed(
            f"{path} cannot be used ({type(error).__name__}): remove it to begin anew"
        ) from error
    if len(state.seed) != SEED_BYTES or value.get("version") != STATE_VERSION:
        raise StartFailed(f"{path} is of another version: remove it to begin anew")
    return state


def write_state(folder: Path, state: NetworkState) -> None:
    """Keep the state; readable by the owner only, since every node key follows from it."""
    value = {
        "version": STATE_VERSION,
        "seed": state.seed.hex(),
        "rotation_id": state.rotation_id,
        "ports": {name: [ports.mix, ports.websocket] for name, ports in state.ports.items()},
    }
    write_file(folder / STATE_FILE, json.dumps(value, indent=1) + "\n", mode=0o600)


def write_file(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    beside.touch(mode=mode)
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def network_toml(
    nym_api_url: str, exit_addresses: tuple[str, ...], resolver: str, *, body: str | None = None
) -> str:
    """A network file for nymgate. `body`: the keys and tables of a network with a chain."""
    own = f'name = "localnet"\nnym_api = [{json.dumps(nym_api_url)}]\n'
    head = ["# A Nym network on this machine, while it runs."]
    head += [f"# exit: {address}" for address in exit_addresses]
    head += [f"resolver = {json.dumps(resolver)}"]
    return "\n".join(head) + "\n" + (own if body is None else body)


NOWHERE: Final = "http://127.0.0.1:1/"
"""Nothing listens there. Upstream's programs take the public address of whatever is not named at all."""


def network_env(nym_api_url: str) -> str:
    """An environment file for upstream's programs (`--config-env-file`)."""
    variables = {
        "CONFIGURED": "true",
        "NETWORK_NAME": "localnet",
        "BECH32_PREFIX": "n",
        "MIX_DENOM": "unym",
        "MIX_DENOM_DISPLAY": "nym",
        "STAKE_DENOM": "unyx",
        "STAKE_DENOM_DISPLAY": "nyx",
        "DENOMS_EXPONENT": "6",
        "NYXD": NOWHERE,
        "NYXD_WS": NOWHERE.replace("http", "ws"),
        "NYM_API": nym_api_url,
        "NYM_APIS": json.dumps([{"url": nym_api_url, "front_hosts": None}]),
        "NYM_VPN_API": NOWHERE,
    }
    head = "# A Nym network on this machine, while it runs. It has no chain: nothing listens at NYXD.\n"
    return head + env_text(variables)


def env_text(variables: Mapping[str, str]) -> str:
    """Lines of an environment file, good for upstream's programs and for a shell. Values may hold JSON."""
    closed = {"NYM_VPN_APIS": "[]", "UPGRADE_MODE_ATTESTATION_URL": NOWHERE}
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in {**closed, **variables}.items())
