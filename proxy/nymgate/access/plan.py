"""What a configuration says about who may use the proxy and where to, as the listener wants it.

Read at the start and at each reload: the users file is read here. ConfigError for what cannot be used.
"""

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from nymgate.access.judge import AccessRules, allowed_networks, exposed
from nymgate.access.rules import destination_rules
from nymgate.access.users import MAX_FILE_BYTES, Users, UsersFileInvalid, parse_users
from nymgate.config import Config
from nymgate.errors import ConfigError
from nymgate.networks import Network
from nymgate.sections.types import split_address, unix_path


def access_rules(config: Config, network: Network) -> AccessRules:
    """The rules in force with this configuration. Raises ConfigError."""
    users = read_users(Path(config.access.users_file).expanduser()) if config.access.users_file else None
    private = config.rules.private == "allow" or (config.rules.private == "auto" and is_local(network))
    return AccessRules(
        allow=allowed_networks(config.access.allow, users=users is not None),
        users=users,
        destinations=destination_rules(config.rules.allow, config.rules.deny, private=private),
    )


def refuse_exposure(config: Config) -> None:
    """Raises ConfigError where other machines could reach a listener and nothing says who may use it."""
    listed = [
        (f"listen.{name}", address)
        for name in ("mixed", "socks", "http")
        for address in getattr(config.listen, name)
    ]
    for key, address in listed:
        if unix_path(address) is None:
            refuse_exposed_host(config, split_address(address)[0], f"{key} has {address}")
    for name in ("metrics", "web"):
        address = getattr(config.listen, name)
        # Whoever asks for metrics or the page says no name, so users are no protection here.
        if address and exposed([split_address(address)[0]], config.access.allow, users=False) is not None:
            raise ConfigError(
                f"listen.{name} has {address}, which other machines can reach: they would see what this proxy does.",
                "Name the networks that may ask with access.allow (narrower than everything), or listen on 127.0.0.1.",
            )


def refuse_exposed_host(config: Config, host: str, what: str) -> None:
    """The same for one address."""
    if exposed([host], config.access.allow, users=bool(config.access.users_file)) is None:
        return
    raise ConfigError(
        f"{what}, which other machines can reach: whoever does would use this proxy and its tickets.",
        "Name the users with `nymgate users add` and access.users_file, or the networks that may connect with "
        "access.allow (narrower than everything); or listen on 127.0.0.1.",
    )


def read_users(path: Path) -> Users:
    """The users of a file. Raises ConfigError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"The users file {path} is larger than 4 MiB.", "Give the right file.")
        return parse_users(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"The users file {path} cannot be read: {error.strerror}.",
            "Make it with `nymgate users add`, or correct access.users_file.",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The users file {path} is not text in UTF-8.", "Give the right file.") from error
    except UsersFileInvalid as error:
        raise ConfigError(
            f"The users file {path} cannot be used: {error}.",
            "Correct that line; `nymgate users add` writes good ones.",
        ) from None


def is_local(network: Network) -> bool:
    """Whether the whole network runs on this machine's loopback, as test networks do."""
    return bool(network.nym_api) and all(map(_is_loopback_url, network.nym_api))


def _is_loopback_url(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tcp_addresses(written: list[str]) -> tuple[tuple[str, int], ...]:
    """Those that are host and port."""
    return tuple(split_address(address) for address in written if unix_path(address) is None)


def unix_paths(written: list[str]) -> tuple[Path, ...]:
    """Those that are Unix sockets."""
    return tuple(Path(path).expanduser() for path in _unix(written))


def _unix(written: list[str]) -> Iterator[str]:
    for address in written:
        path = unix_path(address)
        if path is not None:
            yield path
