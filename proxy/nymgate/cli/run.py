"""`nymgate run`: the proxy, in the foreground."""

import os
import signal
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nymgate.cli.options import (
    ConfigOption,
    DataDirOption,
    EntryOption,
    ExitOption,
    JsonOption,
    ListenOption,
    NetworkOption,
    NymApiOption,
    ProfileOption,
    QuietOption,
    TopologyFileOption,
    VerboseOption,
    WorkersOption,
    begin,
    level_flag,
    load_configuration,
)
from nymgate.errors import NymgateError

if TYPE_CHECKING:
    import socket

    from nymgate import wiring, workers_io
    from nymgate.banner import Banner
    from nymgate.daemon import Connected, Proxy
    from nymgate.listener.detect import Speaks
    from nymgate.purse.money_io import Stock
    from nymgate.watch.web_io import WebServer
    from nymgate.workers import Ready
    from nymgate.workers_io import Workers


def run(
    ctx: typer.Context,
    config: ConfigOption = None,
    network: NetworkOption = None,
    listen: ListenOption = None,
    entry: EntryOption = None,
    exit_: ExitOption = None,
    profile: ProfileOption = None,
    nym_api: NymApiOption = None,
    topology_file: TopologyFileOption = None,
    data_dir: DataDirOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Run the proxy until Ctrl-C or SIGTERM; a second one ends it at once.

    Needs no set-up: keys are made at the first start. Applications use it as SOCKS4a, SOCKS5 or HTTP proxy, all at
    one address (curl --socks5-hostname, ALL_PROXY=socks5h://127.0.0.1:1080, HTTPS_PROXY=http://127.0.0.1:1080).
    """
    # Until it can be heeded: it must not end what has just been started.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    state = begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    flags = {
        "network": network,
        "listen.mixed": listen,
        "mixnet.entry": entry,
        "mixnet.exit": exit_,
        "mixnet.profile": profile,
        "mixnet.nym_api": nym_api,
        "mixnet.topology_file": topology_file,
        "data_dir": data_dir,
        "workers": workers,
        "log.level": level_flag(state),
        "log.format": "json" if as_json else None,
    }
    effective = load_configuration(config, flags)
    from nymgate import daemon, wiring
    from nymgate.config_layers import data_dir as data_folder
    from nymgate.listener.activation_io import Activated, in_place
    from nymgate.logs import configure_from

    settings = effective.config
    configure_from(settings.log)
    plan = wiring.make_plan(settings, data_folder(settings, os.environ))
    activated = Activated.of_process()
    plan, handed = in_place(plan, activated)
    activated.close()
    if settings.workers > 1:
        run_workers(plan, handed, config, flags, as_json=as_json or settings.log.format == "json")
        return

    def announce(proxy: "Proxy", connected: "Connected", stock: "Stock | None") -> None:
        banner = banner_of(proxy, connected, stock)
        if as_json or settings.log.format == "json":
            daemon.log.info("ready", **banner.fields())
        else:
            typer.echo("\n".join(banner.lines()))

    run_loop(
        daemon.run(
            plan, announce=announce, reread=lambda: load_configuration(config, flags).config, handed=handed
        )
    )


def run_workers(
    plan: "wiring.Plan",
    handed: Sequence[tuple["Speaks", "socket.socket"]],
    config: Path | None,
    flags: Mapping[str, Any],
    *,
    as_json: bool,
) -> None:
    """The same with several processes."""
    from nymgate import workers_io
    from nymgate.logs import configure_from

    async def main() -> None:
        workers = workers_io.Workers(
            plan, plan.config.workers, config_file=config, flags=flags, handed=handed
        )
        await workers_io.run(workers, announce=announce, reread=reread)

    def announce(workers: "workers_io.Workers") -> None:
        banner = banner_of_workers(workers)
        if as_json:
            workers_io.log.info("ready", **banner.fields())
        else:
            typer.echo("\n".join(banner.lines()))

    def reread() -> None:
        try:
            settings = load_configuration(config, flags).config
        except NymgateError:
            return  # each worker says what is wrong
        configure_from(settings.log)

    run_loop(main())


def ready_facts(connected: "Connected", stock: "Stock | None") -> "Ready":
    """What a worker tells its parent for the first lines."""
    from nym_sphinx import b58encode
    from nymgate.workers import Ready

    entry, exit_ = b58encode(connected.entry.identity), str(connected.exit.recipient)
    if stock is None:
        return Ready(entry, exit_)
    expires = stock.expires.isoformat() if stock.expires is not None else None
    return Ready(entry, exit_, stock.tickets, expires, stock.unfinished)


def banner_of_workers(workers: "Workers") -> "Banner":
    """The first lines' facts, of all workers together."""
    from nymgate.purse.money_io import Stock

    plan = workers.plan
    ready = list(workers.ready.values())
    stocks = [
        Stock(one.tickets, date.fromisoformat(one.expires) if one.expires else None, one.unfinished)
        for one in ready
        if one.tickets is not None
    ]
    return _banner(
        plan,
        workers.addresses,
        entry=", ".join(dict.fromkeys(one.entry for one in ready)),
        exit_=", ".join(dict.fromkeys(one.exit for one in ready)),
        stock=stocks[-1] if stocks else None,
        web=workers.web,
        workers=len(workers.slots),
    )


def banner_of(proxy: "Proxy", connected: "Connected", stock: "Stock | None" = None) -> "Banner":
    """The first lines' facts."""
    from nym_sphinx import b58encode
    from nymgate.listener.detect import Speaks

    return _banner(
        proxy.plan,
        proxy.addresses_apart | {Speaks.MIXED: proxy.addresses},
        entry=b58encode(connected.entry.identity),
        exit_=str(connected.exit.recipient),
        stock=stock,
        web=proxy.watch.web,
    )


def _banner(
    plan: "wiring.Plan",
    addresses: "Mapping[Speaks, Iterable[tuple[str, int]]]",
    *,
    entry: str,
    exit_: str,
    stock: "Stock | None",
    web: "WebServer | None",
    workers: int = 1,
) -> "Banner":
    from nymgate import __version__
    from nymgate.banner import Banner
    from nymgate.listener.detect import Speaks
    from nymgate.units import join_address

    written = {
        speaks: tuple(join_address(host, port) for host, port in bound) for speaks, bound in addresses.items()
    }
    isolation = plan.config.isolation
    return Banner(
        version=__version__,
        network=plan.network.name,
        entry=entry,
        exit=exit_,
        profile=plan.profile,
        sleep_after_seconds=plan.config.mixnet.sleep_after,
        addresses=written[Speaks.MIXED],
        socks=written[Speaks.SOCKS],
        http=written[Speaks.HTTP],
        anonymous=plan.config.mixnet.replies == "anonymous",
        stock=stock,
        identities=isolation.max_identities if isolation.by else 0,
        workers=workers,
        page=web.url if web is not None else None,
    )


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        import asyncio

        asyncio.run(main)
    else:
        uvloop.run(main)
