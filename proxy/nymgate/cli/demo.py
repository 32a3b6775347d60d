"""`nymgate demo`: the main job on this machine alone, from an empty wallet to a page and a file through five hops.

Everything is real but the distance and the money: nodes in processes of their own, Sphinx packets over sockets,
mixing delays, deposits in blocks, tickets that gateways verify, the proxy as `nymgate run` wires it, an application
that knows nothing but its SOCKS setting.
"""

import asyncio
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nymgate.cli.options import JsonOption, QuietOption, VerboseOption, begin, level_flag
from nymgate.errors import DemoFailed

if TYPE_CHECKING:
    from nym_localnet.localnet_io import Localnet
    from nymgate.cli.demo_fetch import Fetched
    from nymgate.cli.demo_money import Bought
    from nymgate.cli.demo_show import Show
    from nymgate.cli.demo_site import Site
    from nymgate.daemon import Connected, Proxy

LIMIT_SECONDS: Final = 120.0
FILE_BYTES: Final = 4_000_000
PROFILE: Final = "fast"


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo measured."""

    network_seconds: float
    ready_seconds: float
    entry: str
    exit: str
    profile: str
    page: "tuple[Fetched, ...]"
    file: "Fetched"
    packets: dict[str, int]
    bytes_charged: int
    tool: str
    money: "Bought"
    tickets_used: int


def demo(
    ctx: typer.Context,
    size: Annotated[
        int, typer.Option(metavar="BYTES", help="Size of the file to download.", min=1)
    ] = FILE_BYTES,
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="Traffic profile: standard, fast, thrifty or uncovered.")
    ] = PROFILE,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Bring up a whole Nym network on loopback, buy tickets there, fetch a page and a file, and say what it took.

    Needs no network, no money and no set-up; leaves nothing behind.
    """
    state = begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    from nym_localnet.errors import LocalnetError
    from nymgate.cli.demo_show import Show
    from nymgate.cli.run import run_loop
    from nymgate.logs import configure_logs

    configure_logs(level=level_flag(state) or "error", style="json" if as_json else "auto")
    show = Show(silent=as_json or quiet > 0)
    results: list[Result] = []

    async def main() -> None:
        from nymgate.signals_io import until_signal

        async def work() -> None:
            try:
                async with asyncio.timeout(LIMIT_SECONDS):
                    results.append(await play(show, size, profile))
            except TimeoutError:
                raise DemoFailed(
                    f"The demo did not end within {LIMIT_SECONDS:.0f} s.",
                    "Try a smaller --size on a slow machine, or run again with -v.",
                ) from None

        await until_signal(work())

    try:
        run_loop(main())
    except LocalnetError as error:
        raise DemoFailed(
            f"The local network failed: {str(error).rstrip('.')}.", "Run again with -v."
        ) from error
    if not results:
        raise DemoFailed("Interrupted.", "Run it again; it leaves nothing behind.")
    if as_json:
        typer.echo(json.dumps(as_dict(results[0])))
    else:
        show.table(results[0])


async def play(show: "Show", size: int, profile: str) -> Result:
    """The whole demo. DemoFailed on any mismatch."""
    from nym_localnet.localnet_io import Localnet
    from nym_localnet.options import LocalnetOptions, Mode
    from nymgate import wiring
    from nymgate.cli.demo_money import obtain
    from nymgate.cli.demo_site import Site
    from nymgate.config_layers import load
    from nymgate.daemon import Proxy

    with tempfile.TemporaryDirectory(prefix="nymgate-demo-") as folder:
        started = time.monotonic()
        with show.step(
            "bringing up 3 mix nodes, 2 gateways, an exit, their directory, a chain and 3 signers"
        ):
            net = Localnet(LocalnetOptions(mode=Mode.PROCESSES, data_dir=Path(folder) / "network", pay=True))
            await net.start()
        network_seconds = time.monotonic() - started
        try:
            flags = {
                "network": str(net.data_dir / "localnet.toml"),
                "listen.mixed": ["127.0.0.1:0"],
                "listen.metrics": "",
                "listen.web": "",
                "mixnet.profile": profile,
                "tickets.top_up": False,  # what is shown is the cost of one book, bought once
            }
            config = load(file=Path("/dev/null"), environ={}, flags=flags).config
            plan = wiring.make_plan(config, Path(folder) / "data")
            money = await obtain(show, plan.money, net.payments.fund)
            async with Site(size) as site:
                started = time.monotonic()
                async with Proxy(plan) as proxy:
                    with show.step(
                        "starting the proxy: keys, a ticket to a gateway, choosing an exit"
                    ) as step:
                        connected = await proxy.ready()
                        used = await tickets_used(proxy)
                        step.result = f"cost: {used} ticket"
                    ready_seconds = time.monotonic() - started
                    meter = Meter(connected, money)
                    fetched = await fetch_all(show, site, proxy.addresses[0][1], Path(folder), meter)
                    used = await tickets_used(proxy)
                    return result_of(net, connected, fetched, network_seconds, ready_seconds, money, used)
        finally:
            await net.close()


