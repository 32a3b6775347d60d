"""What the money side knows of a network: chain, contracts, endpoints (docs/protocol/08 §1.1).

Mainnet and sandbox are built in. Any other network is described by a TOML file::

    name = "testbed"
    nym_api = ["http://127.0.0.1:8000/api/"]

    [chain]
    rpc = ["http://127.0.0.1:26657"]
    prefix = "n"                    # this and the three below are the defaults
    denom = "unym"
    display_denom = "nym"
    exponent = 6
    chain_id = "nyx"                # optional: without it the nodes are believed, as upstream does
    rest = "http://127.0.0.1:1317"  # optional: only for operators who have one
    grpc = "http://127.0.0.1:9090"  # optional, likewise

    [chain.contracts]
    ecash = "n1…"
    coconut_dkg = "n1…"             # multisig, group, mixnet and vesting may be left out

or by one of upstream's ``.env`` files, whose variables are honoured by their names; variables this program has no
use for are skipped there, because those files are shared with other programs.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final
from urllib.parse import urlsplit

from nym_credentials.addresses import check_address
from nym_credentials.errors import AddressInvalid, NetworkDescriptionInvalid

ACCOUNT_PREFIX: Final = "n"
DENOM: Final = "unym"
DISPLAY_DENOM: Final = "nym"
EXPONENT: Final = 6

_DENOM_SHAPE: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9/:._-]{2,127}")
_PREFIX_SHAPE: Final = re.compile(r"[a-z]{1,20}")
_ENV_LINE: Final = re.compile(r"\s*(?:export\s+)?[A-Z][A-Z0-9_]*=")


@dataclass(frozen=True, slots=True)
class Contracts:
    """Bech32 addresses of the contracts. Only the first two are needed to buy tickets."""

    ecash: str
    coconut_dkg: str
    multisig: str | None = None
    group: str | None = None
    mixnet: str | None = None
    vesting: str | None = None


@dataclass(frozen=True, slots=True)
class ChainNetwork:
    """One network. URLs are tried in their order; ``chain_id`` is None where only the nodes tell it."""

    name: str
    contracts: Contracts
    rpc_urls: tuple[str, ...]
    nym_api_urls: tuple[str, ...]
    prefix: str = ACCOUNT_PREFIX
    denom: str = DENOM
    display_denom: str = DISPLAY_DENOM
    exponent: int = EXPONENT
    chain_id: str | None = None
    rest_url: str | None = None
    grpc_url: str | None = None


# Facts of upstream's network defaults (common/network-defaults, envs/*.env). nym-api URLs that only work with
# domain fronting are left out: this client does not front.
MAINNET: Final = ChainNetwork(
    name="mainnet",
    contracts=Contracts(
        ecash="n1r7s6aksyc6pqardx88k3rkgfagwvj4z4zum9mmz2sfk3zm2mha0sd4dnun",
        coconut_dkg="n19604yflqggs9mk2z26mqygq43q2kr3n932egxx630svywd5mpxjsztfpvx",
        multisig="n1txayqfz5g9qww3rlflpg025xd26m9payz96u54x4fe3s2ktz39xqk67gzx",
        group="n1e2zq4886zzewpvpucmlw8v9p7zv692f6yck4zjzxh699dkcmlrfqk2knsr",
        mixnet="n17srjznxl9dvzdkpwpw24gg668wc73val88a6m5ajg6ankwvz9wtst0cznr",
        vesting="n1nc5tatafv6eyq7llkr2gv50ff9e22mnf70qgjlv737ktmt4eswrq73f2nw",
    ),
    rpc_urls=("https://rpc.nymtech.net",),
    nym_api_urls=("https://validator.nymtech.net/api/", "https://cdn1.media-platform.net/api/"),
    chain_id="nyx",
)
SANDBOX: Final = ChainNetwork(
    name="sandbox",
    contracts=Contracts(
        ecash="n1v3vydvs2ued84yv3khqwtgldmgwn0elljsdh08dr5s2j9x4rc5fs9jlwz9",
        coconut_dkg="n1v3n2ly2dp3a9ng3ff6rh26yfkn0pc5hed7w2shc5u9ca5c865utqj5elvh",
        multisig="n1tz0setr8vkh9udp8xyxgpqc89ns27k4d0jx2h942hr0ax63yjhmqz6xct8",
        group="n1ewmwz97xm0h8rdk8sw7h9mwn866qkx9hl9zlmagqfkhuzvwk5hhq844ue9",
        mixnet="n1xr3rq8yvd7qplsw5yx90ftsr2zdhg4e9z60h5duusgxpv72hud3sjkxkav",
        vesting="n1unyuj8qnmygvzuex3dwmg9yzt9alhvyeat0uu0jedg2wj33efl5qackslz",
    ),
    rpc_urls=("https://rpc.sandbox.nymtech.net",),
    nym_api_urls=("https://sandbox-nym-api1.nymtech.net/api/",),
)
KNOWN_NETWORKS: Final = {network.name: network for network in (MAINNET, SANDBOX)}


def load_network(text: str, where: str = "the network file") -> ChainNetwork:
    """The network that a file describes, TOML or ``.env`` by its looks; ``where`` is only for messages.

    Raises `NetworkDescriptionInvalid`, which names the field.
    """
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            return (_from_env if _ENV_LINE.match(line) else _from_toml)(text, where)
    raise NetworkDescriptionInvalid(where, "the file", "is empty.", "Give the right file.")


def dump_network(network: ChainNetwork) -> str:
    """The TOML text that `load_network` reads back."""
    lines = [f"name = {json.dumps(network.name)}", f"nym_api = {json.dumps(list(network.nym_api_urls))}"]
    lines += ["", "[chain]", f"rpc = {json.dumps(list(network.rpc_urls))}"]
    lines += [f"{key} = {json.dumps(getattr(network, key))}" for key in ("prefix", "denom", "display_denom")]
    lines.append(f"exponent = {network.exponent}")
    optional = {"chain_id": network.chain_id, "rest": network.rest_url, "grpc": network.grpc_url}
    lines += [f"{key} = {json.dumps(value)}" for key, value in optional.items() if value is not None]
    lines += ["", "[chain.contracts]"]
    for field in fields(Contracts):
        address = getattr(network.contracts, field.name)
        if address is not None:
            lines.append(f"{field.name} = {json.dumps(address)}")
    return "\n".join(lines) + "\n"


def dump_env(network: ChainNetwork, stake_denom: str = "unyx") -> dict[str, str]:
    """Upstream's environment variables for this network, complete enough for its programs (docs/protocol/08 §1.1)."""
    contracts, api = network.contracts, network.nym_api_urls[0]
    apis = [{"url": url, "front_hosts": None} for url in network.nym_api_urls]
    websocket = re.sub(r"^http", "ws", network.rpc_urls[0]).rstrip("/") + "/websocket"
    return {
        "CONFIGURED": "true",
        "NETWORK_NAME": network.name,
        "BECH32_PREFIX": network.prefix,
        "MIX_DENOM": network.denom,
        "MIX_DENOM_DISPLAY": network.display_denom,
        "STAKE_DENOM": stake_denom,
        "STAKE_DENOM_DISPLAY": stake_denom[1:],
        "DENOMS_EXPONENT": str(network.exponent),
        "MIXNET_CONTRACT_ADDRESS": contracts.mixnet or "",
        "VESTING_CONTRACT_ADDRESS": contracts.vesting or "",
        "ECASH_CONTRACT_ADDRESS": contracts.ecash,
        "GROUP_CONTRACT_ADDRESS": contracts.group or "",
        "MULTISIG_CONTRACT_ADDRESS": contracts.multisig or "",
        "COCONUT_DKG_CONTRACT_ADDRESS": contracts.coconut_dkg,
        "NYXD": network.rpc_urls[0],
        "NYXD_WS": websocket,
        "NYM_API": api,
        "NYM_APIS": json.dumps(apis),
        "NYM_VPN_API": api,
    }


