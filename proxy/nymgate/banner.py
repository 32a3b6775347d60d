"""What `run` says first: where to connect, through whom, and what it costs: nobody learns that from the bill."""

from dataclasses import dataclass
from typing import Any

from nym_mixnet.profiles import ENTRY_TICKET_BYTES, TrafficProfile
from nymgate.purse.money_io import Stock
from nymgate.units import format_duration, human_bytes


@dataclass(frozen=True, slots=True)
class Banner:
    """The facts; text and log line are two views of them."""

    version: str
    network: str
    entry: str
    exit: str
    profile: TrafficProfile
    sleep_after_seconds: float
    addresses: tuple[str, ...]
    """Where both SOCKS and HTTP are spoken."""
    anonymous: bool
    stock: Stock | None = None
    """What there is to pay with; None where the free allowance is used."""
    identities: int = 0
    """So many more than the default one may be made for streams that ask; 0 where isolation is off."""
    workers: int = 1
    """Processes, each with a default identity of its own."""
    socks: tuple[str, ...] = ()
    http: tuple[str, ...] = ()
    page: str | None = None
    """URL of the status page, which the PAC file is beside; None where there is none."""

    def fields(self) -> dict[str, Any]:
        """For a log line."""
        costs = self.profile.costs()
        return {
            "version": self.version,
            "network": self.network,
            "entry": self.entry,
            "exit": self.exit,
            "profile": self.profile.name,
            "workers": self.workers,
            "tickets_per_hour": round(self.workers * costs.tickets_per_hour, 2),
            "tickets_per_day": round(self.workers * costs.tickets_per_day, 1),
            "bytes_per_day": round(self.workers * costs.bytes_per_day),
            "sleep_after": format_duration(self.sleep_after_seconds),
            "listening": list(self.addresses),
            "listening_socks": list(self.socks),
            "listening_http": list(self.http),
            "page": self.page,
            "pac": self.pac,
            "anonymous_replies": self.anonymous,
            "identities_at_most": 1 + self.identities,
            "identity_costs": self.identity_cost(),
            **self._stock_fields(),
        }

    def _stock_fields(self) -> dict[str, Any]:
        stock = self.stock
        if stock is None:
            return {"pays": False}
        return {
            "pays": True,
            "tickets": stock.tickets,
            "tickets_until": stock.expires.isoformat() if stock.expires is not None else None,
            "unfinished_purchases": stock.unfinished,
        }

    def lines(self) -> list[str]:
        """For people."""
        first = f"nymgate {self.version} on {self.network}"
        proxies = ", ".join(
            [f"socks5h://{address}" for address in self.addresses + self.socks]
            + [f"http://{address}" for address in self.addresses + self.http]
        )
        lines = [
            f"{first}: ready{self._workers()}. Proxy at {proxies}",
            f"  entry    {self.entry}",
            f"  exit     {self.exit}",
            f"  profile  {self.cost()}",
            f"  tickets  {self.tickets()}",
            f"  isolated {self.isolation()}",
        ]
        if self.page is not None:
            lines.append(f"  page     {self.page} (PAC file for browsers: {self.pac})")
        if not self.anonymous:
            lines.append(
                "  WARNING  replies = own-address: the exit learns this client's mixnet address and can link "
                "everything it does"
            )
        return lines

    @property
    def pac(self) -> str | None:
        """URL of the PAC file."""
        return f"{self.page}proxy.pac" if self.page is not None else None

    def _workers(self) -> str:
        if self.workers == 1:
            return ""
        each = self.profile.costs().tickets_per_hour
        total = (
            f": {self.workers} x {each:.2g} = {self.workers * each:.2g} tickets an hour awake" if each else ""
        )
        return f" with {self.workers} workers{total}"

    def tickets(self) -> str:
        """What is left, and until when."""
        stock = self.stock
        if stock is None:
            return "none are used: the gateway's free allowance"
        if stock.tickets == 0:
            text = "none left; buy some: nymgate account obtain-ticketbooks --amount 1"
        else:
            per_hour = self.workers * self.profile.costs().tickets_per_hour
            hours = f" = {stock.tickets / per_hour:.0f} h awake" if per_hour else ""
            text = f"{stock.tickets} left{hours}, the last until {stock.expires} (UTC)"
        return text + (f"; {stock.unfinished} purchase(s) being finished" if stock.unfinished else "")

    def isolation(self) -> str:
        """What streams cost that ask for an identity of their own."""
        if not self.identities:
            return "off: all streams share one identity"
        return f"up to {self.identities} more identities for callers that ask; each {self.identity_cost()}"

    def identity_cost(self) -> str:
        """What each costs."""
        return identity_cost(self.profile, pays=self.stock is not None)

    def cost(self) -> str:
        """The profile with its price while awake."""
        costs = self.profile.costs()
        if costs.packets_per_second == 0:
            price = "costs nothing while idle"
        else:
            price = (
                f"{human_bytes(costs.bytes_per_second * 3600)} = {costs.tickets_per_hour:.2g} tickets an "
                f"hour awake, {human_bytes(costs.bytes_per_day)} = {costs.tickets_per_day:.0f} tickets a day"
            )
        rest = format_duration(self.sleep_after_seconds)
        each = "" if self.workers == 1 else ", for each worker"
        sleep = "never sleeps" if rest == "never" else f"sleeps after {rest} without streams"
        return f"{self.profile.name}: {price}{each}; {sleep}"


def identity_cost(profile: TrafficProfile, *, pays: bool) -> str:
    """What one more mixnet identity costs: to begin with, and for as long as it is awake."""
    hourly = profile.costs().tickets_per_hour
    awake = f"{hourly:.2g} tickets an hour awake" if hourly else "nothing while idle"
    if not pays:
        return f"uses a free allowance of its own, at the pace of {awake}" if hourly else f"costs {awake}"
    opening = f"1 ticket ({human_bytes(ENTRY_TICKET_BYTES)}) to open its allowance"
    return f"costs {opening}, then {awake}"