class Meter:
    """What each step uses of the allowance that was paid for, cover traffic included."""

    def __init__(self, connected: "Connected", money: "Bought") -> None:
        self._connected, self._money, self._before = connected, money, 0
        self.cost()

    def cost(self) -> str:
        """Since the last call."""
        from nym_credentials.money import format_nym

        stats = self._connected.client.link_stats
        now = stats.bytes_charged if stats is not None else 0
        tickets, self._before = (now - self._before) / self._money.ticket_bytes, now
        return f"cost: {tickets:.4f} ticket = {format_nym(round(tickets * self._money.ticket_price))}"


async def tickets_used(proxy: "Proxy") -> int:
    """Tickets that the gateway took. DemoFailed if one was lost."""
    assert proxy.purse is not None
    totals = await proxy.purse.money.store.totals()
    if totals.given_up:
        raise DemoFailed(f"{totals.given_up} ticket(s) were lost.", "Please report this, with `-v`.")
    return totals.accepted


async def fetch_all(
    show: "Show", site: "Site", proxy_port: int, folder: Path, meter: "Meter"
) -> "tuple[tuple[Fetched, ...], Fetched, str]":
    """The page with all its parts, then the file, each compared with what the server has."""
    from nymgate.cli.demo_fetch import Fetcher

    fetcher = Fetcher.best(proxy_port)
    show.note(fetcher.describe())
    with show.step(f"a page with {len(site.page) - 1} assets") as step:
        page = await fetcher.fetch([site.url(path) for path in site.page], folder / "page")
        step.result = meter.cost()
    with show.progress(f"a file of {site.size:,} bytes", site.size) as (progress, step):
        (file,) = await fetcher.fetch([site.url(site.file)], folder / "file", progress=progress)
        step.result = meter.cost()
    for fetched, path in zip((*page, file), (*site.page, site.file), strict=True):
        if fetched.sha256 != site.sha256(path):
            raise DemoFailed(
                f"What came through differs from what was sent ({fetched.size:,} bytes came).",
                "This is a bug: please report it with the output of `nymgate demo -v`.",
            )
    show.note("every byte is right (SHA-256 compared)")
    return tuple(page), file, fetcher.tool


def result_of(
    net: "Localnet",
    connected: "Connected",
    fetched: "tuple[tuple[Fetched, ...], Fetched, str]",
    network_seconds: float,
    ready_seconds: float,
    money: "Bought",
    tickets: int,
) -> Result:
    """The numbers, from the client's own counters."""
    page, file, tool = fetched
    stats, link = connected.client.stats, connected.client.link_stats
    assert link is not None
    names = {handle.plan.node_id: name for name, handle in net.nodes.items() if name.startswith("gateway")}
    exit_gateway = connected.client.topology.gateway(connected.exit.recipient.gateway)
    return Result(
        network_seconds=network_seconds,
        ready_seconds=ready_seconds,
        entry=names.get(connected.entry.node_id, "gateway"),
        exit=names.get(exit_gateway.node_id, "gateway"),
        profile=connected.client.profile.name,
        page=page,
        file=file,
        packets={
            "sent_real": stats.sent_real,
            "sent_reply_packets": stats.sent_surb_supply,
            "sent_retransmitted": stats.sent_retransmissions,
            "sent_cover": stats.sent_cover,
            "acks": stats.acks_received,
            "replies": stats.replies_received,
            "lost": stats.packets_lost,
        },
        bytes_charged=link.bytes_charged,
        tool=tool,
        money=money,
        tickets_used=tickets,
    )


def as_dict(result: Result) -> dict[str, object]:
    """For --json."""
    return {
        "network_seconds": round(result.network_seconds, 3),
        "ready_seconds": round(result.ready_seconds, 3),
        "hops": [result.entry, "mix layer 1", "mix layer 2", "mix layer 3", result.exit],
        "profile": result.profile,
        "tool": result.tool,
        "page": [fetched.as_dict() for fetched in result.page],
        "file": result.file.as_dict(),
        "packets": result.packets,
        "bytes_charged": result.bytes_charged,
        "money": result.money.as_dict(),
        "tickets_used": result.tickets_used,
    }
