"""Which network: the well-known ones by name, any other by a file.

``network = "mainnet" | "sandbox" | "localnet" | path``. A path names either a TOML file of ours::

    name = "testbed"
    nym_api = ["http://10.0.0.5:8080/api/"]
    resolver = "10.0.0.5:53"  # may be left out

or one of upstream's ``.env`` files. ``localnet`` is the file that ``nymgate localnet up`` leaves in the data
folder while it runs.

A network may have a chain on which tickets are paid for: the table ``[chain]`` of a TOML file, or the contract
addresses of a ``.env`` file (``nym_credentials.networks`` has the keys). One without can only be used for as
long as its gateways give something away, or with tickets from elsewhere.
"""

import json
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from nym_credentials.errors import NetworkDescriptionInvalid
from nym_credentials.networks import MAINNET, SANDBOX, ChainNetwork, load_network
from nymgate.errors import NetworkFileError
from nymgate.units import split_host_port

NETWORK_FILE_MAX_BYTES: Final = 1 << 20
LOCALNET_FILE_NAME: Final = "localnet.toml"
PUBLIC_RESOLVER: Final = "9.9.9.9:53"
_ENV_CONTRACTS: Final = ("ECASH_CONTRACT_ADDRESS", "COCONUT_DKG_CONTRACT_ADDRESS")


@dataclass(frozen=True, slots=True)
class Network:
    """A network by name, where its nym-api answers (base URLs, tried in this order), and its chain if it has one."""

    name: str
    nym_api: tuple[str, ...]
    chain: ChainNetwork | None = None
    resolver: str = PUBLIC_RESOLVER
    """Where names can be looked up over TCP, as exits see it."""


KNOWN_NETWORKS: Final = {
    chain.name: Network(chain.name, chain.nym_api_urls, chain) for chain in (MAINNET, SANDBOX)
}


def resolve_network(name: str, data_dir: Path) -> Network:
    """The network that ``network = name`` means. NetworkFileError says what is wrong with its file."""
    if name in KNOWN_NETWORKS:
        return KNOWN_NETWORKS[name]
    if name == "localnet":
        path = data_dir / LOCALNET_FILE_NAME
        if not path.exists():
            raise NetworkFileError(
                f'network = "localnet", but no local network has left its file at {path}.',
                "Start one with `nymgate localnet up` and keep it running.",
            )
        return read_network_file(path)
    return read_network_file(Path(name).expanduser())


def read_network_file(path: Path) -> Network:
    """Read a network file, TOML or upstream's .env by its suffix."""
    try:
        if path.stat().st_size > NETWORK_FILE_MAX_BYTES:
            raise NetworkFileError(f"The network file {path} is larger than 1 MiB.", "Give the right file.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise NetworkFileError(
            f"The network file {path} cannot be read: {error.strerror}.",
            "Set `network` to mainnet, sandbox, localnet or the path of an existing file.",
        ) from error
    except UnicodeDecodeError as error:
        raise NetworkFileError(
            f"The network file {path} is not text in UTF-8.", "Give the right file."
        ) from error
    if path.suffix == ".env" or path.name.startswith(".env"):
        return parse_env_network(text, str(path))
    return parse_toml_network(text, str(path))


def parse_toml_network(text: str, where: str) -> Network:
    """A network from our TOML form; ``where`` is only for error messages."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NetworkFileError(f"{where} is not TOML: {error}.", "Correct that line.") from error
    for key in table:
        if key not in ("name", "nym_api", "resolver", "chain"):
            raise NetworkFileError(
                f"{where}: unknown key {key!r}.",
                "A network file has `name`, `nym_api`, `resolver` and `[chain]`.",
            )
    resolver = table.get("resolver", PUBLIC_RESOLVER)
    try:
        split_host_port(resolver)
    except (ValueError, AttributeError):
        raise NetworkFileError(
            f"{where}: `resolver` is {resolver!r}.", 'It has to be host and port such as "9.9.9.9:53".'
        ) from None
    if "chain" in table:
        return replace(_with_chain(text, where), resolver=resolver)
    name, urls = table.get("name", Path(where).stem), table.get("nym_api")
    if not isinstance(name, str) or not name:
        raise NetworkFileError(f"{where}: `name` is {name!r}.", "It has to be a text.")
    if isinstance(urls, str):
        urls = [urls]
    if not isinstance(urls, list) or not urls:
        raise NetworkFileError(f"{where}: `nym_api` is {urls!r}.", "It has to be a list of at least one URL.")
    return Network(name, tuple(_checked_url(url, where, "nym_api") for url in urls), resolver=resolver)


def parse_env_network(text: str, where: str) -> Network:
    """A network from upstream's ``KEY=value`` lines."""
    values: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip().removeprefix("export ")
        if not line or line.startswith("#"):
            continue
        key, separator, value = line.partition("=")
        if not separator:
            raise NetworkFileError(f"{where}, line {number}: no `=`.", "Lines of a .env file read KEY=value.")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[key.strip()] = value
    if any(values.get(name) for name in _ENV_CONTRACTS):
        return _with_chain(text, where)
    urls = [values["NYM_API"]] if values.get("NYM_API") else []
    if values.get("NYM_APIS"):
        urls += [url for url in _direct_urls(values["NYM_APIS"], where) if url not in urls]
    if not urls:
        raise NetworkFileError(
            f"{where}: neither NYM_API nor NYM_APIS is set.", "Add the URL of the nym-api."
        )
    name = values.get("NETWORK_NAME") or Path(where).stem
    return Network(name, tuple(_checked_url(url, where, "NYM_API") for url in urls))


def _with_chain(text: str, where: str) -> Network:
    try:
        chain = load_network(text, where)
    except NetworkDescriptionInvalid as error:
        raise NetworkFileError(error.happened, error.to_do or "Correct it, or use another file.") from error
    return Network(
        chain.name, tuple(_checked_url(url, where, "nym_api") for url in chain.nym_api_urls), chain
    )


def _direct_urls(text: str, where: str) -> list[str]:
    try:
        entries = json.loads(text)
        return [entry["url"] for entry in entries if not entry.get("front_hosts")]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NetworkFileError(
            f"{where}: NYM_APIS is not a JSON list of objects with a `url`.", "Correct it or leave it out."
        ) from error


def checked_url(url: object) -> str:
    """An http(s) URL with a host, ending in a slash so that paths can follow. ValueError otherwise."""
    if not isinstance(url, str):
        raise ValueError("not a text")
    parts = urlsplit(url)  # ValueError on junk such as an open bracket
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("not an http or https URL")
    _ = parts.port  # ValueError when out of range
    return url if url.endswith("/") else url + "/"


def _checked_url(url: object, where: str, key: str) -> str:
    try:
        return checked_url(url)
    except ValueError:
        raise NetworkFileError(
            f"{where}: {key} has {url!r}.", "It has to be an http or https URL such as https://host/api/."
        ) from None
