"""The status page: one page of HTML, made here so that it says the same with JavaScript and without. Pure.

Everything that changes stands in an element with an ``id``; the script fetches the page's inside again and replaces
those that differ. Style and script are files of this package: nothing comes from anywhere else.
"""

from collections.abc import Iterable
from html import escape
from typing import Final

from nymgate.units import human_bytes
from nymgate.watch import status_text as words
from nymgate.watch.status import LayerStatus, Status, cost_sentence

REFRESH_SECONDS: Final = 10
"""Without JavaScript."""
WORDS: Final = {"ok": "ok", "degraded": "degraded", "failing": "failing", "unknown": "not looked at"}
MARKS: Final = {"ok": "✓", "degraded": "!", "failing": "✕", "unknown": "–"}
"""So that nobody has to tell states apart by colour."""

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<link rel="icon" href="icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="page.css">
<noscript><meta http-equiv="refresh" content="{refresh}"></noscript>
<script src="page.js" defer></script>
</head>
<body>
<a class="skip" href="#inside">Skip to the status</a>
<header>
<h1><img src="icon.svg" alt="" width="28" height="28"> nymgate</h1>
<p id="where" class="where">{where}</p>
<button id="theme" type="button" hidden>Theme: <span>auto</span></button>
</header>
<main id="inside" tabindex="-1">
{inside}
</main>
<footer>
<p>Proxy auto-configuration for browsers: <a href="proxy.pac">{pac}</a></p>
<p id="connection" role="status"></p>
</footer>
</body>
</html>
"""


def whole_page(status: Status, pac_url: str) -> str:
    """The page as it is served first."""
    return _PAGE.format(
        title=escape(title(status)),
        refresh=REFRESH_SECONDS,
        where=where(status),
        pac=escape(pac_url),
        inside=inside(status),
    )


def title(status: Status) -> str:
    """What a browser's tab shows."""
    word = (
        "ready"
        if status.ready and status.state != "degraded"
        else "degraded"
        if status.ready
        else "not ready"
    )
    return f"{word} · nymgate"


def where(status: Status) -> str:
    """The line under the name."""
    return escape(
        f"{status.version} on {status.network}, up {words.uptime(status.uptime_seconds)}{words.workers(status)}"
    )


def inside(status: Status) -> str:
    """What changes."""
    return "\n".join(
        [
            _verdict(status),
            '<div class="grid">',
            _tickets(status),
            _budget(status),
            _streams(status),
            "</div>",
            _layers(status),
            _costs(status),
            '<div class="grid two">',
            _privacy(status),
            _exits(status),
            "</div>",
        ]
    )


def _verdict(status: Status) -> str:
    state = status.state if status.layer or not status.ready else "ok"
    headline = "Streams get through" if status.ready else "Streams do not get through"
    if status.ready and status.asleep:
        headline = "Ready, asleep"
    if status.layer:
        headline += f": <strong>{escape(status.layer)}</strong> is {WORDS.get(state, state)}"
    what = f"<p>{_text(status.what)}</p>" if status.what != f"{headline}." else ""
    todo = f'<p class="todo">{_text(status.todo)}</p>' if status.todo else ""
    code = f'<p class="code"><code>{escape(status.code)}</code></p>' if status.code else ""
    return (
        f'<section id="verdict" class="verdict {escape(state)}" aria-live="polite">'
        f'<h2><span class="mark" aria-hidden="true">{MARKS.get(state, "")}</span> {headline}</h2>'
        f"{what}{todo}{code}</section>"
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _text(text: str) -> str:
    """Escaped; what stands between backticks is code."""
    return "".join(
        f"<code>{escape(part)}</code>" if index % 2 else escape(part)
        for index, part in enumerate(text.split("`"))
    )


def _card(name: str, heading: str, big: str, rows: Iterable[tuple[str, str]], note: str = "") -> str:
    lines = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in rows)
    listed = f"<dl>{lines}</dl>" if lines else ""
    noted = f'<p class="note">{escape(note)}</p>' if note else ""
    shown = f'<p class="big">{escape(big)}</p>' if big else ""
    return f'<section class="card" id="{name}"><h2>{escape(heading)}</h2>{shown}{listed}{noted}</section>'


def _tickets(status: Status) -> str:
    found = status.tickets
    if found is None:
        return _card("tickets", "Tickets", "none used", [], "The gateway's free allowance is used.")
    rows = [("usable until", f"{found.until} UTC" if found.until else "–")]
    if found.hours_awake is not None:
        rows.append(("lasts awake", words.hours(found.hours_awake)))
    rows.append(("spent", str(found.spent)))
    if found.in_use:
        rows.append(("in use", str(found.in_use)))
    if found.given_up:
        rows.append(("given up", str(found.given_up)))
    if found.expired:
        rows.append(("expired unused", str(found.expired)))
    if found.unfinished:
        rows.append(("purchases under way", str(found.unfinished)))
    rows.append(("top-up", "by itself" if found.tops_up else "off"))
    note = "" if found.supply == "ok" else f"{found.supply}: {found.why}"
    return _card("tickets", "Tickets", f"{found.remaining} left", rows, note)


