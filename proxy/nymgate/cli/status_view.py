"""The terminal view of `nymgate status --watch`, drawn with rich."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nymgate.watch import status_text as words
from nymgate.watch.status import Status, cost_sentence

STYLES = {"ok": "green", "degraded": "yellow", "failing": "bold red", "unknown": "dim"}


def view(status: Status) -> RenderableType:
    """One screen."""
    state = status.state if status.layer else "ok" if status.ready else "failing"
    style = STYLES.get(state, "")
    head = (
        f"nymgate {status.version} on {status.network}, up {words.uptime(status.uptime_seconds)}"
        f"{words.workers(status)}"
    )
    return Group(
        Panel(Text(status.sentence, style=style), title=head, title_align="left", border_style=style),
        _layers(status),
        _facts(status),
        Text(f"\nCost {cost_sentence(status)}", style="bold"),
        _costs(status),
        Text(f"\n{words.moment(status.taken_unix)}. Ctrl-C ends this view, not the proxy.", style="dim"),
    )


def _layers(status: Status) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for one in status.layers:
        said = f"{one.what} {one.todo}".strip() if one.state in ("failing", "degraded") else one.meaning
        style = STYLES.get(one.state, "")
        table.add_row(
            Text(one.layer), Text(words.state_word(one.state), style=style), Text(said, style="dim")
        )
    return table


def _facts(status: Status) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("", "")
    table.add_row("tickets", Text(words.tickets(status.tickets)))
    table.add_row("money", Text(words.money(status)))
    table.add_row("streams", Text(words.streams(status)))
    table.add_row("exits", Text(words.exits(status)))
    for one in status.exits:
        if one.state != "untried":
            table.add_row("", Text(words.exit_row(one)))
    table.add_row("privacy", Text(words.privacy(status)))
    return table


def _costs(status: Status) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in words.COST_HEAD:
        table.add_column(heading)
    for row in status.costs:
        table.add_row(*map(Text, words.cost_cells(row)), style="bold" if row.in_use else None)
    return table