_TOP_KEYS: Final = ("name", "nym_api", "resolver", "chain")
_CHAIN_KEYS: Final = (
    "rpc", "prefix", "denom", "display_denom", "exponent", "chain_id", "rest", "grpc", "contracts",
)  # fmt: skip


def _from_toml(text: str, where: str) -> ChainNetwork:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NetworkDescriptionInvalid(where, "the text", f"is not TOML: {error}.") from None
    _refuse_unknown(table, _TOP_KEYS, where, "")
    chain = table.get("chain")
    if not isinstance(chain, dict):
        raise NetworkDescriptionInvalid(
            where, "chain", "is missing.", "Add a table [chain] with rpc and contracts."
        )
    _refuse_unknown(chain, _CHAIN_KEYS, where, "chain.")
    addresses = chain.get("contracts")
    if not isinstance(addresses, dict):
        raise NetworkDescriptionInvalid(where, "chain.contracts", "is missing.", "Add that table.")
    _refuse_unknown(addresses, tuple(field.name for field in fields(Contracts)), where, "chain.contracts.")
    exponent = chain.get("exponent", EXPONENT)
    if type(exponent) is not int:
        raise NetworkDescriptionInvalid(where, "chain.exponent", "has to be a number.")
    return _checked(
        where,
        {**{key: key for key in ("name", "nym_api")}, **{key: f"chain.{key}" for key in _CHAIN_KEYS}},
        {f"contracts.{name}": value for name, value in addresses.items()},
        {key: value for key, value in chain.items() if key != "contracts"}
        | {"name": table.get("name"), "nym_api": table.get("nym_api"), "exponent": exponent},
    )


