"""What others could join from how this instance is used: the vocabulary of `nymgate privacy`. Pure.

A report is made of `Habits` (what the configuration says) and `Usage` (what the ticket store remembers), both without
secrets, addresses or destinations: accounts, gateways and identities are numbers here. ``privacy_findings`` judges.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, Final

from nym_credentials.money import format_nym
from nym_mixnet.profiles import PROFILES, TrafficProfile
from nymgate.config import Config

TICKETS_PER_BOOK: Final = 50
DAYS_PER_MONTH: Final = 30
WIDTH: Final = 110
"""Of the report as text, in characters."""


class Observer(StrEnum):
    """Who could join something."""

    CHAIN = "chain"
    """Everybody: the chain is public. Its endpoints also see who asks."""
    SIGNERS = "signers"
    GATEWAY = "gateway"
    """The entry gateway, which sees this machine's address and is paid."""
    EXIT = "exit"
    """The one that opens connections to destinations."""


class Severity(StrEnum):
    """How much is given away, the most first."""

    HIGH = "high"
    """Joins this person to what the mixnet is to hide, by itself or with one more observer."""
    MEDIUM = "medium"
    """Narrows down who it is or when it is used."""
    LOW = "low"
    """Given away by design, or to little use."""
    UNKNOWN = "unknown"
    """Not to be told from what is known here."""
    NONE = "none"


ORDER: Final = tuple(Severity)


@dataclass(frozen=True, slots=True)
class Knob:
    """What changes a finding."""

    name: str
    """A key of the configuration, or a command."""
    now: str
    """Its value; empty for a command."""
    change: str
    """What to set or do."""
    costs: str
    """What that costs."""

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {"name": self.name, "now": self.now, "change": self.change, "costs": self.costs}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that could be joined, or could not."""

    name: str
    """An identifier that stays."""
    observers: tuple[Observer, ...]
    """Who would have to look; several: together."""
    severity: Severity
    joins: str
    """What could be joined with what."""
    seen: str
    """The facts of this instance."""
    knobs: tuple[Knob, ...] = ()
    """Empty: nothing here changes it."""

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "name": self.name,
            "observers": [observer.value for observer in self.observers],
            "severity": self.severity.value,
            "joins": self.joins,
            "seen": self.seen,
            "knobs": [knob.to_json() for knob in self.knobs],
        }


# ---- facts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deposit:
    """One ticketbook that was paid for, or may have been."""

    unix: int
    """When it was first seen on the chain; when it was begun, if that is not known."""
    account: int
    """Which account paid: 0, 1, …"""
    price: int
    """unym."""
    book: int | None
    """The book that came of it."""


@dataclass(frozen=True, slots=True)
class Book:
    """One book, without what is in it."""

    number: int
    added_unix: int
    bought: bool
    """Else it came from a file."""
    exported: bool
    suspect: bool
    expiration: date


@dataclass(frozen=True, slots=True)
class Claim:
    """One ticket that went to a gateway, or may have."""

    unix: int
    book: int
    gateway: int | None
    """Which account at a gateway it was for (a gateway, and an identity there): 0, 1, …; None if that is not known."""
    accepted: bool
    doubled: bool
    """The gateway said that somebody had spent it before."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the store remembers; in the order of time."""

    deposits: tuple[Deposit, ...] = ()
    books: tuple[Book, ...] = ()
    claims: tuple[Claim, ...] = ()

    @property
    def price(self) -> int | None:
        """Of the last ticketbook, unym."""
        return self.deposits[-1].price if self.deposits else None

    @property
    def days(self) -> float:
        """From the first event to the last."""
        moments = [deposit.unix for deposit in self.deposits] + [claim.unix for claim in self.claims]
        return (max(moments) - min(moments)) / 86_400 if moments else 0.0

    def first_claims(self) -> dict[int, int]:
        """When the first ticket of each book went to a gateway."""
        first: dict[int, int] = {}
        for claim in self.claims:
            first[claim.book] = min(claim.unix, first.get(claim.book, claim.unix))
        return first


@dataclass(frozen=True, slots=True)
class Habits:
    """What the configuration in force says about it."""

    pays: bool
    """Whether gateways are paid with tickets."""
    profile: TrafficProfile = PROFILES["standard"]
    sleep_after_seconds: float = 600.0
    """Infinite if it never sleeps."""
    entry: str = "auto"
    """``auto``, ``a country`` or ``named``: which one is not told."""
    exit: str = "auto"
    exit_rotation_seconds: float = math.inf
    """Infinite if an exit is kept."""
    surb_bank: int = 1000
    data_in_cover_slots: bool = False
    workers: int = 1
    anonymous_replies: bool = True
    through_mixnet: bool = False
    tops_up: bool = True
    standby: bool = True
    isolated_by: tuple[str, ...] = ("credential", "token", "user")
    max_identities: int = 8

    @classmethod
    def of(cls, config: Config, *, pays: bool) -> "Habits":
        """`pays`: whether there is something to pay with on the network in use."""
        return cls(
            pays=pays,
            profile=PROFILES[config.mixnet.profile],
            sleep_after_seconds=config.mixnet.sleep_after,
            entry=_choice(config.mixnet.entry),
            exit=_choice(config.mixnet.exit),
            exit_rotation_seconds=config.mixnet.exit_rotation,
            surb_bank=config.mixnet.surb_bank,
            data_in_cover_slots=config.mixnet.data_in_cover_slots,
            workers=config.workers,
            anonymous_replies=config.mixnet.replies == "anonymous",
            through_mixnet=config.tickets.through_mixnet,
            tops_up=config.tickets.top_up,
            standby=config.tickets.standby,
            isolated_by=tuple(config.isolation.by),
            max_identities=config.isolation.max_identities,
        )


