"""Is it working, and if not: which layer? From what is known to a verdict. Pure.

``READY`` means that a new stream gets through now; whoever asks `/readyz` then gets 200. A layer can be ``degraded``
with the proxy still ready: a quorum of signers that is lost stops nobody until the tickets are used up, but the one
who runs this wants to know. The cause is the first layer that fails, else the first that is degraded, in the order of
:data:`LAYERS`: what is upstream explains what is downstream, for without money there are no tickets, without tickets
the gateway forwards nothing, without a gateway there is no mixnet.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

LAYERS: Final = ("wallet", "chain", "signers", "tickets", "gateway", "mixnet", "exit", "target")
"""By what a failure is named everywhere: log, SOCKS, HTTP, metrics, here."""
_OTHER_NAMES: Final = {"topology": "mixnet", "surbs": "mixnet", "acks": "mixnet", "stream": "mixnet"}

TARGETS_WATCHED: Final = 5
"""So many streams in a row have to fail at their targets before that is worth a word."""


class State(StrEnum):
    """How it stands with a layer, or with the whole."""

    OK = "ok"
    DEGRADED = "degraded"
    """Works, but not for long, or not as it should."""
    FAILING = "failing"
    UNKNOWN = "unknown"
    """Not looked at: of no use here, or asleep."""


_WORST_FIRST: Final = (State.FAILING, State.DEGRADED, State.OK, State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a layer, in two sentences without secrets."""

    layer: str
    code: str
    what: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer."""

    name: str
    state: State = State.UNKNOWN
    code: str | None = None
    what: str = ""
    todo: str = ""
    checked_unix: float | None = None
    """When what this rests on was seen; None for states that are always up to date."""


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict."""

    ready: bool = False
    state: State = State.UNKNOWN
    layer: str | None = None
    """The cause, if something is wrong."""
    code: str | None = None
    what: str = ""
    todo: str = ""
    asleep: bool = False
    """No packets are sent, so mixnet and exit were not looked at; a stream would wake it."""
    layers: tuple[Layer, ...] = ()
    checked_unix: float = 0.0
    workers_ready: int = 0
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Probe:
    """The last looks at something that only answers show."""

    answered_unix: float | None = None
    """When it answered last."""
    seconds: float | None = None
    """How long that took; None if it was other traffic that showed it."""
    failed_unix: float | None = None
    """When the last question that was not answered was given up."""
    failures: int = 0
    """In a row."""
    why: str = ""

    @property
    def state(self) -> State:
        """By the last one. One silence can be a lost packet, so the second in a row counts."""
        if self.failures >= FAILURES_THAT_COUNT:
            return State.FAILING
        return State.UNKNOWN if self.answered_unix is None else State.OK

    @property
    def checked_unix(self) -> float | None:
        """When it was looked at last."""
        times = [moment for moment in (self.answered_unix, self.failed_unix) if moment is not None]
        return max(times, default=None)

    def answered(self, now_unix: float, seconds: float | None) -> "Probe":
        """It is alive."""
        return Probe(now_unix, self.seconds if seconds is None else seconds)

    def failed(self, now_unix: float, why: str) -> "Probe":
        """It did not answer."""
        return replace(self, failed_unix=now_unix, failures=self.failures + 1, why=why)


FAILURES_THAT_COUNT: Final = 2


@dataclass(frozen=True, slots=True)
class Facts:
    """What a verdict is made of. Unix seconds."""

    now_unix: float
    link: str | None = None
    """State of the gateway link, by ``nym_mixnet.link_state``; None while there is no way into the mixnet."""
    missing: tuple[str, str] = ("mixnet", "the proxy is still looking for a way into the mixnet")
    """Layer and reason while there is none."""
    asleep: bool = False
    pays: bool = False
    supply: str = "ok"
    """ok, degraded or exhausted."""
    hindrance: Trouble | None = None
    """Why no book can be bought."""
    refusing: bool = False
    """Whether new streams are refused for want of tickets."""
    ticket: Trouble | None = None
    """Why the last ticket that was wanted could not be made out."""
    clock: Trouble | None = None
    """Why none could be made out now, whatever there is in the store."""
    loop: Probe = field(default_factory=Probe)
    """Our own messages through the mixnet and back."""
    exit: Probe = field(default_factory=Probe)
    target_failures: int = 0
    """Streams in a row that failed at their targets, the last ones."""


def judge(facts: Facts) -> Health:
    """The verdict on one proxy."""
    layers: dict[str, Layer] = {name: Layer(name) for name in LAYERS}
    layers |= _money(facts)
    layers |= _path(facts, layers)
    if facts.target_failures >= TARGETS_WATCHED and facts.link is not None:
        layers["target"] = Layer(
            "target",
            State.DEGRADED,
            "E_TARGET_CONNECT",
            f"The last {facts.target_failures} streams failed at their destinations, while everything up to the exit "
            "works.",
            "Check the addresses, or try another exit.",
        )
    elif facts.link is not None:
        layers["target"] = Layer("target", State.OK)
    return _verdict(tuple(layers[name] for name in LAYERS), facts.now_unix, asleep=facts.asleep)


def _verdict(layers: tuple[Layer, ...], now_unix: float, *, asleep: bool) -> Health:
    state = worst(layer.state for layer in layers)
    cause = next((one for one in layers if one.state is state), None) if state in _WORST_FIRST[:2] else None
    ready = state is not State.FAILING
    return Health(
        ready=ready,
        state=state,
        layer=cause.name if cause else None,
        code=cause.code if cause else None,
        what=cause.what if cause else _all_is_well(asleep),
        todo=cause.todo if cause else "",
        asleep=asleep,
        layers=layers,
        checked_unix=now_unix,
        workers_ready=int(ready),
        workers=1,
    )


