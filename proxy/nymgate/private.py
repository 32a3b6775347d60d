"""A configuration for a proxy inside another program: it listens for that program alone, at ports that nobody else
looks for.
"""

from typing import Any, Final

from nymgate.config import Config

LISTENERS: Final = ("mixed", "socks", "http")


def for_itself(config: Config) -> Config:
    """The same with one listener on loopback, at a port that the system chooses, and nothing served beside it."""
    update: dict[str, Any] = {
        name: [] if isinstance(getattr(config.listen, name), list) else ""
        for name in type(config.listen).model_fields
        if isinstance(getattr(config.listen, name), list | str)
    }
    update["mixed"] = ["127.0.0.1:0"]
    return config.model_copy(update={"listen": config.listen.model_copy(update=update)})
