"""Puts a configuration into the terms of the packages below. The only module that knows all of them; no I/O.

Tickets are plugged into the gateway link here (`LinkTickets`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from nym_credentials.errors import CredentialsError
from nym_credentials.tickets.rules import ClockWatch
from nym_exit.errors import ExitError
from nym_exit.options import ExitOptions
from nym_exit.stream_options import StreamOptions
from nym_exit.surb_policy import SurbPolicy
from nym_mixnet.client_records import ClientOptions
from nym_mixnet.errors import ErrorKind, MixnetError, NoTickets, StoreError, StoreInUse, TopologyError
from nym_mixnet.gateway_wire import REFILL_THRESHOLD_BYTES
from nym_mixnet.link_state import LinkOptions
from nym_mixnet.profiles import PROFILES, TrafficProfile
from nym_mixnet.tickets import PreparedTicket
from nym_mixnet.topology_io import FileSource, NymApiSource
from nym_sphinx import Recipient
from nymgate.access.judge import AccessRules
from nymgate.access.plan import access_rules, refuse_exposure, tcp_addresses, unix_paths
from nymgate.config import Config
from nymgate.errors import ConfigError, DependencyFailed, ExitCode, NymgateError, StoreBusy
from nymgate.exits.choice import ANYWHERE, Wish
from nymgate.exits.pool import PoolLimits
from nymgate.listener.detect import Speaks
from nymgate.listener.handshake import Target
from nymgate.listener.server import ServerOptions
from nymgate.networks import Network, resolve_network
from nymgate.purse.money import MoneyPlan, explain_money, money_plan
from nymgate.sections.listen import NO_RESOLVER
from nymgate.units import split_host_port
from nymgate.ways.directory_io import ApiDirectory, FileDirectory
from nymgate.ways.upstream_io import UpstreamOptions
from zknym import TicketType

if TYPE_CHECKING:
    import socket

TICKET_RETRY_LIMIT_SECONDS: Final = 30.0
QUESTION_SLOTS: Final = 24
"""Three exits asked at once, four packets each, and as much of others before them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a configuration asks for. ``entry`` and ``exit`` are None where it does not name one node in full."""

    network: Network
    folder: Path
    profile: TrafficProfile
    entry: bytes | None
    exit: Recipient | None
    listen: tuple[tuple[str, int], ...]
    """Where everything is spoken that is spoken at all."""
    listen_apart: tuple[tuple[Speaks, tuple[tuple[str, int], ...]], ...]
    """Where only some of it is."""
    listen_unix: tuple[tuple[Speaks, Path], ...]
    """Where applications of this machine connect by way of the file system."""
    access: AccessRules
    config: Config
    money: MoneyPlan
    entry_wish: Wish = ANYWHERE
    """Which entries will do, by country too."""
    exit_wish: Wish = ANYWHERE
    worker: int = 0
    """The number of the worker that this plan is for; 0 where there is one process for all."""
    workers: int = 1
    """How many processes share tickets and listening sockets."""
    shared: Path | None = None
    """The folder that they share, where it is not ``folder``."""
    metrics_socket: "socket.socket | None" = field(default=None, compare=False)
    """One that systemd opened for metrics, in place of `[listen] metrics`."""


def make_plan(config: Config, data_dir: Path) -> Plan:
    """Resolve names and parse addresses. ConfigError for what only shows when values are put together."""
    network = _network(config, data_dir)
    refuse_exposure(config)
    entry_wish, exit_wish = Wish.parse(config.mixnet.entry), Wish.parse(config.mixnet.exit)
    if entry_wish.identity is not None and entry_wish.identity == exit_wish.identity:
        raise ConfigError(
            "mixnet.entry and mixnet.exit are at the same gateway, which would see both who asks and for "
            "what.",
            "Choose another entry or another exit, or leave one of them to auto.",
        )
    if exit_wish.recipient is None and config.mixnet.topology_file:
        raise ConfigError(
            f'mixnet.topology_file is set and mixnet.exit is "{config.mixnet.exit}", but such a file names no exits.',
            "Give the exit's full address, or take the topology from a nym-api.",
        )
    if entry_wish.countries and config.mixnet.topology_file:
        raise ConfigError(
            f'mixnet.topology_file is set and mixnet.entry is "{config.mixnet.entry}", but such a file names no '
            "countries.",
            "Give the entry's identity, or take the topology from a nym-api.",
        )
    return Plan(
        network=network,
        folder=data_dir / network.name,  # keys and gateways of one network mean nothing to another
        profile=PROFILES[config.mixnet.profile],
        entry=entry_wish.identity,
        exit=exit_wish.recipient,
        listen=tcp_addresses(config.listen.mixed),
        listen_apart=(
            (Speaks.SOCKS, tcp_addresses(config.listen.socks)),
            (Speaks.HTTP, tcp_addresses(config.listen.http)),
        ),
        listen_unix=tuple(
            (speaks, path)
            for speaks, written in (
                (Speaks.MIXED, config.listen.mixed),
                (Speaks.SOCKS, config.listen.socks),
                (Speaks.HTTP, config.listen.http),
            )
            for path in unix_paths(written)
        ),
        access=access_rules(config, network),
        config=config,
        money=money_plan(config, resolve_network(config.network, data_dir), data_dir / network.name),
        entry_wish=entry_wish,
        exit_wish=exit_wish,
    )


def with_config(plan: Plan, config: Config) -> Plan:
    """The same plan by a configuration that differs in what may change while running (``reload``)."""
    refuse_exposure(config)
    money = plan.money
    fresh = money_plan(config, money.network, money.store.folder)
    return replace(
        plan,
        config=config,
        access=access_rules(config, plan.network),
        money=replace(money, config=config, limits=fresh.limits, settings=fresh.settings),
    )


def topology_source(plan: Plan, watch: ClockWatch | None = None) -> NymApiSource | FileSource:
    """Where the list of nodes comes from. ``watch`` compares clocks with it."""
    if plan.config.mixnet.topology_file:
        return FileSource(_topology_file(plan.config))
    return NymApiSource(plan.network.nym_api, on_date=watch.date_header if watch is not None else None)


def directory(config: Config, data_dir: Path) -> ApiDirectory | FileDirectory:
    """The same for those who only want to look."""
    if config.mixnet.topology_file:
        return FileDirectory(_topology_file(config))
    return ApiDirectory(_network(config, data_dir).nym_api)


def _network(config: Config, data_dir: Path) -> Network:
    network = resolve_network(config.network, data_dir)
    return replace(network, nym_api=tuple(config.mixnet.nym_api)) if config.mixnet.nym_api else network


def _topology_file(config: Config) -> Path:
    return Path(config.mixnet.topology_file).expanduser()


def client_options(plan: Plan) -> ClientOptions:
    """Options of the mixnet client."""
    return ClientOptions(use_cover_slots_for_data=plan.config.mixnet.data_in_cover_slots)


def link_options(plan: Plan) -> LinkOptions:
    """Options of the gateway link."""
    if not plan.money.pay:
        return LinkOptions()
    mark = (
        plan.config.tickets.ticket_size * REFILL_THRESHOLD_BYTES // TicketType.MIXNET_ENTRY.bytes_per_ticket
    )
    # Asking the store is cheap, and tickets may be bought by another process at any moment.
    return LinkOptions(claim_threshold_bytes=mark, claim_retry_limit_seconds=TICKET_RETRY_LIMIT_SECONDS)


def exit_options(plan: Plan) -> ExitOptions:
    """Options of the exit client."""
    config = plan.config
    buffer = config.streams.buffer
    return ExitOptions(
        anonymous=config.mixnet.replies == "anonymous",
        surbs=SurbPolicy(bank_target=config.mixnet.surb_bank),
        stream=StreamOptions(
            gap_limit_seconds=config.streams.gap_limit,
            idle_limit_seconds=config.streams.idle_limit,
            write_high_water_bytes=buffer,
            write_low_water_bytes=buffer * 3 // 8,
        ),
        open_timeout_seconds=config.streams.connect_timeout,
        max_streams=config.streams.limit,
    )


def pool_limits(plan: Plan) -> PoolLimits:
    """Options of the exit pool. A profile with few slots takes its time to send a question."""
    waits = QUESTION_SLOTS * (plan.profile.message_interval_seconds or 0.0)
    usual = PoolLimits(rotate=plan.config.mixnet.exit_rotation)
    return replace(
        usual,
        suspect_least=usual.suspect_least + waits / 2,
        suspect_most=usual.suspect_most + waits / 2,
        ask_least=usual.ask_least + waits,
        ask_most=usual.ask_most + waits,
    )


def server_options(plan: Plan) -> ServerOptions:
    """Options of the listener."""
    streams, admission = plan.config.streams, plan.config.admission
    return ServerOptions(
        handshake_timeout_seconds=streams.handshake_timeout,
        keep_alive_seconds=streams.keep_alive,
        limit=streams.limit,
        per_caller=admission.per_caller,
        per_destination=admission.per_destination,
        queue_per_caller=admission.queue,
        queue_seconds=admission.queue_timeout,
        buffer_bytes=streams.buffer,
        early_success=streams.early_success,
        resolver=resolver(plan),
    )


def resolver(plan: Plan) -> Target | None:
    """Whom names are looked up at; None where that is not wanted."""
    asked = plan.config.streams.resolver or plan.network.resolver
    return None if asked == NO_RESOLVER else Target(*split_host_port(asked))


def upstream_options(plan: Plan) -> UpstreamOptions:
    """Options of the listener's upstream."""
    streams = plan.config.streams
    return UpstreamOptions(
        connect_timeout_seconds=streams.connect_timeout, early_success=streams.early_success
    )


