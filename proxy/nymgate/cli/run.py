"""`nymgate run`: the proxy, in the foreground."""

import os
from collections.abc import Coroutine, Iterable
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
    begin,
    level_flag,
    load_configuration,
)

if TYPE_CHECKING:
    from nymgate.banner import Banner
    from nymgate.daemon import Connected, Proxy
    from nymgate.money_io import Stock


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
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Run the proxy until Ctrl-C or SIGTERM; a second one ends it at once.

    Needs no set-up: keys are made at the first start. Applications use it as SOCKS4a, SOCKS5 or HTTP proxy, all at
    one address (curl --socks5-hostname, ALL_PROXY=socks5h://127.0.0.1:1080, HTTPS_PROXY=http://127.0.0.1:1080).
    """
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
        "log.level": level_flag(state),
        "log.format": "json" if as_json else None,
    }
    effective = load_configuration(config, flags)
    from nymgate import daemon, wiring
    from nymgate.config_layers import data_dir as data_folder
    from nymgate.logs import configure_logs

    settings = effective.config
    configure_logs(
        level=settings.log.level, style=settings.log.format, destinations=settings.log.destinations
    )
    plan = wiring.make_plan(settings, data_folder(settings, os.environ))

    def announce(proxy: "Proxy", connected: "Connected", stock: "Stock | None") -> None:
        banner = banner_of(proxy, connected, stock)
        if as_json or settings.log.format == "json":
            daemon.log.info("ready", **banner.fields())
        else:
            typer.echo("\n".join(banner.lines()))

    run_loop(daemon.run(plan, announce=announce, reread=lambda: load_configuration(config, flags).config))


def banner_of(proxy: "Proxy", connected: "Connected", stock: "Stock | None" = None) -> "Banner":
    """The first lines' facts."""
    from nym_sphinx import b58encode
    from nymgate import __version__
    from nymgate.banner import Banner
    from nymgate.detect import Speaks

    plan = proxy.plan
    return Banner(
        version=__version__,
        network=plan.network.name,
        entry=b58encode(connected.entry.identity),
        exit=str(connected.exit.recipient),
        profile=plan.profile,
        sleep_after_seconds=plan.config.mixnet.sleep_after,
        addresses=_written(proxy.addresses),
        socks=_written(proxy.addresses_apart[Speaks.SOCKS]),
        http=_written(proxy.addresses_apart[Speaks.HTTP]),
        anonymous=plan.config.mixnet.replies == "anonymous",
        stock=stock,
        identities=plan.config.isolation.max_identities if plan.config.isolation.by else 0,
    )


def _written(addresses: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    return tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses)


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        import asyncio

        asyncio.run(main)
    else:
        uvloop.run(main)
