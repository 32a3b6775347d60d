"""What traffic gives away: the judgements of `nymgate privacy` about gateway and exit. Pure."""

import math
from collections import Counter
from typing import Final

from nymgate.privacy.report import (
    ORDER,
    Finding,
    Habits,
    Identities,
    Observer,
    Severity,
    Usage,
    command,
    cost,
    count_of,
    knob,
    yes_or_no,
)
from nymgate.units import format_duration

CHAIN, SIGNERS, GATEWAY, EXIT = Observer.CHAIN, Observer.SIGNERS, Observer.GATEWAY, Observer.EXIT
HIGH, MEDIUM, LOW, UNKNOWN, NONE = Severity
FEW_CLAIMS: Final = 20
"""Of fewer tickets, or fewer days, nothing about the hours of the day."""
FEW_DAYS: Final = 3.0
MOST_SHARE: Final = 0.9
WAKING_HOURS: Final = 16
DAY_SECONDS: Final = 86_400


def traffic_findings(habits: Habits, usage: Usage, identities: Identities | None) -> list[Finding]:
    """All of them. `identities`: None if the data folder could not be read."""
    return [
        _replies(habits),
        _isolation(habits),
        _profile(habits),
        _bursts(habits),
        _cover(habits),
        _keys(identities),
        _hours(habits, usage),
        _gateways(habits, usage),
    ]


def _profile(habits: Habits) -> Finding:
    profile = habits.profile
    severity = HIGH if not profile.shaped else NONE if profile.name == "standard" else LOW
    standard = cost(habits, "standard")
    return Finding(
        "profile",
        (GATEWAY,),
        severity,
        "The gateway, and whoever watches the line, see packets; without cover traffic each of them is an "
        "application's, and its tickets count what was sent and received.",
        f"Profile {profile.name}: {profile.observer}.",
        (
            knob(
                "mixnet.profile",
                profile.name,
                "Keep it." if profile.name == "standard" else "Set it to standard, what most clients send.",
                standard,
            ),
        ),
    )


def _bursts(habits: Habits) -> Finding:
    bank = habits.surb_bank
    return Finding(
        "bursts",
        (EXIT, GATEWAY),
        LOW if bank else NONE,
        "An exit that has reply packets ahead of need can send them at moments of its choosing; the gateway sees them "
        "arrive, so both together could tell whose exit this is.",
        f"The exit has up to {bank} of them at a time." if bank else "The exit has none ahead of need.",
        (
            knob(
                "mixnet.surb_bank",
                str(bank),
                "Set it to 0." if bank else "Keep it.",
                "downloads that wait for a round trip at every step",
            ),
        ),
    )


def _cover(habits: Habits) -> Finding:
    used = habits.data_in_cover_slots
    return Finding(
        "cover-slots",
        (GATEWAY,),
        LOW if used and habits.profile.shaped else NONE,
        "When data takes the place of packets that would come back to their sender, fewer come back: whoever counts "
        "both sees that there was data.",
        "Data takes slots of loop cover." if used else "Loop cover goes on while there is data.",
        (
            knob(
                "mixnet.data_in_cover_slots",
                yes_or_no(used),
                "Set it to false." if used else "Keep it.",
                "about a tenth of the upload",
            ),
        ),
    )