def ending(health: Health) -> Health:
    """The verdict on a proxy that lets its streams end: whatever its layers do, new streams are refused."""
    return replace(
        health,
        ready=False,
        state=State.FAILING,
        layer="proxy",
        code="E_SHUTDOWN",
        what="The proxy is ending and takes no more connections.",
        todo="Start it again when it has ended.",
        workers_ready=0,
    )


def _all_is_well(asleep: bool) -> str:
    if asleep:
        return "Asleep for want of streams, with the gateway link up: the next stream wakes it."
    return "Streams get through."


def layer_name(name: str) -> str:
    """An error's layer in the words of :data:`LAYERS`."""
    name = _OTHER_NAMES.get(name, name)
    return name if name in LAYERS else "mixnet"


def _money(facts: Facts) -> dict[str, Layer]:
    if not facts.pays:
        return {}
    layers = {name: Layer(name, State.OK) for name in ("wallet", "chain", "signers", "tickets")}
    starved = facts.link == "out_of_bandwidth"
    ticketless = facts.link is None and layer_name(facts.missing[0]) in layers
    stops = starved or facts.refusing or ticketless

    def found(trouble: Trouble) -> None:
        name = layer_name(trouble.layer)
        state = State.FAILING if stops else State.DEGRADED
        layers[name] = Layer(name, state, trouble.code, trouble.what, trouble.todo, facts.now_unix)

    if facts.clock is not None:
        found(facts.clock)
    elif facts.ticket is not None:
        found(facts.ticket)
    if facts.hindrance is not None:
        found(facts.hindrance)
    elif facts.supply == "exhausted" and layers["tickets"].state is State.OK:
        todo = "Wait until a ticketbook is bought, or buy one: nymgate account obtain-ticketbooks --amount 1."
        found(Trouble("tickets", "E_OUT_OF_TICKETS", "No ticket is left.", todo))
    if starved and all(layer.state is State.OK for layer in layers.values()):
        found(
            Trouble(
                "tickets",
                "E_OUT_OF_BANDWIDTH",
                "The allowance at the entry gateway is used up, and is being claimed again.",
            )
        )
    return layers


def _path(facts: Facts, money: Mapping[str, Layer]) -> dict[str, Layer]:
    """Gateway, mixnet and exit, each worth a look only if the one before works."""
    if facts.link is None:
        name = layer_name(facts.missing[0])
        if money[name].state is State.FAILING:
            return {}
        reason = facts.missing[1]
        what = f"There is no way into the mixnet: {reason}."
        todo = "It is tried again by itself."
        return {name: Layer(name, State.FAILING, "E_NO_WAY", what, todo, facts.now_unix)}
    if facts.link == "out_of_bandwidth":
        # With a gateway that gives its allowance away, what is missing is not tickets of ours.
        gateway = Layer("gateway", State.OK)
        if facts.pays:
            return {"gateway": gateway}
        what = "The free allowance at the entry gateway is used up."
        todo = "Pay with tickets (`nymgate account set`), or try another gateway."
        return {
            "gateway": gateway,
            "tickets": Layer("tickets", State.FAILING, "E_OUT_OF_BANDWIDTH", what, todo),
        }
    if facts.link != "ready":
        what = "The entry gateway cannot be reached at the moment."
        todo = "The connection is tried again by itself."
        return {"gateway": Layer("gateway", State.FAILING, "E_GATEWAY", what, todo)}
    layers = {"gateway": Layer("gateway", State.OK)}
    if facts.asleep:
        return layers
    layers["mixnet"] = _probed("mixnet", facts.loop, "E_MIXNET", "Our own packets do not come back", "")
    if layers["mixnet"].state is not State.FAILING:
        todo = "Another exit is tried by itself where `mixnet.exit` permits it; see `nymgate exits`."
        layers["exit"] = _probed("exit", facts.exit, "E_EXIT_SILENT", "The exit does not answer", todo)
    return layers


def _probed(name: str, probe: Probe, code: str, what: str, todo: str) -> Layer:
    if probe.state is not State.FAILING:
        return Layer(name, probe.state, checked_unix=probe.checked_unix)
    why = f": {probe.why}" if probe.why else ""
    todo = todo or "It is tried again by itself; if it stays, try another entry gateway."
    return Layer(name, State.FAILING, code, f"{what}{why}.", todo, probe.checked_unix)


def worst(states: Iterable[State]) -> State:
    """The worst of them; unknown without any."""
    found = set(states)
    return next((state for state in _WORST_FIRST if state in found), State.UNKNOWN)


# ---- several workers -----------------------------------------------------------------------------------------------


def enough(expected: int) -> int:
    """How many of so many workers have to be ready: half of them carry what comes."""
    return max(1, (expected + 1) // 2)


def merged_health(healths: Sequence[Health], expected: int) -> Health:
    """One verdict on workers: ready if enough of them are, and by layer the worst of all."""
    if len(healths) == 1 and expected <= 1:
        return healths[0]
    ready = sum(health.ready for health in healths)
    layers = []
    for name in LAYERS:
        ones = [layer for health in healths for layer in health.layers if layer.name == name]
        state = worst([layer.state for layer in ones])
        layers.append(next((layer for layer in ones if layer.state is state), Layer(name)))
    now = max((health.checked_unix for health in healths), default=0.0)
    one = _verdict(tuple(layers), now, asleep=all(health.asleep for health in healths))
    is_ready = ready >= enough(expected)
    state = one.state
    what = one.what
    if len(healths) < expected or ready < len(healths):
        state = State.DEGRADED if is_ready else State.FAILING
        what = f"{ready} of {expected} workers are ready. {one.what if one.layer else ''}".strip()
    return replace(one, ready=is_ready, state=state, what=what, workers_ready=ready, workers=expected)
