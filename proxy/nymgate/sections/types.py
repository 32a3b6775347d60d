"""The parts that sections of the configuration are made of: parsers of values, and documented fields."""

import ipaddress
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from nymgate.networks import checked_url
from nymgate.units import format_duration, parse_duration, parse_size, split_host_port


def _duration(value: object) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    raise ValueError("not a duration")


def _size(value: object) -> int:
    if isinstance(value, str):
        return parse_size(value)
    raise ValueError("not a size")


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("not above zero")
    return value


def finite(value: float) -> float:
    """A duration that is not ``never``."""
    if value == float("inf"):
        raise ValueError("has to end some time")
    return value


def split_address(text: str) -> tuple[str, int]:
    """``127.0.0.1:1080``, ``[::1]:1080``, ``localhost:1080`` → host and port. ValueError otherwise."""
    host, port = split_host_port(text, least_port=0)
    return ("127.0.0.1" if host == "localhost" else str(ipaddress.ip_address(host))), port


def unix_path(text: str) -> str | None:
    """``unix:/run/nymgate.sock`` → the path; None for an address of another kind. ValueError for a path that is
    none."""
    if not text.startswith("unix:"):
        return None
    path = text.removeprefix("unix:")
    if not path.startswith(("/", "~")) or len(path.encode()) > UNIX_PATH_BYTES or "\0" in path:
        raise ValueError("not an absolute path that a socket can have")
    return path


Duration = Annotated[float, BeforeValidator(_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
BoundedDuration = Annotated[PositiveDuration, AfterValidator(finite)]
Size = Annotated[int, BeforeValidator(_size)]
Url = Annotated[str, AfterValidator(checked_url)]

UNIX_PATH_BYTES: Final = 100  # sun_path has 108 with its end, and a home may stand before
DURATION_FORM: Final = 'a duration such as "500ms", "10s", "10m" or "1h30m"'
SIZE_FORM: Final = 'a size such as "64KiB" or "1MB"'


def setting(
    default: Any,
    doc: str,
    allowed: str,
    *,
    flag: str = "",
    secret: bool = False,
    private: bool = False,
    aloud: bool = False,
    write: Any = None,
) -> Any:
    """A documented field. ``allowed`` completes "it has to be …"; ``write`` is the inverse of parsing.

    ``private``: a URL that may hold a password, so it is never shown as it is, and is taken as credential as well.
    ``aloud``: an empty environment variable is refused, since one is easily left empty by mistake.
    """
    extra: dict[str, Any] = {
        "allowed": allowed,
        "flag": flag,
        "secret": secret,
        "private": private,
        "aloud": aloud,
    }
    if write is not None:
        extra["write"] = write
    factory: dict[str, Any] = {"default_factory": lambda: list(default)} if isinstance(default, list) else {}
    if not factory:
        factory = {"default": default}
    return Field(description=doc, json_schema_extra=extra, **factory)


def duration_setting(default: float, doc: str, *, never: bool = False, flag: str = "") -> Any:
    allowed = DURATION_FORM + (', or "never"' if never else "")
    return setting(default, doc, allowed, flag=flag, write=format_duration)


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)
