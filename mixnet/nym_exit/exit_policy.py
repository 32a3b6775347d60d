"""Exit policies: which addresses and ports an exit connects to (docs/protocol/05 §6.2).

An ordered list of rules, first match wins. Three encodings: the text an exit's operator serves
("torrc" style), JSON (nym-api and the nodes' own HTTP interface), bincode (the answer to a query).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from nym_exit.bincode import Reader, encode_str, encode_uint
from nym_exit.errors import MalformedBincode, MalformedPolicy
from nym_exit.ip_check import IpAddress, is_global

_KEYWORD: Final = "ExitPolicy"
_PORT_MAX: Final = 0xFFFF
_STARS: Final = {"*": None, "*4": 4, "*6": 6}


class Action(StrEnum):
    """What a rule does. The ``6`` of the last two has no effect on matching (the address part decides)."""

    ACCEPT = "accept"
    REJECT = "reject"
    ACCEPT6 = "accept6"
    REJECT6 = "reject6"

    @property
    def accepts(self) -> bool:
        """Whether the rule lets the connection pass."""
        return self in (Action.ACCEPT, Action.ACCEPT6)


_ACTIONS: Final = tuple(Action)  # bincode variant numbers


@dataclass(frozen=True, slots=True)
class IpPattern:
    """The address part of a rule: a star (``prefix`` None) or an address with the bits that count.

    ``version`` 4 or 6 limits the pattern to that family, None takes both.
    """

    version: int | None
    prefix: IpAddress | None = None
    mask: int = 0

    @classmethod
    def parse(cls, text: str) -> IpPattern:
        """Read ``*``, ``*4``, ``*6`` or an address with an optional ``/mask``."""
        address, slash, mask_text = text.partition("/")
        if address in _STARS:
            if slash:
                raise MalformedPolicy(f"{address!r} takes no mask, got '/{mask_text}'")
            return cls(_STARS[address])
        prefix = _parse_address(address)
        width = prefix.max_prefixlen
        mask = _parse_number(mask_text, 0xFF, "mask") if slash else width
        if mask > width:
            raise MalformedPolicy(f"/{mask} is not a mask of an IPv{prefix.version} address")
        if mask == 0:
            return cls(prefix.version)
        return cls(prefix.version, prefix, mask)

    def matches(self, address: IpAddress) -> bool:
        """Whether ``address`` belongs to the pattern; never across families."""
        if self.version is None:
            return True
        if self.version != address.version:
            return False
        if self.prefix is None:
            return True
        shift = address.max_prefixlen - self.mask
        return int(self.prefix) >> shift == int(address) >> shift

    def __str__(self) -> str:
        if self.prefix is not None:
            return f"{format_ip(self.prefix)}/{self.mask}"
        return "*" if self.version is None else f"*{self.version}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports ``start`` to ``end``, both included. ``0`` to ``0`` is a rule for port 0 alone."""

    start: int = 1
    end: int = _PORT_MAX

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """Read ``*``, ``N`` or ``A-B``."""
        if text == "*":
            return cls()
        first, dash, last = text.partition("-")
        start = _parse_number(first, _PORT_MAX, "port")
        if not dash:
            return cls(start, start)
        end = _parse_number(last, _PORT_MAX, "port")
        if start == 0 or start > end:
            raise MalformedPolicy(
                f"ports {start}-{end} are not a range: it starts at 0 or ends before it starts"
            )
        return cls(start, end)

    def __contains__(self, port: int) -> bool:
        return self.start <= port <= self.end

    def __str__(self) -> str:
        if self == PortRange():
            return "*"
        return str(self.start) if self.start == self.end else f"{self.start}-{self.end}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a policy."""

    action: Action
    ip_pattern: IpPattern
    ports: PortRange

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read ``ACTION IP:PORTS``."""
        action_text, space, pattern = text.partition(" ")
        if not space:
            raise MalformedPolicy(f"{text!r} is not an action and a pattern with a blank between")
        try:
            action = Action(action_text)
        except ValueError as error:
            raise MalformedPolicy(
                f"{action_text!r} is not an action (accept, reject, accept6, reject6)"
            ) from error
        address, colon, ports = pattern.rpartition(":")
        if not colon or not ports:
            raise MalformedPolicy(f"{pattern!r} is not an address and a port with a colon between")
        return cls(action, IpPattern.parse(address), PortRange.parse(ports))

    def matches(self, address: IpAddress, port: int) -> bool:
        """Whether the rule decides about ``address``; a queried port 0 fits every port range."""
        return self.ip_pattern.matches(address) and (port == 0 or port in self.ports)

    def __str__(self) -> str:
        return f"{self.action} {self.ip_pattern}:{self.ports}"


@dataclass(frozen=True, slots=True)
class ExitPolicy:
    """An ordered list of rules; the first that matches decides."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def open(cls) -> ExitPolicy:
        """The policy that accepts everything."""
        return cls((Rule(Action.ACCEPT, IpPattern(None), PortRange()),))

    @property
    def is_open(self) -> bool:
        """Whether this is exactly the policy that accepts everything."""
        return self == ExitPolicy.open()

    def allows(self, address: IpAddress, port: int) -> bool | None:
        """True or False by the first matching rule, None when no rule matches (an exit then refuses)."""
        for rule in self.rules:
            if rule.matches(address, port):
                return rule.action.accepts
        return None

    @classmethod
    def parse(cls, text: str) -> ExitPolicy:
        """Read the text form; ``#`` starts a comment, empty lines are skipped.

        Raises:
            MalformedPolicy: names the line and what is wrong with it.
        """
        rules = []
        for number, raw in enumerate(text.split("\n"), start=1):
            line = raw.partition("#")[0].strip()
            if not line:
                continue
            if not line.startswith(_KEYWORD):
                raise MalformedPolicy(f"line {number} does not start with {_KEYWORD!r}")
            try:
                rules.append(Rule.parse(line[len(_KEYWORD) :].strip()))
            except MalformedPolicy as error:
                raise MalformedPolicy(f"line {number}: {error}") from error
        return cls(tuple(rules))

    def format(self) -> str:
        """The canonical text form: one rule a line, no comments, no final newline."""
        return "\n".join(f"{_KEYWORD} {rule}" for rule in self.rules)

    def to_json(self) -> dict[str, Any]:
        """The JSON form, as a value for ``json.dumps``."""
        return {
            "rules": [
                {
                    "action": rule.action.value,
                    "pattern": {
                        "ip_pattern": str(rule.ip_pattern),
                        "ports": {"start": rule.ports.start, "end": rule.ports.end},
                    },
                }
                for rule in self.rules
            ]
        }

    @classmethod
    def from_json(cls, value: object) -> ExitPolicy:
        """Read :meth:`to_json`'s form.

        Raises:
            MalformedPolicy: names the rule and the field.
        """
        if not isinstance(value, dict) or not isinstance(value.get("rules"), list):
            raise MalformedPolicy("a policy is not an object with a list of rules")
        return cls(tuple(_rule_from_json(raw, number) for number, raw in enumerate(value["rules"])))

    def encode(self) -> bytes:
        """The bincode form."""
        parts = [encode_uint(len(self.rules))]
        for rule in self.rules:
            parts += (
                encode_uint(_ACTIONS.index(rule.action)),
                encode_str(str(rule.ip_pattern)),
                encode_uint(rule.ports.start),
                encode_uint(rule.ports.end),
            )
        return b"".join(parts)

    @classmethod
    def read(cls, reader: Reader) -> ExitPolicy:
        """Read the bincode form from the middle of a longer value; raises MalformedBincode."""
        rules = []
        for _ in range(reader.u64()):
            action = _ACTIONS[reader.variant(len(_ACTIONS))]
            try:
                pattern = IpPattern.parse(reader.text())
            except MalformedPolicy as error:
                raise MalformedBincode(f"an address pattern is wrong: {error}") from error
            rules.append(Rule(action, pattern, PortRange(reader.u16(), reader.u16())))
        return cls(tuple(rules))

    @classmethod
    def decode(cls, data: bytes) -> ExitPolicy:
        """Read the bincode form; raises MalformedBincode."""
        reader = Reader(data)
        policy = cls.read(reader)
        reader.finish()
        return policy