def _choice(text: str) -> str:
    if text == "auto":
        return text
    return "a country" if text.startswith("country:") else "named"


@dataclass(frozen=True, slots=True)
class Identities:
    """Mixnet identities whose keys are in the data folder."""

    folders: int
    """With keys of their own."""
    shared: int
    """Folders beyond the first that hold the same keys as another one."""


# ---- the report ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, the worst first."""

    findings: tuple[Finding, ...]
    counted: Mapping[str, int | float]
    """What it was made from."""
    network: str = ""
    has_store: bool = True
    """Whether there is a ticket store at all."""
    unknown: Sequence[str] = field(default=())
    """What would matter, and cannot be told from here."""

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        counts = {level.value: 0 for level in ORDER}
        for finding in self.findings:
            counts[finding.severity.value] += 1
        return {
            "network": self.network,
            "store": self.has_store,
            "made_from": dict(self.counted),
            "severities": counts,
            "findings": [finding.to_json() for finding in self.findings],
            "unknown": list(self.unknown),
        }

    def lines(self, *, everything: bool = False) -> list[str]:
        """For people. `everything`: also what gives nothing away."""
        made = ", ".join(f"{value:g} {name.replace('_', ' ')}" for name, value in self.counted.items())
        basis = f"from the configuration and {made}" if self.has_store else "from the configuration alone"
        lines = [f"What others could join on {self.network}, {basis}:"]
        for finding in self.findings:
            if finding.severity is Severity.NONE and not everything:
                continue
            lines += ["", *_told(finding)]
        quiet = [item.name for item in self.findings if item.severity is Severity.NONE]
        if quiet and not everything:
            lines += ["", f"Nothing to be joined by: {', '.join(quiet)} (-v shows why)."]
        if self.unknown:
            lines += ["", "Not known here:", *(f"  {text}" for text in self.unknown)]
        return lines


def _told(finding: Finding) -> list[str]:
    who = " + ".join(observer.value for observer in finding.observers)
    lines = [f"{finding.severity.value.upper():<8}{finding.name}  ({who})"]
    lines += _wrapped(" " * 8, finding.joins)
    lines += _wrapped("  here  ", finding.seen)
    for knob in finding.knobs:
        now = f" = {knob.now}" if knob.now else ""
        lines += _wrapped("  knob  ", f"{knob.name}{now}: {knob.change} Costs: {knob.costs}")
    if not finding.knobs:
        lines += _wrapped("  knob  ", "none: nothing that is set here changes it.")
    return lines


def _wrapped(label: str, words: str) -> list[str]:
    return textwrap.wrap(
        words,
        WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_long_words=False,
        break_on_hyphens=False,
    )


# ---- words -----------------------------------------------------------------------------------------------------


def cost(habits: Habits, profile: str, *, day: bool = False, price: int | None = None) -> str:
    """What a profile costs; `day`: of being awake all day, in money too if `price` of a book is known."""
    costs = PROFILES[profile].costs()
    if not costs.tickets_per_hour:
        return "nothing but what applications send"
    many = f" for each of {habits.workers} workers" if habits.workers > 1 else ""
    if not day:
        return f"{costs.tickets_per_hour:.2g} tickets an hour awake{many}"
    books = costs.tickets_per_day * DAYS_PER_MONTH / TICKETS_PER_BOOK
    money = f", {format_nym(round(books) * price)}" if price is not None else ""
    return f"{costs.tickets_per_day:.0f} tickets a day, {books:.0f} books a month{money}{many}"


def count_of(number: int, what: str) -> str:
    """``1 book``, ``2 books``."""
    many = f"{what[:-1]}ies" if what.endswith("y") and what != "day" else f"{what}s"
    return f"{number} {what if number == 1 else many}"


def pause(seconds: float) -> str:
    """A length of time, roughly."""
    if seconds < 1:
        return "none"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"


def yes_or_no(value: bool) -> str:
    """As the configuration writes it."""
    return "true" if value else "false"


def knob(name: str, now: str, change: str, costs: str) -> Knob:
    """A key of the configuration."""
    return Knob(name, now, change, f"{costs}.")


def command(name: str, change: str, costs: str) -> Knob:
    """A command."""
    return Knob(name, "", change, f"{costs}.")