def is_hopeless(error: MixnetError | ExitError | NymgateError, plan: Plan) -> bool:
    """Whether trying again cannot help: what a person wrote down is wrong, not what the network does."""
    if isinstance(error, NymgateError):
        return error.exit_code not in (ExitCode.NETWORK, ExitCode.EXHAUSTED)
    if isinstance(error, StoreError):
        return True
    if isinstance(error, TopologyError) and plan.config.mixnet.topology_file:
        return True
    return error.kind is ErrorKind.CONFIG


class TicketStock(Protocol):
    """Stored tickets: ``nym_credentials.tickets.source_io.StoredTickets``."""

    async def prepare(self, gateway_identity: bytes) -> PreparedTicket:
        """A ticket made out to that gateway. Raises CredentialsError."""

    async def stated(self, gateway_identity: bytes, remaining: int) -> None:
        """The gateway stated the allowance."""


class LinkTickets:
    """The gateway link's ``TicketSource``: stored tickets, with their troubles in the link's terms."""

    def __init__(self, stock: TicketStock, remaining: Callable[[], int | None]) -> None:
        """``remaining``: the allowance in bytes that the gateway stated last."""
        self._stock = stock
        self._remaining = remaining
        self.trouble: NymgateError | None = None
        """Why there was no ticket when one was wanted last; None after one was made out."""

    async def prepare(self, gateway_identity: bytes) -> PreparedTicket:
        """See ``TicketSource``. Raises NoTickets."""
        try:
            remaining = self._remaining()
            if remaining is not None:
                await self._stock.stated(gateway_identity, remaining)
            ticket = await self._stock.prepare(gateway_identity)
        except CredentialsError as error:
            self.trouble = self.explained(error)
            raise NoTickets(f"{phrase(self.trouble)}. {self.trouble.todo}".rstrip(".")) from error
        self.trouble = None
        return ticket

    def explained(self, error: CredentialsError) -> NymgateError:
        """What is wrong, and what to do, when there is no ticket."""
        return explain_money(error)


