"""A configuration for a proxy inside another program: it listens for that program alone, at ports that nobody else
looks for.
"""

from typing import Any

from nymgate.config import Config


def for_itself(config: Config) -> Config:
    """The same with one listener on loopback, at a port that the system chooses, and nothing served beside it.

    Users log in to a proxy that others share; nobody else shares this one.
    """
    update: dict[str, Any] = {
        name: [] if isinstance(getattr(config.listen, name), list) else ""
        for name in type(config.listen).model_fields
        if isinstance(getattr(config.listen, name), list | str)
    }
    update["mixed"] = ["127.0.0.1:0"]
    listen = config.listen.model_copy(update=update)
    access = config.access.model_copy(update={"users_file": ""})
    return config.model_copy(update={"listen": listen, "access": access})
