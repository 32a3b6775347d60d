"""A status as text: what `nymgate status` prints, and the words and numbers that the page uses as well. Pure."""

from datetime import UTC, datetime

from nym_credentials.money import format_nym
from nymgate.units import format_duration, human_bytes
from nymgate.watch.status import CostStatus, ExitStatus, Status, TicketStatus, cost_sentence

SECONDS_PER_HOUR = 3600
HOUR_MINUTES = 90


def status_lines(status: Status) -> list[str]:
    """For a terminal, without colours."""
    return [
        status.sentence,
        f"  nymgate  {status.version} on {status.network}, up {uptime(status.uptime_seconds)}{workers(status)}",
        "  layers",
        *(f"    {row}" for row in layer_rows(status)),
        f"  tickets  {tickets(status.tickets)}",
        f"  money    {money(status)}",
        f"  cost     {cost_sentence(status)}",
        *(f"    {row}" for row in cost_rows(status)),
        f"  exits    {exits(status)}",
        *(f"    {exit_row(one)}" for one in status.exits if one.state != "untried"),
        f"  streams  {streams(status)}",
        f"  privacy  {privacy(status)}",
    ]


def layer_rows(status: Status) -> list[str]:
    """One line each: name, state, what is wrong and what to do."""
    return [
        f"{one.layer:8} {state_word(one.state):9} {f'{one.what} {one.todo}'.strip()}".rstrip()
        for one in status.layers
    ]


def state_word(state: str) -> str:
    """For people."""
    return "-" if state == "unknown" else state


def workers(status: Status) -> str:
    """How many are ready, if there are several."""
    return f", {status.workers_ready} of {status.workers} workers ready" if status.workers > 1 else ""


def uptime(seconds: float) -> str:
    """In the unit that matters."""
    if seconds < SECONDS_PER_HOUR:
        return format_duration(float(round(seconds)) if seconds < 120 else round(seconds / 60) * 60.0)
    hours = seconds / SECONDS_PER_HOUR
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def tickets(found: TicketStatus | None) -> str:
    """What is left, until when, and whether more comes by itself."""
    if found is None:
        return "none are used: the gateway's free allowance"
    if found.remaining:
        last = f" = {hours(found.hours_awake)} awake" if found.hours_awake is not None else ""
        text = f"{found.remaining} left{last}, the last until {found.until} (UTC)"
    else:
        text = "none left; buy some: nymgate account obtain-ticketbooks --amount 1"
    if found.in_use:
        text += f"; {found.in_use} in use"
    lost = f", {found.given_up} given up" if found.given_up else ""
    lost += f", {found.expired} expired unused" if found.expired else ""
    text += f"; {found.spent} spent{lost}"
    if found.unfinished:
        text += f"; {found.unfinished} purchase(s) being finished"
    text += "; more are bought by themselves" if found.tops_up else "; none are bought by themselves"
    if found.supply != "ok":
        text += f". {found.supply}: {found.why}".rstrip(": ")
    return text


def hours(value: float) -> str:
    """Of being awake."""
    return f"{value * 60:.0f} min" if value * 60 < HOUR_MINUTES else f"{value:.0f} h"


def money(status: Status) -> str:
    """Balance, and what the budget leaves."""
    if status.tickets is None:
        return "none is spent"
    parts = []
    if status.balance_unym is not None:
        parts.append(f"balance {format_nym(status.balance_unym)}")
    parts.append(f"{format_nym(status.paid_unym)} paid so far")
    parts += [
        f"budget left {nym(one.left_unym)} of {nym(one.limit_unym)} this {one.period} (UTC)"
        for one in status.budget
    ]
    return "; ".join(parts)


def nym(unym: float | None) -> str:
    """Rounded to what people care about; `?` where no price is known."""
    if unym is None:
        return "?"
    value = unym / 1e6
    if not value or value >= 100:
        return f"{value:,.0f} NYM"
    return f"{value:.1f} NYM" if value >= 10 else f"{value:.2f} NYM" if value >= 0.01 else f"{value:.2g} NYM"


def number(value: float | None) -> str:
    """Of tickets."""
    if value is None:
        return "?"
    return f"{value:.0f}" if value >= 100 or not value else f"{value:.2g}"


COST_HEAD = ("profile", "an hour awake", "a day and night awake", "a day as used so far")


def cost_cells(row: CostStatus) -> tuple[str, str, str, str]:
    """By :data:`COST_HEAD`."""
    if not row.tickets_per_hour:
        hour, day = "nothing while idle", "what is sent"
    else:
        hour = _both(row.tickets_per_hour, row.unym_per_hour)
        day = _both(row.tickets_per_day, row.unym_per_day)
    used = "not known yet" if row.tickets_per_day_used is None else ""
    if not row.tickets_per_hour and row.tickets_per_day_used is None:
        used = "what is sent"
    return row.profile, hour, day, used or _both(row.tickets_per_day_used, row.unym_per_day_used)


def _both(found: float | None, unym: float | None) -> str:
    price = f" = {nym(unym)}" if unym is not None else ""
    return f"{number(found)} tickets{price}"


def cost_rows(status: Status) -> list[str]:
    """A table; the profile in use is marked."""
    rows = [("", *COST_HEAD)] + [("*" if row.in_use else "", *cost_cells(row)) for row in status.costs]
    wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)).rstrip() for row in rows
    ]


def exits(status: Status) -> str:
    """How many."""
    known = [one for one in status.exits if one.state != "untried"]
    if not status.exits:
        return "none yet"
    return f"{len(known)} in use or asked, of {status.exits_known} that the configuration allows"


def exit_row(one: ExitStatus) -> str:
    """One exit."""
    parts = [f"{one.exit}… {one.state}"]
    if one.country:
        parts.append(one.country)
    if one.latency_seconds is not None:
        parts.append(f"answers in {one.latency_seconds:.1f} s")
    parts.append(f"{one.streams} streams open, {one.opened} opened, {one.refusals} refused")
    return ", ".join(parts)


def streams(status: Status) -> str:
    """What became of them."""
    found = status.streams
    failed = ", ".join(f"{count} {code}" for code, count in found.failed.items())
    first = f"; first byte in {found.first_byte_seconds:g} s or less" if found.first_byte_seconds else ""
    waiting = f", {found.waiting} waiting" if found.waiting else ""
    return (
        f"{found.open} open{waiting}; {found.ok} ended well{f'; failed: {failed}' if failed else ''}{first}; "
        f"{human_bytes(found.bytes_up)} up, {human_bytes(found.bytes_down)} down"
    )


def privacy(status: Status) -> str:
    """What others can learn."""
    found = status.privacy
    replies = (
        ""
        if found.anonymous_replies
        else " WARNING: replies = own-address, the exit learns this client's address"
    )
    state = "asleep, no packet is sent" if found.asleep else f"{found.identities_awake} awake"
    cover = f", {found.cover_share:.0%} of packets were cover" if found.cover_share is not None else ""
    many = "identity" if found.identities == 1 else "identities"
    return f"{found.profile}: {found.observer}. {found.identities} {many} ({state}{cover}).{replies}"


def moment(unix: float) -> str:
    """A time of day."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