def _hours(habits: Habits, usage: Usage) -> Finding:
    sleeps = math.isfinite(habits.sleep_after_seconds)
    joins = "The gateway sees when this client is awake, and is paid only then: the hours of its user's day."
    turn = knob(
        "mixnet.sleep_after",
        format_duration(habits.sleep_after_seconds),
        'Set it to "never": awake at all times.' if sleeps else "Keep it.",
        cost(habits, habits.profile.name, day=True, price=usage.price),
    )
    hours = Counter(claim.unix % DAY_SECONDS // 3600 for claim in usage.claims)
    total = sum(hours.values())
    if total < FEW_CLAIMS or usage.days < FEW_DAYS:
        what = "It sleeps when there are no streams" if sleeps else "It never sleeps"
        seen = f"{what}; {count_of(total, 'ticket')} in {usage.days:.1f} days: too few for a pattern."
        return Finding("hours", (GATEWAY,), MEDIUM if sleeps else NONE, joins, seen, (turn,))
    busiest, counted = 0, 0
    for _hour, count in hours.most_common():
        if counted >= MOST_SHARE * total:
            break
        busiest, counted = busiest + 1, counted + count
    seen = (
        f"{counted / total:.0%} of {total} tickets went to gateways in {busiest} of the 24 hours of the day."
    )
    severity = MEDIUM if busiest <= WAKING_HOURS else LOW if sleeps else NONE
    return Finding("hours", (GATEWAY,), severity, joins, seen, (turn,))


def _gateways(habits: Habits, usage: Usage) -> Finding:
    accounts = Counter(claim.gateway for claim in usage.claims if claim.gateway is not None)
    unsaid = sum(claim.gateway is None for claim in usage.claims)
    most = max(accounts.values(), default=0)
    seen = "No ticket went to a gateway so far."
    if usage.claims:
        seen = (
            f"{count_of(len(usage.claims), 'ticket')} to {count_of(len(accounts), 'account')} at gateways over "
            f"{usage.days:.0f} days, {most} to one of them"
            f"{f'; of {unsaid} it is not known to which' if unsaid else ''}."
        )
    return Finding(
        "one-gateway",
        (GATEWAY,),
        LOW if usage.claims or habits.pays else NONE,
        "One gateway sees this address, and all of its use of the mixnet for as long as it is the entry; never a "
        "destination. Every change would show the address to one more gateway, so it is kept on purpose.",
        seen,
        (
            knob(
                "mixnet.entry",
                habits.entry,
                "Name one that you trust more.",
                "what is left of the paid allowance at the old one; one more gateway knows the address",
            ),
        ),
    )


def _keys(identities: Identities | None) -> Finding:
    joins = (
        "Identities with the same keys are one to every gateway and exit, and disturb each other's packets."
    )
    who = (GATEWAY, EXIT)
    turn = command(
        "--data-dir",
        "Give each instance a folder of its own; delete the copied keys.",
        "a new identity: what is left of the paid allowance at its gateway",
    )
    if identities is None:
        return Finding("shared-keys", who, UNKNOWN, joins, "The data folder could not be read.", (turn,))
    folders = count_of(identities.folders, "identity")
    seen = f"{folders} in the data folder, {identities.shared} with another one's keys."
    severity = HIGH if identities.shared else NONE
    return Finding("shared-keys", who, severity, joins, seen, (turn,))


def _replies(habits: Habits) -> Finding:
    value = "anonymous" if habits.anonymous_replies else "own-address"
    return Finding(
        "replies",
        (EXIT, GATEWAY),
        NONE if habits.anonymous_replies else HIGH,
        "An exit that is told this client's mixnet address can join everything that it ever asks for, and knows at "
        "which gateway to ask who it is.",
        "The exit learns a random tag." if habits.anonymous_replies else "The exit learns the address.",
        (
            knob(
                "mixnet.replies",
                value,
                "Keep it." if habits.anonymous_replies else "Set it to anonymous.",
                "reply packets, sent in slots that would be cover",
            ),
        ),
    )


def _isolation(habits: Habits) -> Finding:
    apart = set(habits.isolated_by)
    severity = NONE if "destination" in apart else LOW if apart else MEDIUM
    if not apart:
        seen = "All streams share one identity."
    elif severity is NONE:
        seen = (
            "Every destination gets an identity of its own, with an exit of its own where there are enough."
        )
    else:
        seen = f"Streams are kept apart by {', '.join(habits.isolated_by)} where they differ; else they share one."
    if habits.exit == "named":
        seen += " One exit is named for all of them, and can compare when they are used."
        severity = max(severity, LOW, key=lambda level: -ORDER.index(level))
    rotates = math.isfinite(habits.exit_rotation_seconds)
    seen += (
        f" An exit is replaced after {format_duration(habits.exit_rotation_seconds)}."
        if rotates
        else " An exit is kept as long as it works."
    )
    knobs = (
        knob(
            "isolation.by",
            ", ".join(habits.isolated_by) or "nothing",
            'Add "destination", or let applications log in with different names.',
            f"{cost(habits, habits.profile.name)}, for each identity awake, at most {habits.max_identities} "
            "(isolation.max_identities)",
        ),
        knob(
            "mixnet.exit",
            habits.exit,
            "Leave it to auto." if habits.exit == "named" else "Keep it.",
            "nothing",
        ),
        knob(
            "mixnet.exit_rotation",
            format_duration(habits.exit_rotation_seconds),
            "Shorter, so that no exit sees much; longer, so that few see something.",
            "more exits see some of the destinations",
        ),
    )
    return Finding(
        "one-exit",
        (EXIT,),
        severity,
        "One exit sees all destinations of an identity, and that they are of one, though not whose.",
        seen,
        knobs,
    )
