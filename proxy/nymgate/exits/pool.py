"""What the exit pool decides, without input or output: who is well, who is next, when to ask, when to change.

An exit's standing, by what is heard of it::

             heard      opened   missed   stalled
    UNTRIED  UP         UP       DOWN     DOUBTFUL
    UP       UP         UP       DOWN     DOUBTFUL
    DOUBTFUL DOUBTFUL   UP       DOWN     DOUBTFUL
    DOWN     UP         UP       DOWN     DOWN

*heard*: any message of it. *opened*: it connected a stream. *missed*: it was asked whether it is alive while our link
was up, and neither answered nor said anything else. *stalled*: a stream over it stalled, or nothing it was asked to
connect to for a while came up.

What asking costs: a question is one packet while the exit's bank of reply SURBs is filled and four while it is not
(it brings thirteen); the answer is one packet back. So nobody is asked without need: a new exit before it is used,
three at a time; the one in use when it has said nothing for as long as its keep-alives should take, or when it keeps a
stream waiting; and every five minutes while the client is awake.
"""

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final

from nym_exit.exit_policy import ExitPolicy
from nym_sphinx import Recipient, b58encode
from nymgate.exits.choice import ExitCandidate, Verdict, shuffled, verdict, weight

SHORT_ID_CHARACTERS: Final = 8
LATENCY_SHARE: Final = 0.3
"""of the newest measurement in the running average"""


class Standing(Enum):
    """What is known of an exit."""

    UNTRIED = "untried"
    UP = "up"
    DOUBTFUL = "doubtful"
    DOWN = "down"


class Event(Enum):
    """What happened to an exit."""

    HEARD = "heard"
    OPENED = "opened"
    MISSED = "missed"
    STALLED = "stalled"


