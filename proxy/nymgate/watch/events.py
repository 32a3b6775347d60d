"""What happened between two looks at a proxy, for `/api/events`: the difference of two snapshots. Pure.

Made from snapshots, an event cannot name what a snapshot does not: no destination, user, ticket or key. What comes and
goes between two looks, a second apart, may be missed; counters are not.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from nymgate.watch.health import Health
from nymgate.watch.snapshot import Money, Snapshot

KINDS: Final = {
    "health": "Ready or not, and which layer is the cause, has changed.",
    "layer": "The state of one layer has changed.",
    "supply": "The supply of tickets is now ok, degraded or exhausted, or its reason is another.",
    "purchase": "Ticketbooks were bought; `bought` says how many and `deposits` counts all so far.",
    "tickets": "Tickets were spent, given up or have expired, or books have come.",
    "exits": "Another exit is in use (`changes` counts), or the health of some has changed.",
    "identities": "Identities were made, closed, fell asleep or woke up.",
    "link": "The gateway links are in other states.",
    "workers": "A worker has come or gone.",
}
"""Kind of event to what it says: also the reference page."""


@dataclass(frozen=True, slots=True)
class Event:
    """One."""

    kind: str
    at_unix: float
    facts: dict[str, Any] = field(default_factory=dict)


def changes(before: Snapshot, after: Snapshot) -> list[Event]:
    """What is different, in the order of causes."""
    return [Event(kind, round(after.taken_unix, 3), facts) for kind, facts in _changes(before, after)]


def _changes(before: Snapshot, after: Snapshot) -> Iterator[tuple[str, dict[str, Any]]]:
    if before.workers != after.workers:
        yield "workers", {"running": after.workers, "expected": after.workers_expected}
    if after.money is not None:
        yield from _money(before.money or Money(), after.money)
    if before.links.states != after.links.states:
        yield "link", {"states": dict(after.links.states)}
    if _identities(before) != _identities(after):
        made = max(0, after.identities.made - before.identities.made)
        there = sum(before.identities.states.values()), sum(after.identities.states.values())
        closed = max(0, there[0] + made - there[1])
        yield "identities", {"made": made, "closed": closed, "states": dict(after.identities.states)}
    if (before.exits.states, before.exits.failovers) != (after.exits.states, after.exits.failovers):
        yield "exits", {"changes": after.exits.failovers, "states": dict(after.exits.states)}
    yield from _health(before.health or Health(), after.health or Health())


def _identities(snapshot: Snapshot) -> tuple[Any, ...]:
    return dict(snapshot.identities.states), snapshot.identities.made


def _money(before: Money, after: Money) -> Iterator[tuple[str, dict[str, Any]]]:
    if (before.topup.supply, before.topup.hindrance) != (after.topup.supply, after.topup.hindrance):
        yield (
            "supply",
            {"state": after.topup.supply, "code": after.topup.hindrance, "layer": after.topup.layer},
        )
    if (bought := after.topup.bought - before.topup.bought) > 0 or (
        after.purse.deposits > before.purse.deposits
    ):
        yield "purchase", {"bought": max(0, bought), "deposits": after.purse.deposits}
    counts = _tickets(after)
    if _tickets(before) != counts:
        yield "tickets", counts


def _tickets(money: Money) -> dict[str, int]:
    stocks = money.purse.tickets.values()
    return {
        name: sum(getattr(stock, name) for stock in stocks)
        for name in ("remaining", "accepted", "given_up", "expired")
    }


def _health(before: Health, after: Health) -> Iterator[tuple[str, dict[str, Any]]]:
    known = {layer.name: layer for layer in before.layers}
    for layer in after.layers:
        was = known.get(layer.name)
        if was is None or (was.state, was.code) != (layer.state, layer.code):
            yield (
                "layer",
                {"layer": layer.name, "state": layer.state.value, "code": layer.code, "what": layer.what},
            )
    if (before.ready, before.state, before.layer, before.code, before.asleep) != (
        after.ready,
        after.state,
        after.layer,
        after.code,
        after.asleep,
    ):
        yield (
            "health",
            {
                "ready": after.ready,
                "state": after.state.value,
                "layer": after.layer,
                "code": after.code,
                "what": after.what,
                "todo": after.todo,
                "asleep": after.asleep,
            },
        )
