"""A whole Nym network on loopback.

    async with Localnet(LocalnetOptions(mixnodes=3, gateways=2, exits=1)) as net:
        ...  # net.nym_api_url, net.network_json, net.exit_address, net.nodes["mix1"].loss = 0.2

Mix nodes and gateways come up first, then the directory that lists them, then the exits, which are clients
of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from nym_exit.errors import MalformedPolicy
from nym_exit.exit_policy import ExitPolicy
from nym_localnet.desk_settings import DeskSettings
from nym_localnet.directory import Directory, PublishedNode
from nym_localnet.epochs import EpochClock
from nym_localnet.errors import BadOptions, LocalnetError, StartFailed, WorkerLost
from nym_localnet.folder import (
    API_NAME,
    NETWORK_ENV,
    NETWORK_JSON,
    NETWORK_TOML,
    RESOLVER_NAME,
    NetworkState,
    network_env,
    network_toml,
    read_state,
    write_file,
    write_state,
)
from nym_localnet.host_io import LOOPBACK, Host, HostSettings, NodeHost
from nym_localnet.node_handle import NodeHandle
from nym_localnet.nym_api_io import NymApi
from nym_localnet.options import SEED_BYTES, LocalnetOptions, Mode
from nym_localnet.plan import NodeKind, NodePlan, Ports, plan_network, share
from nym_localnet.resolver_io import Resolver
from nym_localnet.sphinx_keys import identity_private, sphinx_private
from nym_localnet.tickets import TicketVerifier
from nym_localnet.worker_host_io import WorkerHost
from nym_mixnet.keys import SigningKey
from nym_mixnet.nym_api import EntryInformation
from nym_mixnet.tasks_io import TaskSet
from nym_mixnet.topology import RoutingNode, Topology, topology_to_network_json
from nym_sphinx import b58encode, x25519_public

if TYPE_CHECKING:
    from nym_localnet.payments_io import Payments

logger = logging.getLogger(__name__)

ROTATION_LEAD_SECONDS: Final = 1.0
"""nodes get their next key so much before the directory publishes it"""


class Localnet:
    """The network. Use it as an async context manager, or call `start` and `close`."""

    def __init__(
        self, options: LocalnetOptions | None = None, *, verifier: TicketVerifier | None = None
    ) -> None:
        self.options = options or LocalnetOptions()
        if verifier is not None and self.options.mode is not Mode.TASKS:
            raise BadOptions("a ticket verifier is an object of this process: use mode tasks with it")
        self._verifier = verifier
        self.nodes: dict[str, NodeHandle] = {}
        """every node of ours by name: mix1…, gateway1…, exit1…"""
        self.data_dir = Path()
        self._temporary: Path | None = None
        self._published_text = ""
        self._seed = b""
        self._hosts: list[Host] = []
        self._api: NymApi | None = None
        self.resolver = Resolver()
        """where clients look names up"""
        self._payments: Payments | None = None
        self._desks: dict[str, DeskSettings] = {}
        self._exit_addresses: dict[str, str] = {}
        self._tasks = TaskSet("localnet")
        self._rotating = asyncio.Lock()

    # Life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Bring everything up; returns when the exits can be reached. `StartFailed` otherwise."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        options = self.options
        self._open_folder()
        try:
            for policy in (options.exit_policy, *options.exit_policies.values()):
                ExitPolicy.parse(policy)
        except MalformedPolicy as error:
            raise BadOptions(f"exit_policy: {error}") from error
        state = read_state(self.data_dir)
        self._seed = options.seed or (state.seed if state else secrets.token_bytes(SEED_BYTES))
        rotation_id = max(options.rotation_id, state.rotation_id if state else 0)
        remembered = dict(state.ports) if state and state.seed == self._seed else {}
        plans = plan_network(options, self._seed, remembered)
        relays = tuple(plan for plan in plans if plan.kind is not NodeKind.EXIT)
        exits = tuple(plan for plan in plans if plan.kind is NodeKind.EXIT)
        payment_ports = await self._start_payments(plans, remembered)
        ports = await self._start_hosts(relays, rotation_id)
        ports |= {name: Ports(port) for name, port in payment_ports.items()}
        directory = self._make_directory(relays, ports, rotation_id)
        self._api = NymApi(directory)
        api_port = await self._start_api(remembered)
        ports[API_NAME] = Ports(api_port)
        ports[RESOLVER_NAME] = Ports(await self._start_resolver(remembered))
        write_state(self.data_dir, NetworkState(self._seed, rotation_id, ports))
        for number, plan in enumerate(exits):
            await self._start_exit(plan, self._hosts[-1 - number % len(self._hosts)])
        self.write_files()
        self._tasks.spawn(self._rotate_on_time(), name="key rotation")

    async def close(self) -> None:
        """Stop everything. Safe to call twice, and after a failed start."""
        await self._tasks.close()
        hosts, self._hosts = self._hosts, []
        for host in reversed(hosts):
            try:
                await host.close()
            except Exception:  # the others have to end all the same
                logger.exception("a part of the network did not end as it should")
        if self._payments is not None:
            await self._payments.close()
            self._payments = None
        if self._api is not None:
            await self._api.close()
        await self.resolver.close()
        self._withdraw_network_file()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    async def wait_lost(self) -> None:
        """Wait for a worker process that ends unasked, and raise `WorkerLost`. Never returns."""
        workers = [host for host in self._hosts if isinstance(host, WorkerHost)]
        if not workers:
            await asyncio.Event().wait()
        async with TaskSet("watch workers") as tasks:
            waits = [tasks.spawn(worker.lost.wait(), name=worker.name) for worker in workers]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        lost = next(worker for worker in workers if worker.lost.is_set())
        raise WorkerLost(f"{lost.name} has ended")

    # What there is

    @property
    def nym_api_url(self) -> str:
        """Base URL of the directory, with a slash at its end."""
        return f"http://{LOOPBACK}:{self.nym_api.port}/"

    @property
    def nym_api(self) -> NymApi:
        """The directory server, with its fault knobs."""
        if self._api is None:
            raise LocalnetError("the network is not up")
        return self._api

    @property
    def payments(self) -> Payments:
        """Chain, faucet and signers of a network with `pay`."""
        if self._payments is None:
            raise LocalnetError("this network has no chain: ask for pay=True, and start it")
        return self._payments

    @property
    def topology(self) -> Topology:
        """The network as a client sees it now."""
        return self.nym_api.directory.topology(time.time())

    @property
    def network_json(self) -> str:
        """The text of `network.json`, which upstream's clients accept as well (`--custom-mixnet`)."""
        return topology_to_network_json(self.topology)

    @property
    def gateways(self) -> list[RoutingNode]:
        """The gateways that clients can connect to, nodes from outside included."""
        return self.topology.entry_gateways()

    @property
    def exit_addresses(self) -> tuple[str, ...]:
        """Nym addresses of our exits."""
        return tuple(self._exit_addresses.values())

    @property
    def exit_address(self) -> str:
        """Nym address of the first exit."""
        if not self._exit_addresses:
            raise LocalnetError("the network has no exit: ask for exits=1")
        return next(iter(self._exit_addresses.values()))

    @property
    def rotation_id(self) -> int:
        """The current key rotation."""
        return self.nym_api.directory.clock.rotation_at(time.time())

    # What can be done

    async def rotate(self) -> int:
        """Begin the next key rotation now; returns its id. The previous keys stay good until the one after.

        Exits learn the new keys at once; other clients when they ask the directory, every 5 minutes as a rule.
        """
        async with self._rotating:
            rotation_id = self.rotation_id + 1
            await self._rotate_nodes(rotation_id)
            directory = self.nym_api.directory
            directory.clock = directory.clock.moved_to_rotation(rotation_id, time.time())
            await self._published()
        return rotation_id

    def write_files(self) -> None:
        """Write what tells other programs about the network into its folder."""
        payments = self._payments
        resolver = f"{LOOPBACK}:{self.resolver.port}"
        if payments is None:
            toml = network_toml(self.nym_api_url, self.exit_addresses, resolver)
            env = network_env(self.nym_api_url)
        else:
            toml = network_toml(
                self.nym_api_url, self.exit_addresses, resolver, body=payments.network_toml(self.nym_api_url)
            )
            env = payments.network_env(self.nym_api_url)
        write_file(self.data_dir / NETWORK_JSON, self.network_json)
        write_file(self.data_dir / NETWORK_TOML, toml)
        write_file(self.data_dir / NETWORK_ENV, env)
        if self.options.network_file is not None:
            write_file(self.options.network_file, toml)
            self._published_text = toml

    # Inside

    def _withdraw_network_file(self) -> None:
        """Not if it tells of another network: one that was there before, or has come since."""
        path, text, self._published_text = self.options.network_file, self._published_text, ""
        if path is None or not text:
            return
        with contextlib.suppress(OSError):
            if path.read_text(encoding="utf-8") == text:
                path.unlink()

    def _open_folder(self) -> None:
        if self.options.data_dir is None:
            self._temporary = self.data_dir = Path(tempfile.mkdtemp(prefix="nym-localnet-"))
        else:
            self.data_dir = self.options.data_dir
            try:
                self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise BadOptions(f"the folder {self.data_dir} cannot be made: {error.strerror}") from error

    def _settings(self, rotation_id: int) -> HostSettings:
        options = self.options
        return HostSettings(
            data_dir=str(self.data_dir),
            durable=self._temporary is None,
            rotation_id=rotation_id,
            legacy_frames=options.legacy_frames,
            replay_protection=options.replay_protection,
            max_delay_seconds=options.max_delay_seconds,
            enforce_tickets=options.enforce_tickets or options.pay,
            free_allowance_bytes=options.free_allowance_bytes,
            exit_policy=options.exit_policy,
            exit_policies=dict(options.exit_policies),
            exit_allow_local_ips=options.exit_allow_local_ips,
            desks=self._desks,
            listed_ips=tuple(sorted({node.ip for node in options.external_nodes})),
        )

    async def _start_payments(
        self, plans: tuple[NodePlan, ...], remembered: Mapping[str, Ports]
    ) -> dict[str, int]:
        """Chain and signers come first: gateways are told where they are."""
        if not self.options.pay:
            return {}
        from nym_localnet.payments_io import Payments  # money is loaded where it is used only

        gateways = [plan.name for plan in plans if plan.kind is NodeKind.GATEWAY]
        self._payments = Payments(
            self.options.payment,
            self._seed,
            data_dir=self.data_dir,
            durable=self._temporary is None,
            gateways=gateways,
        )
        ports = await self._payments.start({name: ports.mix for name, ports in remembered.items()})
        self._desks = {name: self._payments.desk_settings(name) for name in gateways}
        return ports

    async def _start_hosts(self, relays: tuple[NodePlan, ...], rotation_id: int) -> dict[str, Ports]:
        settings = self._settings(rotation_id)
        if self.options.mode is Mode.TASKS:
            host = NodeHost(settings, self._verifier)
            self._hosts.append(host)
            self._add_handles(relays, host)
            return await host.start(relays)
        hands = share(relays, self.options.workers or min(os.cpu_count() or 1, len(relays)))
        homes: dict[str, Host] = {}
        for number, hand in enumerate(hands, start=1):
            worker = await WorkerHost.spawn(settings, f"worker {number}")
            self._hosts.append(worker)
            homes |= {plan.name: worker for plan in hand}
        for plan in relays:
            self._add_handles((plan,), homes[plan.name])
        starts = await asyncio.gather(
            *(host.start(hand) for host, hand in zip(self._hosts, hands, strict=True)), return_exceptions=True
        )
        ports: dict[str, Ports] = {}
        for started in starts:
            if isinstance(started, BaseException):
                raise started
            ports |= started
        return ports

    def _add_handles(self, plans: tuple[NodePlan, ...], host: Host) -> None:
        for plan in plans:
            self.nodes[plan.name] = NodeHandle(plan, host)

    def _make_directory(
        self, relays: tuple[NodePlan, ...], ports: Mapping[str, Ports], rotation_id: int
    ) -> Directory:
        options = self.options
        clock = EpochClock.starting(
            rotation_id,
            time.time(),
            epoch_seconds=options.epoch_seconds,
            validity_epochs=options.validity_epochs,
        )
        seeds = {plan.node_id: plan.seed for plan in relays}
        keys: dict[tuple[int, int], bytes] = {}

        def sphinx_key(node_id: int, rotation: int) -> bytes | None:
            if node_id not in seeds:
                return None
            found = keys.get((node_id, rotation))
            if found is None:
                found = keys[node_id, rotation] = x25519_public(sphinx_private(seeds[node_id], rotation))
            return found

        directory = Directory(clock, sphinx_key=sphinx_key)
        for plan in relays:
            listening = ports[plan.name]
            entry = EntryInformation(listening.websocket) if plan.kind is NodeKind.GATEWAY else None
            directory.publish(
                PublishedNode(
                    node_id=plan.node_id,
                    identity=SigningKey(identity_private(plan.seed)).public,
                    sphinx_key=x25519_public(sphinx_private(plan.seed, rotation_id)),
                    ip=LOOPBACK,
                    mix_port=listening.mix,
                    layer=plan.layer,
                    entry=entry,
                    performance=f"{options.performances.get(plan.name, 1):g}",
                    country=options.countries.get(plan.name),
                )
            )
        next_id = len(relays) + 1
        for node in options.external_nodes:
            directory.publish(PublishedNode.external(node, node.node_id or next_id))
            next_id += 1
        return directory

    async def _start_api(self, remembered: Mapping[str, Ports]) -> int:
        wanted = self.options.nym_api_port or remembered.get(API_NAME, Ports()).mix
        try:
            return await self.nym_api.start(LOOPBACK, wanted)
        except OSError as error:
            await self.nym_api.close()
            if self.options.nym_api_port or not wanted:
                raise StartFailed(f"the directory cannot listen: {error.strerror or error}") from error
            return await self.nym_api.start(LOOPBACK, 0)

    async def _start_resolver(self, remembered: Mapping[str, Ports]) -> int:
        try:
            return await self.resolver.start(LOOPBACK, remembered.get(RESOLVER_NAME, Ports()).mix)
        except OSError:
            return await self.resolver.start(LOOPBACK)

    async def _start_exit(self, plan: NodePlan, host: Host) -> None:
        home = self.nodes[plan.gateway].plan
        gateway = self.nym_api.directory.node(home.node_id)
        address = await host.start_exit(plan, self.nym_api_url, gateway.identity)
        self._add_handles((plan,), host)
        self._exit_addresses[plan.name] = address
        self.nym_api.directory.announce_requester(home.node_id, address)
        logger.info("exit at gateway %s", b58encode(gateway.identity))

    async def _rotate_nodes(self, rotation_id: int) -> None:
        for host in self._hosts:
            await host.rotate(rotation_id)
        state = read_state(self.data_dir)
        if state is not None:
            write_state(self.data_dir, NetworkState(state.seed, rotation_id, state.ports))

    async def _published(self) -> None:
        """A rotation is public: exits need not find out by themselves minutes later."""
        self.write_files()
        for host in self._hosts:
            await host.refresh()

    async def _rotate_on_time(self) -> None:
        """Follow the clock: nodes get their next key a little before its rotation begins."""
        while True:
            clock = self.nym_api.directory.clock
            now = time.time()
            lead = min(ROTATION_LEAD_SECONDS, clock.epoch_seconds / 4)
            coming = clock.rotation_at(now + lead) + 1
            await asyncio.sleep(clock.rotation_start(coming) - lead - now)
            async with self._rotating:
                if self.nym_api.directory.clock is not clock:
                    continue  # somebody rotated by hand meanwhile
                await self._rotate_nodes(coming)
            await asyncio.sleep(lead)
            await self._published()


def summary(net: Localnet) -> dict[str, Any]:
    """What to connect to, as plain values."""
    facts: dict[str, Any] = {
        "nym_api": net.nym_api_url,
        "gateways": {b58encode(node.identity): node.gateway_urls()[0] for node in net.gateways},
        "exits": list(net.exit_addresses),
        "folder": str(net.data_dir),
        "network_json": str(net.data_dir / NETWORK_JSON),
    }
    if net.options.pay:
        payments = net.payments
        facts |= {
            "chain": payments.rpc_url,
            "chain_id": payments.options.chain_id,
            "faucet": payments.faucet_url,
            "faucet_address": payments.address("faucet"),
            "faucet_phrase_file": str(payments.faucet_phrase_file),
            "signers": [signer.url for signer in payments.signers],
            "threshold": payments.options.threshold,
            "price": str(payments.nyx.ecash.price),
            "network_toml": str(net.data_dir / NETWORK_TOML),
            "network_env": str(net.data_dir / NETWORK_ENV),
        }
    return facts
