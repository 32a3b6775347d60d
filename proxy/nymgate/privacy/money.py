"""What payments give away: the judgements of `nymgate privacy` about deposits, books and tickets. Pure.

Moments are compared, not only listed: deposits that keep close to use more often than moments drawn by lot would are
called that, with the odds. Few events are few: then the numbers are shown, and nothing is claimed.
"""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Final

from nym_credentials.money import format_nym
from nymgate.privacy.report import (
    Finding,
    Habits,
    Knob,
    Observer,
    Severity,
    Usage,
    command,
    count_of,
    knob,
    pause,
    yes_or_no,
)
from nymgate.units import format_duration

CHAIN, SIGNERS, GATEWAY, EXIT = Observer.CHAIN, Observer.SIGNERS, Observer.GATEWAY, Observer.EXIT
HIGH, MEDIUM, LOW, UNKNOWN, NONE = Severity
SOON_SECONDS: Final = 600
"""Somebody who pays and appears at a gateway within this stands out from everybody else who does either."""
NEAR_SECONDS: Final = 1_800
"""A deposit is near use if a ticket went to a gateway within this before or after it."""
UNLIKELY: Final = 0.05
VERY_UNLIKELY: Final = 0.01
FEW: Final = 3
"""Of fewer deposits nothing is claimed about their moments …"""
MIDNIGHT_SECONDS: Final = 5_400
"""So long after 00:00 UTC purchases fall that waited for the day to change."""
DAY_SECONDS: Final = 86_400


def money_findings(habits: Habits, usage: Usage) -> list[Finding]:
    """All of them."""
    return [
        _addresses(habits, usage),
        _account(usage),
        _amounts(usage),
        _buying_ahead(habits),
        _first_use(habits, usage),
        _moments(habits, usage),
        _midnight(usage),
        _week(usage),
        _files(usage),
        _doubles(usage),
    ]


def _addresses(habits: Habits, usage: Usage) -> Finding:
    joins = (
        "The chain's endpoints and the signers see the network address that buys; the gateway sees the same one "
        "use the mixnet: together they join the account with this client, whatever the moments."
    )
    if habits.through_mixnet:
        return Finding(
            "address",
            (CHAIN, SIGNERS, GATEWAY),
            NONE,
            joins,
            "Chain, signers and the directory are asked through the mixnet, and see the exit's address.",
            (knob("tickets.through_mixnet", "true", "Keep it.", "slower purchases"),),
        )
    seen = f"Purchases go there directly; {count_of(len(usage.deposits), 'deposit')} so far."
    turn = knob(
        "tickets.through_mixnet",
        "false",
        "Set it to true.",
        "slower purchases, which need a ticket in hand; the very first book has to be bought without",
    )
    return Finding("address", (CHAIN, SIGNERS, GATEWAY), HIGH, joins, seen, (turn,))


def _account(usage: Usage) -> Finding:
    by_account = Counter(deposit.account for deposit in usage.deposits)
    most = max(by_account.values(), default=0)
    seen = (
        f"{count_of(len(usage.deposits), 'deposit')} of {count_of(len(by_account), 'account')}"
        f"{f', {most} of them of one' if len(by_account) > 1 else ''}, over {usage.days:.0f} days."
        if usage.deposits
        else "No deposit so far."
    )
    severity = MEDIUM if most > FEW else LOW if most else NONE
    return Finding(
        "one-account",
        (CHAIN, SIGNERS),
        severity,
        "All deposits of one account are public and belong together: how much mixnet use is paid, and since when. "
        "Signers are shown the deposit that each book is issued for.",
        seen,
        (
            command(
                "nymgate account forget, nymgate account set",
                "Go on with another account.",
                "a transfer to it that does not come from this one, or they are joined again",
            ),
        ),
    )


