"""What the demo shows: steps and a bar on a terminal, plain lines elsewhere, then a table."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from nym_credentials.money import format_nym
from nymgate.units import human_bytes

if TYPE_CHECKING:
    from nymgate.cli.demo import Result

PLAIN_COLUMNS: Final = 120
NEXT_STEPS: Final = """\
now try:
  nymgate localnet up                          keep such a network running (--pay: with money), and in another terminal
  nymgate run --network localnet               the proxy on 127.0.0.1:1080, then
  curl --socks5-hostname 127.0.0.1:1080 http://localhost:8000/     anything that listens on this machine
  nymgate account set                          your account on the real network, then
  nymgate account obtain-ticketbooks --amount 1 --dry-run          what a book of tickets costs there
  nymgate run                                  the real network
  nymgate config init                          a file with every setting explained"""


@dataclass(slots=True)
class StepResult:
    """What a step has to say at its end."""

    result: str = ""


class Show:
    """Talks to the person in front of it."""

    def __init__(self, *, silent: bool = False) -> None:
        width = None if sys.stdout.isatty() else PLAIN_COLUMNS
        self._console = Console(file=sys.stdout, quiet=silent, highlight=False, soft_wrap=True, width=width)

    def note(self, text: str) -> None:
        """One line."""
        self._console.print(f"  {text}", markup=False)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[StepResult]:
        """Something that takes a moment, with how long it took and what it cost."""
        started, result = time.monotonic(), StepResult()
        if self._console.is_terminal:
            with self._console.status(text):
                yield result
        else:
            yield result
        self._took(text, started, result)

    def _took(self, text: str, started: float, result: StepResult) -> None:
        more = f"; {result.result}" if result.result else ""
        self.note(f"{text}: {time.monotonic() - started:.1f} s{more}")

    @contextlib.contextmanager
    def progress(self, text: str, total: int) -> Iterator[tuple[Callable[[int], None], StepResult]]:
        """A download that is watched; call what this yields first with the bytes so far."""
        started, result = time.monotonic(), StepResult()
        if self._console.is_terminal:
            columns = TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
            with Progress(*columns, console=self._console, transient=True) as bar:
                task = bar.add_task(text, total=total)
                yield (lambda done: bar.update(task, completed=done)), result
        else:
            quarters = iter((0.25, 0.5, 0.75))
            mark = next(quarters) * total

            def update(done: int) -> None:
                nonlocal mark
                if done >= mark:
                    self.note(f"{text}: {done / total:.0%}")
                    mark = next((q * total for q in quarters if q * total > done), float("inf"))

            yield update, result
        self._took(text, started, result)

    def table(self, result: "Result") -> None:
        """What it took."""
        table = Table(show_header=False, title="Through five hops and back", title_justify="left")
        for name, value in rows(result):
            table.add_row(name, value)
        self._console.print(table)
        self._console.print(NEXT_STEPS, markup=False)


def rows(result: "Result") -> list[tuple[str, str]]:
    """The table's lines."""
    page, file, packets = result.page, result.file, result.packets
    charged, money, used = result.bytes_charged, result.money, result.tickets_used
    faucet, price, fee, left = map(format_nym, (money.funded, money.price, money.fee, money.left))
    size = human_bytes(money.ticket_bytes)
    cost = format_nym(round(charged / money.ticket_bytes * money.ticket_price))
    page_size, page_seconds = sum(part.size for part in page), max(part.total for part in page)
    page_text = (
        f"first byte {page[0].first_byte:.2f} s, all of {human_bytes(page_size)} after {page_seconds:.2f} s"
    )
    file_text = f"first byte {file.first_byte:.2f} s, {human_bytes(file.size / file.total)}/s, SHA-256 right"
    real = f"{packets['sent_real']:,} real"
    supply = f"{packets['sent_reply_packets']:,} with reply packets for the exit"
    again = f"{packets['sent_retransmitted']:,} retransmitted"
    return [
        ("hops", f"{result.entry} → layer 1 → layer 2 → layer 3 → {result.exit} → exit → web server"),
        ("profile", result.profile),
        ("network up / proxy ready", f"{result.network_seconds:.1f} s / {result.ready_seconds:.1f} s"),
        (f"page, {len(page)} parts", page_text),
        (f"file, {human_bytes(file.size)}", file_text),
        ("packets sent", f"{real} ({supply}, {again}), {packets['sent_cover']:,} cover"),
        ("packets received", f"{packets['replies']:,} replies, {packets['acks']:,} acknowledgements"),
        ("bandwidth used", f"{human_bytes(charged)}, paid with {used} of {money.tickets} tickets of {size}"),
        ("money", f"{faucet} from the faucet, {price} for the book, {fee} fee, {left} left"),
        ("cost of what was used", f"{cost} at {format_nym(round(money.ticket_price))} a ticket"),
    ]