_ENV_NAMES: Final = {
    "name": "NETWORK_NAME",
    "nym_api": "NYM_API",
    "rpc": "NYXD",
    "prefix": "BECH32_PREFIX",
    "denom": "MIX_DENOM",
    "display_denom": "MIX_DENOM_DISPLAY",
    "exponent": "DENOMS_EXPONENT",
    "contracts.ecash": "ECASH_CONTRACT_ADDRESS",
    "contracts.coconut_dkg": "COCONUT_DKG_CONTRACT_ADDRESS",
    "contracts.multisig": "MULTISIG_CONTRACT_ADDRESS",
    "contracts.group": "GROUP_CONTRACT_ADDRESS",
    "contracts.mixnet": "MIXNET_CONTRACT_ADDRESS",
    "contracts.vesting": "VESTING_CONTRACT_ADDRESS",
}


def _from_env(text: str, where: str) -> ChainNetwork:
    variables: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip().removeprefix("export ").lstrip()
        if not line or line.startswith("#"):
            continue
        key, separator, value = line.partition("=")
        if not separator:
            raise NetworkDescriptionInvalid(where, f"line {number}", "has no `=`.", "Lines read KEY=value.")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        variables[key.strip()] = value
    return network_from_env(variables, where)


def network_from_env(variables: Mapping[str, str], where: str = "the environment") -> ChainNetwork:
    """The network that upstream's variables describe. Raises `NetworkDescriptionInvalid`, naming the variable.

    As upstream, nothing is defaulted: without ``NETWORK_NAME`` or ``BECH32_PREFIX`` the set is incomplete.
    """
    given = {key: variables[name] for key, name in _ENV_NAMES.items() if variables.get(name)}
    exponent_text = given.get("exponent", "")
    if not re.fullmatch(r"[0-9]{1,2}", exponent_text):
        raise NetworkDescriptionInvalid(where, "DENOMS_EXPONENT", "has to be a number, such as 6.")
    values: dict[str, Any] = {key: value for key, value in given.items() if not key.startswith("contracts.")}
    for key in ("prefix", "denom", "display_denom"):
        if key not in values:
            raise NetworkDescriptionInvalid(where, _ENV_NAMES[key], "is not set.")
    values["exponent"] = int(exponent_text)
    urls = [given["nym_api"]] if "nym_api" in given else []
    urls += [url for url in _direct_urls(variables.get("NYM_APIS", ""), where) if url not in urls]
    values["nym_api"] = urls
    contracts = {key: value for key, value in given.items() if key.startswith("contracts.")}
    return _checked(where, _ENV_NAMES, contracts, values)


