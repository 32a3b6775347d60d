"""How a command is kept from going past the proxy. Light: the process that becomes the command imports it."""

from enum import StrEnum


class Confinement(StrEnum):
    """The strongest first."""

    USER_NAMESPACE = "user-namespace"
    """Network, mounts and privileges of its own."""
    NAMESPACE = "namespace"
    """Network and mounts of its own; for root where user namespaces are switched off."""
    VARIABLES = "variables"
    """Nothing but the variables keeps it."""
