"""How it stands with what pays for traffic: ok, degraded or exhausted, in one sentence, and who mends it. Pure.

Running out is a state, not a crash. Streams that are asked for in it are refused with the hindrance as identifier: 402
where only the owner of the account can mend it (money, budget, no account), 503 where it mends itself.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from nym_credentials.topup.hindrances import WORDS, Hindrance, Supply
from nymgate.errors import StreamRefused
from nymgate.refusals import OWNERS, REFUSALS

if TYPE_CHECKING:
    from nym_credentials.topup.topup_io import TopUpStatus

WATCHED: Final = frozenset({Hindrance.FUNDS, Hindrance.RESERVE, Hindrance.PRICE, Hindrance.DEPOSIT_CAP})
"""What ends when funds come or prices fall: looked at often, so that traffic goes on by itself."""
_NOT_REACHED: Final = frozenset({None, Hindrance.CHAIN, Hindrance.SIGNERS, Hindrance.UNCONFIRMED})
_NONE_LEFT: Final = "There is no ticket left."
_ADDRESS: Final = re.compile(r"\b[a-z]{1,10}1[02-9ac-hj-np-z]{38,58}\b")
NO_ACCOUNT: Final = "E_NO_ACCOUNT"
OUT_OF_TICKETS: Final = "E_OUT_OF_TICKETS"
TOP_UP: Final = "E_TOP_UP"
COMING: Final = "E_TICKETS_COMING"


@dataclass(frozen=True, slots=True)
class SupplyState:
    """For refusals, health, metrics and the command line."""

    state: Supply
    code: str = ""
    """Identifier of what is wrong; empty if nothing is."""
    layer: str = ""
    what: str = ""
    """What is wrong, with the numbers; empty if nothing is. For the operator: it names prices and balances."""
    brief: str = ""
    """The same without numbers: for applications, which may be those of others."""
    todo: str = ""
    """What mends it, and when it is tried again."""
    since_unix: float = 0.0
    """When this state began."""
    retry_unix: float | None = None
    """When buying is tried again by itself."""
    owner: bool = False
    """Whether the owner of the account has to do something."""
    tickets: int | None = None
    """That can be spent now; None before the first look."""

    @property
    def waiting(self) -> bool:
        """Whether tickets are on their way without trouble: worth waiting for."""
        return self.code in (COMING, Hindrance.ELSEWHERE)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the top-up itself does not know."""

    account: bool | None
    """Whether there is one that pays; None before the first look."""
    tops_up: bool
    """Whether books are bought by itself at all."""
    through_mixnet: bool = False


def supply_state(status: "TopUpStatus", known: Circumstances, since_unix: float) -> SupplyState:
    """The state that a top-up reports, in words."""
    decision = status.decision
    tickets = decision.assessment.tickets if decision is not None else None
    if status.supply is Supply.OK:
        return SupplyState(Supply.OK, since_unix=since_unix, tickets=tickets)
    code, layer, what, todo, owner = _reason(status, known)
    numbers = without_address(_numbers(status, known) or what)
    if status.supply is Supply.EXHAUSTED and code != COMING:
        what, numbers = f"{_NONE_LEFT} {what}", f"{_NONE_LEFT} {numbers}"
    return SupplyState(
        state=status.supply,
        code=code,
        layer=layer,
        what=numbers,
        brief=what,
        todo=todo,
        since_unix=since_unix,
        retry_unix=status.retry_unix,
        owner=owner,
        tickets=tickets,
    )


def without_address(text: str) -> str:
    """For the log and for those who only look: who pays is nobody's business."""
    return _ADDRESS.sub("the account", text)


def _numbers(status: "TopUpStatus", known: Circumstances) -> str:
    """What the top-up says of its trouble, without the advice."""
    if status.hindrance is None or not known.tops_up or known.account is False:
        return ""
    words = WORDS[status.hindrance]
    return status.reason.removesuffix(words.to_do).replace(" Nothing was signed.", "").strip()


def _reason(status: "TopUpStatus", known: Circumstances) -> tuple[str, str, str, str, bool]:
    if not known.tops_up:
        return (
            OUT_OF_TICKETS,
            "tickets",
            "Nothing is bought by itself: tickets.top_up is false.",
            "Buy a ticketbook (`nymgate topup now`), or set tickets.top_up.",
            True,
        )
    if known.account is False:
        return (
            NO_ACCOUNT,
            "wallet",
            "No account is set that could buy any.",
            "Set one with `nymgate account set`; it is noticed by itself.",
            True,
        )
    hindrance = status.hindrance
    if known.through_mixnet and status.supply is Supply.EXHAUSTED and hindrance in _NOT_REACHED:
        return (
            OUT_OF_TICKETS,
            "tickets",
            "Tickets are bought through the mixnet (tickets.through_mixnet), and it takes a ticket to get there.",
            "Buy one book with tickets.through_mixnet = false, or import one: nymgate tickets import.",
            True,
        )
    if hindrance is None:
        todo = "A ticketbook is being bought; try again in a moment."
        return COMING, "tickets", _NONE_LEFT, todo, False
    words = WORDS[hindrance]
    if hindrance in WATCHED:
        retry = "It goes on by itself within a minute after that."
    elif status.retry_unix is not None:
        retry = f"It is tried again by itself at {clock(status.retry_unix)}."
    else:
        retry = "It is tried again by itself."
    todo = retry if hindrance is Hindrance.ELSEWHERE else f"{words.to_do} {retry}"
    code = TOP_UP if hindrance is Hindrance.INTERNAL else hindrance.value
    return code, words.layer, words.happened, todo, hindrance in OWNERS


def clock(unix: float) -> str:
    """``2026-11-24 00:00:40 UTC``."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def refusal(supply: SupplyState) -> StreamRefused | None:
    """What a stream hears that cannot be paid for; None while there are tickets, or worth waiting for."""
    if supply.state is not Supply.EXHAUSTED or supply.waiting:
        return None
    row = REFUSALS[supply.code]
    return StreamRefused(supply.brief, supply.todo, code=row.code, layer=supply.layer, socks_reply=row.reply)