_EXIT_CODES: Final = {
    ErrorKind.CONFIG: ExitCode.USAGE,
    ErrorKind.NETWORK: ExitCode.NETWORK,
    ErrorKind.PROTOCOL: ExitCode.FAILED,
    ErrorKind.REFUSED: ExitCode.REFUSED,
    ErrorKind.EXHAUSTED: ExitCode.EXHAUSTED,
    ErrorKind.INTERNAL: ExitCode.FAILED,
}
_ADVICE: Final = {
    ErrorKind.CONFIG: "Correct the configuration; `nymgate config show` tells where each value comes from.",
    ErrorKind.NETWORK: "Check this machine's connection and try again.",
    ErrorKind.PROTOCOL: "Try another gateway or network; if it stays, report it.",
    ErrorKind.REFUSED: "Try another gateway.",
    ErrorKind.EXHAUSTED: "Try another gateway, or wait.",
    ErrorKind.INTERNAL: "Run again with -vv, and report it if it stays.",
}


def phrase(error: Exception) -> str:
    """An error as part of a sentence."""
    return (error.what if isinstance(error, NymgateError) else str(error)).rstrip(".")


def explain(error: MixnetError | ExitError | NymgateError) -> NymgateError:
    """An error of the packages below in the terms of this one: two sentences and an exit code."""
    if isinstance(error, NymgateError):
        return error
    what = phrase(error)
    what = f"{what[:1].upper()}{what[1:]}."
    if isinstance(error, StoreInUse):
        what = what.partition(":")[0] + "."  # its advice is ours below
        return StoreBusy(what, "Stop that one first, or give this one its own folder with --data-dir.")
    todo = _ADVICE[error.kind]
    if isinstance(error, ExitError) and "; " in what:  # these end in advice of their own
        what, _, own = what.rpartition("; ")
        what, todo = f"{what}.", own[:1].upper() + own[1:]
    code = getattr(error, "code", None) or f"E_{error.layer.upper()}"
    return DependencyFailed(what, todo, layer=error.layer, code=code, exit_code=_EXIT_CODES[error.kind])