_S, _E = Standing, Event
NEXT: Final = {
    (_S.UNTRIED, _E.HEARD): _S.UP,
    (_S.UNTRIED, _E.OPENED): _S.UP,
    (_S.UNTRIED, _E.MISSED): _S.DOWN,
    (_S.UNTRIED, _E.STALLED): _S.DOUBTFUL,
    (_S.UP, _E.HEARD): _S.UP,
    (_S.UP, _E.OPENED): _S.UP,
    (_S.UP, _E.MISSED): _S.DOWN,
    (_S.UP, _E.STALLED): _S.DOUBTFUL,
    (_S.DOUBTFUL, _E.HEARD): _S.DOUBTFUL,
    (_S.DOUBTFUL, _E.OPENED): _S.UP,
    (_S.DOUBTFUL, _E.MISSED): _S.DOWN,
    (_S.DOUBTFUL, _E.STALLED): _S.DOUBTFUL,
    (_S.DOWN, _E.HEARD): _S.UP,
    (_S.DOWN, _E.OPENED): _S.UP,
    (_S.DOWN, _E.MISSED): _S.DOWN,
    (_S.DOWN, _E.STALLED): _S.DOWN,
}


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The pool's numbers; times in seconds.

    Attributes:
        suspect_factor, suspect_least, suspect_most: a connection request that is not answered after so many times the
            exit's usual answer time, within these bounds, makes the exit a suspect: it is asked whether it is alive.
        ask_factor, ask_least, ask_most: the same for how long it may take to say so. The least leaves room for a
            lost packet and its retransmission (1.6 s) on both ways.
        at_once: how many are asked at a time when a new exit is looked for.
        at_most: how many in one search.
        quiet: the exit in use is asked when streams are open and nothing was heard of it for so long: its keep-alives
            come every 60 s for each stream.
        fresh: without streams, what is known of it is good for so long while the client is awake.
        gone: streams of an exit that answers nothing end after so long, and after at least ``gone_misses`` questions.
        back_off_first, back_off_most: how long an exit that is down is not asked again, doubled each time. It is all
            the same when there is no other, but not more often than each ``back_off_first``.
        remember: how long a port that an exit refused, and another one opened, counts as refused by it.
        second_look: how long the word of a second exit on a refusal counts.
        ports_tried: exits that are tried for a port that the one in use refuses.
        fruitless: so many requests in a row that came to nothing, at an exit that answers, make it doubtful...
        doubt_again: ...but not two exits within this time: then it is rather the destinations.
        linger: an exit that is not in use any more and has no streams is closed after so long.
        reread: the list of exits is read anew after so long, and after ``reread_in_need`` when none is left.
        rotate: a new exit is taken after so long; infinite for never.
    """

    suspect_factor: float = 4.0
    suspect_least: float = 2.0
    suspect_most: float = 6.0
    ask_factor: float = 8.0
    ask_least: float = 5.0
    ask_most: float = 10.0
    at_once: int = 3
    at_most: int = 12
    quiet: float = 75.0
    fresh: float = 300.0
    gone: float = 45.0
    gone_misses: int = 3
    back_off_first: float = 5.0
    back_off_most: float = 600.0
    remember: float = 3600.0
    second_look: float = 600.0
    ports_tried: int = 3
    fruitless: int = 8
    doubt_again: float = 600.0
    linger: float = 30.0
    reread: float = 6 * 3600.0
    reread_in_need: float = 60.0
    rotate: float = float("inf")


@dataclass(slots=True, eq=False)
class ExitRecord:
    """All that is known of one exit. Points in time are the event loop's seconds, None for never."""

    candidate: ExitCandidate
    standing: Standing = Standing.UNTRIED
    heard_at: float | None = None
    asked_at: float | None = None
    """When it was asked last whether it is alive."""
    latency: float | None = None
    """Seconds from question to answer, averaged."""
    misses: int = 0
    """Questions in a row that it left unanswered."""
    silent_since: float | None = None
    retry_at: float = 0.0
    opened: int = 0
    refusals: int = 0
    fruitless: int = 0
    """Requests in a row that came to nothing."""
    policy: ExitPolicy | None = None
    policy_at: float | None = None
    opened_ports: dict[int, float] = field(default_factory=dict, repr=False)
    refused_ports: dict[int, float] = field(default_factory=dict, repr=False)
    second_looks: dict[int, float] = field(default_factory=dict, repr=False)

    @property
    def recipient(self) -> Recipient:
        """The exit's address."""
        return self.candidate.recipient

    def happened(self, event: Event, now: float, rng: random.Random, limits: PoolLimits) -> None:
        """Take note of an event."""
        self.standing = NEXT[self.standing, event]
        if event in (Event.HEARD, Event.OPENED):
            self.heard_at, self.silent_since = now, None
            self.misses = 0
            if event is Event.OPENED:
                self.opened += 1
                self.fruitless = 0
        elif event is Event.MISSED:
            self.misses += 1
            self.silent_since = now if self.silent_since is None else self.silent_since
            longest = min(limits.back_off_most, limits.back_off_first * 2.0 ** min(self.misses - 1, 16))
            self.retry_at = now + rng.uniform(longest / 2, longest)

    def answered(self, seconds: float) -> None:
        """A question took so long."""
        old = self.latency
        self.latency = seconds if old is None else old + LATENCY_SHARE * (seconds - old)

    def heard_since(self, then: float) -> bool:
        """Whether it gave a sign of life after ``then``."""
        return self.heard_at is not None and self.heard_at > then

    def permits(self, host: str, port: int, now: float, limits: PoolLimits) -> Verdict:
        """What its policy and what it refused before say about a destination."""
        if now < self.refused_ports.get(port, -limits.remember) + limits.remember:
            return Verdict.DENIED
        if self.policy is not None:
            return verdict(self.policy, host, port)
        return Verdict.UNKNOWN


def suspect_after(record: ExitRecord, limits: PoolLimits) -> float:
    """Seconds a connection request may go without an answer until the exit is asked whether it is alive."""
    return _clamp(record.latency, limits.suspect_factor, limits.suspect_least, limits.suspect_most)


def answer_within(record: ExitRecord, limits: PoolLimits) -> float:
    """Seconds it may take to say so."""
    return _clamp(record.latency, limits.ask_factor, limits.ask_least, limits.ask_most)


def _clamp(latency: float | None, factor: float, least: float, most: float) -> float:
    return most if latency is None else min(max(factor * latency, least), most)


class _Rank(IntEnum):
    UP = 0
    UNTRIED = 1
    DOUBTFUL = 2
    DUE = 3
    IN_NEED = 4


_RANKS: Final = {
    Standing.UP: _Rank.UP,
    Standing.UNTRIED: _Rank.UNTRIED,
    Standing.DOUBTFUL: _Rank.DOUBTFUL,
}


def _rank(record: ExitRecord, now: float, limits: PoolLimits) -> _Rank | None:
    if record.standing is not Standing.DOWN:
        return _RANKS[record.standing]
    if now >= record.retry_at:
        return _Rank.DUE
    if record.asked_at is None or now >= record.asked_at + limits.back_off_first:
        return _Rank.IN_NEED
    return None


