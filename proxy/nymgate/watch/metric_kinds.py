"""What a metric is, and the ways to read numbers out of a snapshot; the metrics themselves are in ``metrics``. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from nymgate.watch.snapshot import Histogram, Money, Snapshot, TicketStock

OTHER: Final = "other"
"""The value of a label for what is not among those known beforehand."""
SIGNERS_NAMED: Final = 64
"""More signers than any epoch has had; those beyond are counted as ``other``."""

TICKET_TYPES: Final = ("v1-mixnet-entry", "v1-mixnet-exit", "v1-wireguard-entry", "v1-wireguard-exit")
SPENT_HERE: Final = "v1-mixnet-entry"
"""The type that this proxy spends: its numbers are there even if they are 0."""


class Kind(StrEnum):
    """The types of Prometheus that are used here."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Label:
    """A label with its values, or with what they are where the operator or the network names them."""

    name: str
    values: tuple[str, ...] = ()
    what: str = ""


Row = tuple[tuple[str, ...], float | Histogram]
"""Values of the labels, and the number."""
Read = Callable[[Snapshot], Iterable[Row]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the table. ``read`` yields nothing where there is nothing to say."""

    name: str
    kind: Kind
    help: str
    read: Read
    labels: tuple[Label, ...] = ()

    @property
    def full_name(self) -> str:
        """As in an expression; histograms have ``_bucket``, ``_sum`` and ``_count``."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name

    @property
    def unit(self) -> str:
        """The last word of the name, if it is a unit that OpenMetrics has a word for."""
        last = self.name.rpartition("_")[2]
        return last if last in ("seconds", "bytes") else ""


# ---- how numbers are read ------------------------------------------------------------------------------------------


def one(get: Callable[[Snapshot], float | Histogram | None]) -> Read:
    """A number without labels; None is no sample."""

    def read(snapshot: Snapshot) -> Iterator[Row]:
        value = get(snapshot)
        if value is not None:
            yield (), value

    return read


def money(get: Callable[[Money], float | Histogram | None]) -> Read:
    """A number of the money side."""
    return one(lambda snapshot: None if snapshot.money is None else get(snapshot.money))


def table(known: tuple[str, ...], get: Callable[[Snapshot], Mapping[str, float] | None]) -> Read:
    """A number for each of the known values, 0 where there is none; all others are ``other``."""

    def read(snapshot: Snapshot) -> Iterator[Row]:
        found = get(snapshot)
        if found is None:
            return
        for name in known:
            yield (name,), found.get(name, 0)
        rest = sum(value for name, value in found.items() if name not in known)
        if rest:
            yield (OTHER,), rest

    return read


def money_table(known: tuple[str, ...], get: Callable[[Money], Mapping[str, float]]) -> Read:
    """The same of the money side."""
    return table(known, lambda snapshot: None if snapshot.money is None else get(snapshot.money))


def states(known: tuple[str, ...], get: Callable[[Snapshot], str | None]) -> Read:
    """1 for the state that is, 0 for the others; None is no sample at all."""

    def read(snapshot: Snapshot) -> Iterator[Row]:
        state = get(snapshot)
        if state is not None:
            yield from (((name,), float(name == state)) for name in known)

    return read


def by_type(get: Callable[[TicketStock], float]) -> Read:
    """A number for each ticket type that there are books of, and for the one that is spent here."""

    def read(snapshot: Snapshot) -> Iterator[Row]:
        yield from (((name,), get(stock)) for name, stock in _stocks(snapshot))

    return read


def by_type_and(known: tuple[str, ...], get: Callable[[TicketStock], Mapping[str, float]]) -> Read:
    """The same with a second label."""

    def read(snapshot: Snapshot) -> Iterator[Row]:
        for name, stock in _stocks(snapshot):
            yield from (((name, value), get(stock).get(value, 0)) for value in known)

    return read


def _stocks(snapshot: Snapshot) -> Iterator[tuple[str, TicketStock]]:
    if snapshot.money is None:
        return
    tickets = snapshot.money.purse.tickets
    for name in TICKET_TYPES:
        if name in tickets or name == SPENT_HERE:
            yield name, tickets.get(name, TicketStock())


def by_signer(get: Callable[[Money], Mapping[str, int]]) -> Read:
    """By the name of the signer's machine, which the chain tells everybody."""

    def read(snapshot: Snapshot) -> Iterator[Row]:
        if snapshot.money is None:
            return
        found: dict[str, float] = {}
        for url, value in sorted(get(snapshot.money).items()):
            name = (urlsplit(url).netloc.rpartition("@")[2] or OTHER) if "//" in url else OTHER
            if len(found) >= SIGNERS_NAMED and name not in found:
                name = OTHER
            found[name] = found.get(name, 0) + value
        yield from (((name,), value) for name, value in found.items())

    return read


def by_listener(get: Callable[[Snapshot], Mapping[str, float]]) -> Read:
    """By listening address, as configured."""

    def read(snapshot: Snapshot) -> Iterator[Row]:
        found = dict.fromkeys(snapshot.listening, 0.0) | dict(get(snapshot))
        yield from (((name,), value) for name, value in found.items())

    return read
