"""What a purchase shows: price and fee before it, a bar per step on a terminal, plain lines elsewhere."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from nym_credentials.money import format_coin
from nym_credentials.purchase.steps import Progress as PurchaseProgress
from nym_credentials.purchase.steps import Step
from nymgate.cli.money import coin_fields
from nymgate.errors import ConfigError
from nymgate.units import human_bytes
from zknym import TICKETS_PER_BOOK, TicketType

if TYPE_CHECKING:
    from nym_credentials.chain.source import Quote
    from nym_credentials.purchase.records import Purchase
    from nym_credentials.store.records import BookInfo

PLAIN_COLUMNS: Final = 120
SPENDABLE_DAYS: Final = 7
_LABEL_PREFIX: Final = "v1-"
_STEPS: Final = (Step.CHECK, Step.PAY, Step.CONFIRM, Step.ISSUE)
_TEXTS: Final = {
    Step.CHECK: "enough signers are ready",
    Step.PAY: "deposit sent",
    Step.CONFIRM: "deposit on the chain",
    Step.ISSUE: "shares of the book",
}


def parse_type(text: str) -> TicketType:
    """``mixnet-entry`` or ``v1-mixnet-entry``. ConfigError otherwise."""
    labels = {kind.label.removeprefix(_LABEL_PREFIX): kind for kind in TicketType}
    try:
        return labels[text.removeprefix(_LABEL_PREFIX)]
    except KeyError:
        raise ConfigError(f'There is no ticket type "{text}".', f"Known are {', '.join(labels)}.") from None


def quote_fields(quote: "Quote", ticket_type: TicketType) -> dict[str, Any]:
    """For --json."""
    return {
        "address": quote.address,
        "type": ticket_type.label,
        "books": quote.count,
        "tickets": quote.count * TICKETS_PER_BOOK,
        "price": coin_fields(quote.price.best),
        "reduced": quote.price.best != quote.price.default,
        "fee": coin_fields(quote.fee),
        "fee_is_simulated": quote.fee_is_simulated,
        "total": coin_fields(quote.total),
        "balance": coin_fields(quote.balance),
        "books_affordable": quote.affordable,
        "enough": quote.affordable >= quote.count,
    }


def quote_lines(quote: "Quote", ticket_type: TicketType) -> list[str]:
    """For people."""
    kind = ticket_type.label.removeprefix(_LABEL_PREFIX)
    size = human_bytes(quote.count * TICKETS_PER_BOOK * ticket_type.bytes_per_ticket)
    books = "1 book" if quote.count == 1 else f"{quote.count} books"
    special = " (a price of this account's own)" if quote.price.best != quote.price.default else ""
    fee = "" if quote.fee_is_simulated else "at most about "
    tickets = quote.count * TICKETS_PER_BOOK
    less = f": enough for {quote.affordable} only" if quote.affordable else ": not enough"
    enough = "" if quote.affordable >= quote.count else less
    return [
        f"{books} of {kind}: {tickets} tickets, {size}, to be spent within {SPENDABLE_DAYS} days",
        f"  price    {format_coin(quote.price.best)} a book{special}",
        f"  fee      {fee}{format_coin(quote.fee)} a deposit",
        f"  total    {format_coin(quote.total)}",
        f"  account  {quote.address} has {format_coin(quote.balance)}{enough}",
    ]


def book_text(book: "BookInfo | None", purchase: "Purchase") -> str:
    """What was bought."""
    if book is None:  # held back, or gone again
        return f"purchase {purchase.id} is done"
    number = "" if purchase.deposit is None else f", deposit {purchase.deposit.deposit_id}"
    return f"book {book.book_id}: {book.remaining} tickets, until {book.expiration} (UTC){number}"


class PurchaseShow:
    """Use it as a context manager around the purchase; `watch` is told of every step."""

    def __init__(self, *, silent: bool = False) -> None:
        width = None if sys.stdout.isatty() else PLAIN_COLUMNS
        self._console = Console(file=sys.stdout, quiet=silent, highlight=False, soft_wrap=True, width=width)
        self._progress: Progress | None = None
        self._bars: dict[Step, TaskID] = {}
        self._book: object = None
        self._number = 0
        self._said: set[tuple[object, Step]] = set()

    def note(self, text: str) -> None:
        """Plain lines."""
        self._console.print(text, markup=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_bars()

    def watch(self, progress: PurchaseProgress) -> None:
        """One step of one purchase."""
        if self._console.is_terminal and not self._console.quiet:
            self._on_terminal(progress)
        else:
            self._in_lines(progress)

    def _on_terminal(self, progress: PurchaseProgress) -> None:
        if progress.purchase.id != self._book:
            self.end_bars()
            self._book, self._number = progress.purchase.id, self._number + 1
            columns = (
                SpinnerColumn(finished_text="✓"),
                TextColumn("{task.description:<26}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[count]:<6}"),
                TimeElapsedColumn(),
            )
            self._progress = Progress(*columns, console=self._console)
            self._progress.start()
            self._bars = {
                step: self._progress.add_task(_TEXTS[step], start=False, visible=False, total=1, count="")
                for step in _STEPS
            }
        bars = self._progress
        assert bars is not None
        for step in _STEPS:
            bar = self._bars[step]
            if step is progress.step:
                if not bars.tasks[bar].started:
                    bars.start_task(bar)
                bars.update(bar, visible=True)
                if progress.threshold:
                    count = f"{progress.shares}/{progress.threshold}"
                    bars.update(bar, total=progress.threshold, completed=progress.shares, count=count)
                else:
                    bars.update(bar, total=None)
                return
            bars.start_task(bar)
            total = bars.tasks[bar].total or 1
            bars.update(bar, total=total, completed=total, visible=True)
        # DONE: all of them are full

    def end_bars(self) -> None:
        """Leave the bars as they are, before something else is shown."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _in_lines(self, progress: PurchaseProgress) -> None:
        seen = (progress.purchase.id, progress.step)
        if seen in self._said or progress.step not in _TEXTS:
            return
        self._said.add(seen)
        self.note(f"  {progress.step.value} …")