def _amounts(usage: Usage) -> Finding:
    prices = Counter(deposit.price for deposit in usage.deposits)
    seen = ", ".join(f"{count} at {format_nym(price)}" for price, count in sorted(prices.items()))
    note = "; more than one price, as the contract's price changes or as an account gets one of its own"
    return Finding(
        "amounts",
        (CHAIN,),
        LOW if len(prices) > 1 else NONE,
        "Every deposit is for one book at the contract's price, so amounts say nothing; a price of an account's own "
        "would set it apart.",
        f"{seen}{note if len(prices) > 1 else ''}." if prices else "No deposit so far.",
        (
            command(
                "nymgate account balance",
                "See whether this account has a price of its own; pay from one that has not.",
                "the ordinary price",
            ),
        ),
    )


def _buying_ahead(habits: Habits) -> Finding:
    if not habits.tops_up:
        seen, severity = (
            "Nothing is bought but by commands: deposits come when somebody asks for them.",
            MEDIUM,
        )
    elif not habits.standby:
        seen, severity = "Books are bought ahead of habits; the first use after a pause has to buy.", LOW
    else:
        seen, severity = "Books are bought ahead, and one is kept while nothing is used.", NONE
    return Finding(
        "buying-ahead",
        (CHAIN, GATEWAY),
        severity,
        "A deposit that is made because tickets are wanted now shows on the chain when use begins.",
        seen,
        _ahead(habits),
    )


def _first_use(habits: Habits, usage: Usage) -> Finding:
    first = usage.first_claims()
    gaps = [
        first[deposit.book] - deposit.unix
        for deposit in usage.deposits
        if deposit.book is not None and deposit.book in first
    ]
    soon = [gap for gap in gaps if gap < SOON_SECONDS]
    severity = HIGH if 2 * len(soon) >= len(gaps) > 0 else MEDIUM if soon else NONE
    if not gaps:
        seen, severity = "No bought book was used so far.", UNKNOWN if usage.deposits else NONE
    else:
        seen = (
            f"{len(soon)} of {count_of(len(gaps), 'book')} went to a gateway within "
            f"{format_duration(SOON_SECONDS)} of the deposit; the shortest pause was {pause(min(gaps))}, "
            f"the middle one {pause(median(gaps))}."
        )
    return Finding(
        "first-use",
        (CHAIN, SIGNERS, GATEWAY),
        severity,
        "An account that pays, signers that issue, and a client that pays its gateway a moment later look like one.",
        seen,
        _ahead(habits),
    )


def _moments(habits: Habits, usage: Usage) -> Finding:
    joins = "Deposits that keep close to use tell from the chain alone when this client is used."
    later = [deposit.unix for deposit in usage.deposits[1:]]  # before the first there is no use
    claims = sorted(claim.unix for claim in usage.claims)
    observers = (CHAIN, GATEWAY)
    if len(later) < FEW or not claims:
        seen = f"{count_of(len(usage.deposits), 'deposit')}: too few to tell."
        severity = UNKNOWN if usage.deposits else NONE
        return Finding("deposit-moments", observers, severity, joins, seen, _ahead(habits))
    share = covered(claims, usage.deposits[0].unix, max(claims[-1], later[-1]))
    near = sum(any(abs(claim - moment) <= NEAR_SECONDS for claim in claims) for moment in later)
    odds = tail(len(later), near, share)
    severity = HIGH if odds < VERY_UNLIKELY else MEDIUM if odds < UNLIKELY else NONE
    seen = (
        f"{near} of {len(later)} deposits fell within {format_duration(NEAR_SECONDS)} of a ticket's use. A moment "
        f"drawn by lot does so with {share:.0%}; so many or more come by chance with {odds:.2g}."
    )
    return Finding("deposit-moments", observers, severity, joins, seen, _ahead(habits))