def in_turn(
    records: Iterable[ExitRecord],
    now: float,
    rng: random.Random,
    limits: PoolLimits,
    *,
    last: Collection[Recipient] = (),
) -> list[ExitRecord]:
    """Whom to ask for a new exit, in this order: the well first, among equals by chance and score.

    Those that are down and not due are there only if nobody else is. ``last``: exits that are better left alone; they
    come after all others.
    """
    ranked = [(rank, record) for record in records if (rank := _rank(record, now, limits)) is not None]
    order = shuffled(ranked, rng, [weight(record.candidate.score) for _, record in ranked])
    order.sort(key=lambda item: (item[1].recipient in last, item[0]))
    wanted = [item for item in order if item[0] is not _Rank.IN_NEED] or order
    return [record for _, record in wanted]


def to_try(
    records: Iterable[ExitRecord], host: str, port: int, now: float, limits: PoolLimits
) -> list[ExitRecord]:
    """Those that do not refuse a destination, as far as is known."""
    return [record for record in records if record.permits(host, port, now, limits) is not Verdict.DENIED]


class Answer(Enum):
    """What to do about a refusal of an exit."""

    TELL = "tell"
    """it is the destination's: another exit would say the same"""
    ANOTHER = "another"
    """its policy refuses the port: another exit may permit it"""
    SECOND_LOOK = "second look"
    """nobody knows whether name or port was meant: ask one other exit, once"""


def on_refusal(record: ExitRecord, host: str, port: int, now: float, limits: PoolLimits) -> Answer:
    """The exit protocol has one answer for a forbidden port and for a name that does not resolve.

    What its policy says and what it opened before tell them apart. Where they do not, one other exit is asked, and
    its word counts for a while: each destination that a second exit hears of is one more that knows.
    """
    if record.permits(host, port, now, limits) is Verdict.DENIED:
        return Answer.ANOTHER
    if now < record.opened_ports.get(port, -limits.remember) + limits.remember:
        return Answer.TELL
    if now < record.second_looks.get(port, -limits.second_look) + limits.second_look:
        return Answer.TELL
    return Answer.SECOND_LOOK


def ask_at(
    record: ExitRecord, now: float, limits: PoolLimits, *, in_use: bool, streams: int, awake: bool
) -> float | None:
    """When to ask an exit that is open whether it is alive; None for not at all."""
    if not awake or not (in_use or streams):
        return None
    if record.standing is Standing.DOWN:
        waits = limits.back_off_first * min(record.misses, 4) if streams else limits.back_off_most
        return max(now, (record.asked_at or 0.0) + waits)
    heard = record.heard_at if record.heard_at is not None else record.asked_at
    return now if heard is None else heard + (limits.quiet if streams else limits.fresh)


def is_gone(record: ExitRecord, now: float, limits: PoolLimits) -> bool:
    """Whether the streams over a silent exit should end: whatever it is, they have waited long enough."""
    if record.standing is not Standing.DOWN or record.silent_since is None:
        return False
    return record.misses >= limits.gone_misses and now - record.silent_since >= limits.gone


@dataclass(frozen=True, slots=True)
class ExitState:
    """One exit of the pool, for people and metrics."""

    exit: str
    """The first characters of its gateway's identity."""
    address: str
    country: str | None
    score: int | None
    state: str
    """in use, open (with streams, or for some port), or what is known of it: untried, up, doubtful, down"""
    heard_seconds: float | None
    """Since it gave a sign of life."""
    probed_seconds: float | None
    """Since it was asked whether it is alive."""
    latency_seconds: float | None
    streams: int
    opened: int
    refusals: int
    policy_known: bool


def state_of(record: ExitRecord, now: float, *, in_use: bool, is_open: bool, streams: int) -> ExitState:
    """A record as others see it."""
    recipient = record.recipient
    state = record.standing.value
    if record.standing in (Standing.UP, Standing.UNTRIED):
        state = "in use" if in_use else "open" if is_open else state
    return ExitState(
        exit=b58encode(recipient.gateway)[:SHORT_ID_CHARACTERS],
        address=str(recipient),
        country=record.candidate.country,
        score=record.candidate.score,
        state=state,
        heard_seconds=_since(record.heard_at, now),
        probed_seconds=_since(record.asked_at, now),
        latency_seconds=record.latency,
        streams=streams,
        opened=record.opened,
        refusals=record.refusals,
        policy_known=record.policy is not None,
    )


def _since(then: float | None, now: float) -> float | None:
    return None if then is None else now - then
