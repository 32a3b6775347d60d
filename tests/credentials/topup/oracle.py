"""The fewest books that could have served a trace, by somebody who knows it all beforehand.

Ticket k (k = 0, 1, …) has to be taken before k tickets' worth have been used, else traffic stops; and the client
asks for it no earlier than `grace` before that (docs/protocol/10 §5). A book serves 50 tickets whose windows touch
its seven UTC days. Both ends of the windows grow with k, so some best choice hands tickets out in order. Then buying
each book as late as possible, on the day of the deadline of the first ticket that the books before it do not serve,
is exact: by induction, after i books no choice serves more tickets than this one, because its i-th book begins with
no earlier a ticket and dies no later than the i-th of any other. Purchases take no time, cost no margin, and the
account is never empty: nothing real can do with less.
"""

from __future__ import annotations

from collections.abc import Sequence

from nym_credentials.topup.burn import DAY_SECONDS
from tests.credentials.topup.traces import Segment

BOOK = 50
LIFE_DAYS = 7


def ticket_windows(segments: Sequence[Segment], grace: float) -> list[tuple[float, float]]:
    """(asked for at the earliest, needed at the latest) of every ticket, Unix seconds."""
    used, asked, needed = 0.0, [], []
    for begin, end, per_hour in segments:
        if per_hour <= 0:
            continue
        rate = per_hour / 3600
        after = used + rate * (end - begin)
        while len(asked) - (grace if asked else 0.0) < after:
            target = len(asked) - (grace if asked else 0.0)
            asked.append(begin + max(0.0, target - used) / rate)
        while len(needed) < after:
            needed.append(begin + max(0.0, len(needed) - used) / rate)
        used = after
    return list(zip(asked, needed, strict=False))


def fewest(windows: Sequence[tuple[int, int]], capacity: int, life: int) -> int:
    """The fewest books for tickets with these windows of days, both ends inclusive and growing. See above."""
    books, left, last_day = 0, 0, -1
    for asked, needed in windows:
        if left == 0 or asked > last_day:
            books += 1
            left, last_day = capacity, needed + life - 1
        left -= 1
    return books


def fewest_books(segments: Sequence[Segment], grace: float = 0.2) -> int:
    """What a trace takes at the least."""
    windows = [(int(a // DAY_SECONDS), int(b // DAY_SECONDS)) for a, b in ticket_windows(segments, grace)]
    return fewest(windows, BOOK, LIFE_DAYS)


def brute_force_fewest(windows: Sequence[tuple[int, int]], capacity: int, life: int) -> int:
    """The same by trying everything, for small cases: windows in days, inclusive."""
    days = range(min(a for a, _ in windows), max(b for _, b in windows) + 1)
    best = len(windows)

    def serves(bought: list[int]) -> bool:
        # Earliest deadline first over days; agreeable windows make this exact for given books.
        room = dict.fromkeys(range(len(bought)), capacity)
        for first, last in sorted(windows):
            usable = [
                index
                for index, day in enumerate(bought)
                if room[index] and day <= last and first <= day + life - 1
            ]
            if not usable:
                return False
            room[min(usable, key=lambda index: bought[index])] -= 1
        return True

    def search(bought: list[int], start: int) -> None:
        nonlocal best
        if len(bought) >= best:
            return
        if serves(bought):
            best = len(bought)
            return
        for day in days:
            if day >= start:
                search([*bought, day], day)

    search([], days[0])
    return best