def _midnight(usage: Usage) -> Finding:
    after = sum(deposit.unix % DAY_SECONDS < MIDNIGHT_SECONDS for deposit in usage.deposits)
    odds = tail(len(usage.deposits), after, MIDNIGHT_SECONDS / DAY_SECONDS)
    return Finding(
        "midnight",
        (CHAIN,),
        LOW if after >= FEW and odds < VERY_UNLIKELY else NONE,
        "Ticketbooks live to the end of a UTC day, so this program prefers to buy after 00:00 UTC where use is slow: "
        "deposits at that time may tell which program made them.",
        f"{after} of {count_of(len(usage.deposits), 'deposit')} fell into the first hour and a half of a UTC day.",
        (
            command(
                "nymgate account obtain-ticketbooks",
                "Buy by hand at other times, while there is no use.",
                "up to a seventh of the price of each book, and your attention",
            ),
        ),
    )


def _week(usage: Usage) -> Finding:
    days = {book.expiration for book in usage.books}
    return Finding(
        "book-day",
        (CHAIN, GATEWAY),
        LOW if usage.claims else NONE,
        "A payment shows the gateway the last day of its book, and so the day of issue; the chain shows who made "
        "deposits on that day. Nothing else of a book is shown.",
        f"Books of {count_of(len(days), 'day')} so far.",
    )


def _files(usage: Usage) -> Finding:
    imported = sum(not book.bought for book in usage.books)
    exported = sum(book.exported for book in usage.books)
    return Finding(
        "book-files",
        (SIGNERS, GATEWAY),
        HIGH if imported else MEDIUM if exported else NONE,
        "Whoever else has had a book as a file can recognise payments made with it, and who bought it is joined with "
        "who spends it.",
        f"{count_of(imported, 'book')} imported, {exported} exported, of {len(usage.books)}.",
        (
            command("nymgate tickets list", "See which; buy books here instead.", "the price of a book"),
            command("nymgate tickets export", "Do without it; delete the files.", "nothing"),
        ),
    )


def _doubles(usage: Usage) -> Finding:
    doubled = sum(claim.doubled for claim in usage.claims)
    suspect = sum(book.suspect for book in usage.books)
    return Finding(
        "double-spending",
        (SIGNERS, GATEWAY),
        HIGH if doubled or suspect else NONE,
        "Two payments with one ticket reveal the buyer of the book to whoever sees both.",
        f"{count_of(doubled, 'ticket')} called spent before by a gateway, {count_of(suspect, 'book')} held back.",
        (
            command(
                "nymgate tickets list",
                "See which; spend from one store only, and never from a copy of it.",
                "the tickets of those books",
            ),
        ),
    )


def _ahead(habits: Habits) -> tuple[Knob, ...]:
    return (
        knob(
            "tickets.top_up",
            yes_or_no(habits.tops_up),
            "Keep it: it buys ahead, at moments drawn by lot."
            if habits.tops_up
            else "Set it to true: it buys ahead, at moments drawn by lot.",
            "nothing beyond the books; [budget] caps it",
        ),
        knob(
            "tickets.standby",
            yes_or_no(habits.standby),
            "Keep it: the first use after a pause needs no purchase."
            if habits.standby
            else "Set it to true: then the first use after a pause needs no purchase.",
            "a book a week while nothing is used",
        ),
    )


# ---- numbers -------------------------------------------------------------------------------------------------


def covered(moments: Sequence[int], begin: int, end: int) -> float:
    """Which share of a time is near one of the moments, which are sorted."""
    if end <= begin:
        return 1.0
    near, last = 0, begin
    for moment in moments:
        since, until = max(moment - NEAR_SECONDS, last), min(moment + NEAR_SECONDS, end)
        if until > since:
            near += until - since
            last = until
    return near / (end - begin)


def tail(count: int, at_least: int, share: float) -> float:
    """How likely so many or more of `count` are near by chance."""
    return min(
        1.0,
        sum(
            math.comb(count, many) * share**many * (1 - share) ** (count - many)
            for many in range(at_least, count + 1)
        ),
    )