class Refusal(Enum):
    """Why an exit does not connect (docs/protocol/05 §5.3). The client is told the same for all."""

    UNRESOLVED = "the name does not resolve"
    LOCAL_ADDRESS = "the address is not part of the public internet"
    NOT_COVERED = "no rule of the exit policy covers the address and port"
    REJECTED = "the exit policy rejects the address and port"


def check_target(
    addresses: Iterable[IpAddress],
    port: int,
    policy: ExitPolicy,
    *,
    allow_local_ips: bool = False,
) -> Refusal | None:
    """Decide whether an exit may connect to a name that resolved to ``addresses``.

    All addresses have to pass, not only the one that is used. The caller connects to the addresses it
    checked: resolving twice would let a name change between check and use.
    """
    checked = False
    for address in addresses:
        checked = True
        if not allow_local_ips and not is_global(address):
            return Refusal.LOCAL_ADDRESS
        match policy.allows(address, port):
            case None:
                return Refusal.NOT_COVERED
            case False:
                return Refusal.REJECTED
    return None if checked else Refusal.UNRESOLVED


def format_ip(address: IpAddress) -> str:
    """Write an address as Rust's standard library does (IPv4-mapped ones with dots)."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return f"::ffff:{address.ipv4_mapped}"
    return str(address)


def _parse_address(text: str) -> IpAddress:
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        if bracketed or ":" in text:
            address = IPv6Address(text[1:-1] if bracketed else text)
            if address.scope_id is None:
                return address
        else:
            return IPv4Address(text)
    except ValueError as error:
        raise MalformedPolicy(f"{text!r} is not an IP address") from error
    raise MalformedPolicy(f"{text!r} has a zone, which a policy cannot use")


def _parse_number(text: str, maximum: int, what: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 20 or int(text) > maximum:
        raise MalformedPolicy(f"{text!r} is not a {what} (0..{maximum})")
    return int(text)


def _rule_from_json(raw: object, number: int) -> Rule:
    match raw:
        case {
            "action": str(action),
            "pattern": {"ip_pattern": str(pattern), "ports": {"start": int(start), "end": int(end)}},
        } if action in _ACTIONS and _is_port(start) and _is_port(end):
            try:
                return Rule(Action(action), IpPattern.parse(pattern), PortRange(start, end))
            except MalformedPolicy as error:
                raise MalformedPolicy(f"rule {number}: ip_pattern: {error}") from error
        case _:
            raise MalformedPolicy(f"rule {number}: action, ip_pattern or ports are missing or wrong")


def _is_port(value: int) -> bool:
    return not isinstance(value, bool) and 0 <= value <= _PORT_MAX