def _budget(status: Status) -> str:
    used = next((row for row in status.costs if row.in_use), None)
    if used is None:
        big = "–"
    elif used.tickets_per_day_used is not None:
        big = f"{words.number(used.tickets_per_day_used)} tickets a day"
        if used.unym_per_day_used is not None:
            big = f"{words.nym(used.unym_per_day_used)} a day"
    else:
        big = words.cost_cells(used)[1]
    rows = []
    if used is not None and used.tickets_per_day_used is not None:
        rows.append(("as used so far", f"{words.number(used.tickets_per_day_used)} tickets a day"))
    if used is not None and used.tickets_per_hour:
        rows.append(("an hour awake", words.cost_cells(used)[1]))
    if status.tickets is not None:
        if status.balance_unym is not None:
            rows.append(("balance", words.nym(status.balance_unym)))
        rows.append(("paid so far", words.nym(status.paid_unym)))
        rows += [
            (
                f"left this {one.period}",
                f"{words.nym(one.left_unym).removesuffix(' NYM')} of {words.nym(one.limit_unym)}",
            )
            for one in status.budget
        ]
    return _card("money", "Cost", big, rows)


def _streams(status: Status) -> str:
    found = status.streams
    rows = [("ended well", str(found.ok))]
    rows += [(code, str(count)) for code, count in list(found.failed.items())[:4]]
    if found.waiting:
        rows.append(("waiting", str(found.waiting)))
    if found.first_byte_seconds is not None:
        rows.append(("first byte", f"≤ {found.first_byte_seconds:g} s"))
    rows.append(("up / down", f"{human_bytes(found.bytes_up)} / {human_bytes(found.bytes_down)}"))
    return _card("streams", "Streams", f"{found.open} open", rows)


def _layers(status: Status) -> str:
    items = "".join(map(_layer, status.layers))
    return f'<section class="card" id="layers"><h2>Layers</h2><ol class="layers">{items}</ol></section>'


def _layer(layer: LayerStatus) -> str:
    said = f"{layer.what} {layer.todo}".strip()
    detail = f'<p class="said">{_text(said)}</p>' if said and layer.state in ("failing", "degraded") else ""
    return (
        f'<li class="{escape(layer.state)}"><span class="mark" aria-hidden="true">{MARKS.get(layer.state, "")}</span>'
        f'<span class="name">{escape(layer.layer)}</span> '
        f'<span class="state">{escape(WORDS.get(layer.state, layer.state))}</span>'
        f'<span class="meaning">{escape(layer.meaning)}</span>{detail}</li>'
    )


def _costs(status: Status) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in words.COST_HEAD)
    rows = []
    for row in status.costs:
        name, *cells = words.cost_cells(row)
        mark = ' <span class="tag">in use</span>' if row.in_use else ""
        data = "".join(
            f'<td data-head="{escape(heading)}">{escape(cell)}</td>'
            for heading, cell in zip(words.COST_HEAD[1:], cells, strict=True)
        )
        rows.append(
            f'<tr{" class=used" if row.in_use else ""}><th scope="row">{escape(name)}{mark}</th>{data}</tr>'
        )
    return (
        f'<section class="card" id="costs"><h2>What each profile costs</h2>'
        f'<p class="note">{escape(_sentence(cost_sentence(status)))}</p>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _privacy(status: Status) -> str:
    found = status.privacy
    rows = [
        ("profile", f"{found.profile}, {found.summary}"),
        ("replies", "anonymous" if found.anonymous_replies else "own address: the exit learns it"),
        ("identities", f"{found.identities}, {found.identities_awake} awake"),
    ]
    if found.cover_share is not None:
        rows.append(("cover", f"{found.cover_share:.0%} of packets"))
    note = _sentence(found.observer) if found.observer else ""
    if found.asleep:
        note += " At the moment it is asleep and sends nothing."
    return _card("privacy", "Privacy", "", rows, note)


def _exits(status: Status) -> str:
    known = [one for one in status.exits if one.state != "untried"]
    items = []
    for one in known:
        facts = [one.country or "", f"{one.streams} open", f"{one.opened} opened"]
        if one.latency_seconds is not None:
            facts.append(f"{one.latency_seconds:.1f} s")
        if one.refusals:
            facts.append(f"{one.refusals} refused")
        state = {"in use": "ok", "open": "ok", "up": "ok", "down": "failing", "doubtful": "degraded"}.get(
            one.state, "unknown"
        )
        items.append(
            f'<li class="{state}"><span class="mark" aria-hidden="true">{MARKS[state]}</span>'
            f'<span class="name"><code>{escape(one.exit)}…</code></span> '
            f'<span class="state">{escape(one.state)}</span>'
            f'<span class="meaning">{escape(" · ".join(filter(None, facts)))}</span></li>'
        )
    listed = f'<ul class="layers">{"".join(items)}</ul>' if items else '<p class="note">None yet.</p>'
    more = f'<p class="note">{escape(words.exits(status))}.</p>' if status.exits else ""
    return f'<section class="card" id="exits"><h2>Exits</h2>{listed}{more}</section>'
