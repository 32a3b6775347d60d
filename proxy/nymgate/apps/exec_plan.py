"""What `nymgate exec` sets up for a command: addresses inside its namespace, what they lead to, and its environment.

Nothing here is done; ``exec_io`` does it.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nymgate.apps.confinement import Confinement
from nymgate.apps.proxy_variables import proxy_variables
from nymgate.apps.reachable import Address, Login, Reachable

NOT_FOUND: Final = 127
NOT_STARTED: Final = 126
SIGNALLED: Final = 128
"""Exit codes as shells give them: no such command, one that cannot run, and this plus the number of a signal."""


@dataclass(frozen=True, slots=True)
class Route:
    """A listener inside the namespace, and the address of the proxy outside that it leads to."""

    inside: Address
    outside: Address


@dataclass(frozen=True, slots=True)
class ExecPlan:
    """A command and its surroundings."""

    argv: tuple[str, ...] = field(repr=False)
    at: Reachable
    """Where the proxy is reached from outside."""
    isolate: str | None = field(default=None, repr=False)
    login: Login | None = None

    def routes(self) -> tuple[Route, ...]:
        """The ways out of a namespace: one for SOCKS, one for HTTP, or one for both."""
        wanted = (*self.at.socks[:1], *self.at.http[:1])
        return tuple(Route(_inside(address), address) for address in dict.fromkeys(wanted))

    def environment(self, inherited: Mapping[str, str], confinement: Confinement) -> dict[str, str]:
        """The command's environment: what was inherited, with the proxy as it is reached from there."""
        at = self.at
        if confinement is not Confinement.VARIABLES:
            at = Reachable(
                tuple(_inside(address) for address in at.socks[:1]),
                tuple(_inside(address) for address in at.http[:1]),
            )
        return {**inherited, **proxy_variables(at, self.isolate, self.login)}


def exit_code(returncode: int) -> int:
    """What a shell would say: a command that signal n ended has 128 + n."""
    return returncode if returncode >= 0 else SIGNALLED - returncode


def _inside(address: Address) -> Address:
    """The same address if it is one of loopback, which every namespace has."""
    host, port = address
    return (host if ipaddress.ip_address(host).is_loopback else "127.0.0.1"), port