def _direct_urls(text: str, where: str) -> list[str]:
    if not text:
        return []
    try:
        return [entry["url"] for entry in json.loads(text) if not entry.get("front_hosts")]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise NetworkDescriptionInvalid(
            where, "NYM_APIS", "is not a JSON list of objects with a `url`.", "Correct it or leave it out."
        ) from None


def _checked(
    where: str, names: Mapping[str, str], contracts: Mapping[str, object], values: Mapping[str, Any]
) -> ChainNetwork:
    """The network of raw values; ``names`` says what the source calls each of them."""

    def bad(key: str, happened: str, to_do: str = "") -> NetworkDescriptionInvalid:
        return NetworkDescriptionInvalid(where, names.get(key, key), happened, to_do)

    def text(key: str, default: str | None = None) -> str:
        value = values.get(key, default)
        if not isinstance(value, str) or not value:
            raise bad(key, "has to be a text." if value is not None else "is missing.")
        return value

    def urls(key: str) -> tuple[str, ...]:
        given = values.get(key)
        listed = [given] if isinstance(given, str) else given
        if not isinstance(listed, list) or not listed:
            raise bad(key, "has to be a list of at least one URL.")
        return tuple(one_url(key, url) for url in listed)

    def one_url(key: str, url: object) -> str:
        if not _is_http_url(url):
            raise bad(key, f"has {url!r}, which is no http or https URL.", "Write it like https://host/.")
        return str(url)

    def optional_url(key: str) -> str | None:
        return None if values.get(key) is None else one_url(key, values[key])

    prefix, denom = text("prefix", ACCOUNT_PREFIX), text("denom", DENOM)
    if not _PREFIX_SHAPE.fullmatch(prefix):
        raise bad("prefix", "has to be 1 to 20 lower-case letters.")
    if not _DENOM_SHAPE.fullmatch(denom):
        raise bad("denom", "is no denomination.", "Write the base one, such as unym.")
    addresses: dict[str, str | None] = {}
    for field in fields(Contracts):
        key = f"contracts.{field.name}"
        name = names.get(key, f"chain.{key}")
        address = contracts.get(key)
        if address is None:
            if field.name in ("ecash", "coconut_dkg"):
                raise NetworkDescriptionInvalid(
                    where, name, "is missing.", "Tickets cannot be bought without it."
                )
            continue
        try:
            check_address(address, prefix)
        except AddressInvalid as error:
            raise NetworkDescriptionInvalid(
                where, name, f"is no contract address: {error.happened}"
            ) from None
        addresses[field.name] = str(address)
    return ChainNetwork(
        name=text("name"),
        contracts=Contracts(**addresses),  # type: ignore[arg-type]  # the two required ones are checked above
        rpc_urls=urls("rpc"),
        nym_api_urls=tuple(url if url.endswith("/") else url + "/" for url in urls("nym_api")),
        prefix=prefix,
        denom=denom,
        display_denom=text("display_denom", DISPLAY_DENOM),
        exponent=values.get("exponent", EXPONENT),
        chain_id=text("chain_id") if values.get("chain_id") is not None else None,
        rest_url=optional_url("rest"),
        grpc_url=optional_url("grpc"),
    )


def _refuse_unknown(table: Mapping[str, object], known: tuple[str, ...], where: str, outer: str) -> None:
    for key in table:
        if key not in known:
            raise NetworkDescriptionInvalid(
                where, f"{outer}{key}", "is not a key of a network file.", f"Known are {', '.join(known)}."
            )


def _is_http_url(url: object) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    )
