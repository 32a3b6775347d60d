"""The network as a whole: starting, stopping, knobs, rotation, processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from nym_localnet import (
    BackgroundLocalnet,
    BadOptions,
    ExternalNode,
    Localnet,
    LocalnetError,
    LocalnetOptions,
    Mode,
    NodeKind,
    StartFailed,
    TicketContext,
    WorkerLost,
    run_localnet,
    summary,
)
from nym_localnet.worker_host_io import WorkerHost
from nym_mixnet.client_records import ClientOptions, ReceivedMessage
from nym_mixnet.topology import topology_from_network_json
from nym_mixnet.topology_io import FileSource, NymApiSource
from nym_sphinx import KeyRotation, b58encode
from tests.localnet.harness import LOOPBACK, until
from tests.localnet.users import SWIFT, echo, exit_user, fetch, mixnet_client, target, world


async def received(net: Localnet, name: str) -> int:
    return (await net.nodes[name].counters())["mix"]["received"]


# What is there


async def test_a_network_says_what_it_is() -> None:
    async with Localnet(LocalnetOptions(mixnodes=4, gateways=2, exits=2)) as net:
        assert list(net.nodes) == ["mix1", "mix2", "mix3", "mix4", "gateway1", "gateway2", "exit1", "exit2"]
        assert [node.kind for node in net.nodes.values()].count(NodeKind.EXIT) == 2
        topology = net.topology
        topology.ensure_usable()
        assert topology.rewarded_set.layer1 == (1, 4)
        assert [node.node_id for node in net.gateways] == [5, 6]
        assert topology_from_network_json(net.network_json).nodes == topology.nodes
        assert len(set(net.exit_addresses)) == 2
        assert net.exit_address == net.exit_addresses[0]
        source = NymApiSource([net.nym_api_url])
        assert (await source.fetch()).nodes.keys() == topology.nodes.keys()
        offered = {
            node.network_requester.address
            for node in await source.described_nodes()
            if node.network_requester
        }
        assert offered == set(net.exit_addresses)
        facts = summary(net)
        assert facts["nym_api"] == net.nym_api_url
        assert set(facts["gateways"]) == {b58encode(node.identity) for node in net.gateways}
        folder = net.data_dir
        file = FileSource(folder / "network.json")
        assert (await file.fetch()).nodes == topology.nodes
        assert net.nym_api_url in (folder / "localnet.toml").read_text()
        assert net.nym_api_url in (folder / "localnet.env").read_text()
    assert not folder.exists()


async def test_a_network_without_an_exit() -> None:
    async with Localnet(LocalnetOptions(exits=0)) as net:
        with pytest.raises(LocalnetError, match="no exit"):
            _ = net.exit_address
    with pytest.raises(LocalnetError, match="not up"):
        _ = Localnet().nym_api_url


async def test_everything_listens_on_loopback_only() -> None:
    async with Localnet(LocalnetOptions()) as net:
        ports = {node.mix_host.port for node in net.topology.nodes.values()}
        ports |= {node.entry.ws_port for node in net.gateways if node.entry} | {net.nym_api.port}
        assert len(ports) == 5 + 2 + 1
        # /proc/net/tcp: local address as hexadecimal words of the machine's order, state 0A is listening
        listening = [
            line.split()[1]
            for line in Path("/proc/net/tcp").read_text().splitlines()
            if line.split()[3] == "0A"
        ]
        ours = [address for address in listening if int(address.partition(":")[2], 16) in ports]
        assert len(ours) == len(ports)
        assert {address.partition(":")[0] for address in ours} == {"0100007F"}


# Messages between clients


@pytest.mark.parametrize("rotation_id", [0, 1, 2])
async def test_clients_reach_each_other_in_every_parity_of_rotation(rotation_id: int) -> None:
    async with (
        Localnet(LocalnetOptions(exits=0, rotation_id=rotation_id)) as net,
        mixnet_client(net, SWIFT) as alice,
        mixnet_client(net, SWIFT) as bob,
    ):
        assert alice.topology.key_rotation is KeyRotation(rotation_id)
        heard: dict[str, ReceivedMessage] = {}
        alice.on_message = lambda message: heard.__setitem__("alice", message)
        bob.on_message = lambda message: heard.__setitem__("bob", message)
        await alice.send_anonymous(bob.address, b"who am I?", surbs=15)
        await until(lambda: "bob" in heard, "bob hears")
        tag = heard["bob"].sender_tag
        assert (heard["bob"].data, tag is not None) == (b"who am I?", True)
        assert tag is not None
        await bob.reply(tag, b"somebody")
        await until(lambda: "alice" in heard, "alice hears")
        assert (heard["alice"].data, heard["alice"].via) == (b"somebody", bob.address)


async def test_v7_frames_between_nodes() -> None:
    async with target(echo) as port, world(legacy_frames=True, rotation_id=2) as (_, user):
        assert await fetch(user, port, b"hello") == b"hello"


# Rotation


async def test_streams_survive_a_rotation_by_hand() -> None:
    async with target(echo) as port, world(rotation_id=4) as (net, user):
        assert await fetch(user, port, b"before") == b"before"
        before = net.topology
        assert await net.rotate() == 5 == net.rotation_id
        after = net.topology
        assert {node.node_id for node in after.nodes.values()} == {
            node.node_id for node in before.nodes.values()
        }
        for node_id, node in after.nodes.items():
            assert node.sphinx_key != before.nodes[node_id].sphinx_key
            assert node.identity == before.nodes[node_id].identity
        assert after.key_rotation is KeyRotation.ODD
        assert await fetch(user, port, b"under the old keys") == b"under the old keys"
        assert await user.client.refresh_topology()  # type: ignore[attr-defined]
        assert await fetch(user, port, b"under both") == b"under both"
        async with exit_user(net) as fresh:
            assert await fetch(fresh, port, b"under the new keys") == b"under the new keys"
        file = topology_from_network_json((net.data_dir / "network.json").read_text())
        assert file.rotation_id == 5
        info = await NymApiSource([net.nym_api_url]).key_rotation_info()
        assert info is not None
        assert info.expected_rotation(time.time()) == 5


async def test_a_reply_over_a_surb_of_the_rotation_before_is_acknowledged() -> None:
    patient = ClientOptions(ack_wait_addition_seconds=90.0)  # a busy machine may be late with the ack
    async with (
        Localnet(LocalnetOptions(exits=0, rotation_id=4)) as net,
        mixnet_client(net, SWIFT) as alice,
        mixnet_client(net, SWIFT, options=patient) as bob,
    ):
        heard: dict[str, ReceivedMessage] = {}
        alice.on_message = lambda message: heard.update(alice=message)
        bob.on_message = lambda message: heard.update(bob=message)
        await alice.send_anonymous(bob.address, b"before", surbs=20)
        await until(lambda: "bob" in heard, "bob hears")
        tag = heard["bob"].sender_tag
        assert tag is not None
        await net.rotate()
        assert await bob.refresh_topology()
        sending = await bob.reply(tag, b"after")
        await until(lambda: sending.acked, "the reply is acknowledged")
        assert heard["alice"].data == b"after"
        assert bob.stats.sent_retransmissions == 0


async def test_epochs_pass_and_keys_rotate_by_themselves() -> None:
    options = LocalnetOptions(exits=0, epoch_seconds=0.5, validity_epochs=2, rotation_id=3)
    async with target(echo), Localnet(options) as net:
        first = net.topology
        await until(lambda: net.rotation_id == 5, "two rotations have passed")
        assert net.topology.absolute_epoch_id >= first.absolute_epoch_id + 3
        heard: list[bytes] = []
        async with mixnet_client(net, SWIFT) as client:
            client.on_message = lambda message: heard.append(message.data)
            await client.send_plain(client.address, b"still works")
            await until(lambda: heard == [b"still works"], "delivered under a key made meanwhile")


# Knobs


async def test_loss_can_be_changed_while_it_runs() -> None:
    async with (
        Localnet(LocalnetOptions(exits=0, loss={"mix1": 1.0})) as net,
        mixnet_client(net, SWIFT) as client,
    ):
        assert net.nodes["mix1"].loss == 1.0
        heard: list[bytes] = []
        client.on_message = lambda message: heard.append(message.data)
        sending = await client.send_plain(client.address, b"hello")
        await until(lambda: client.stats.sent_real, "sent")
        await asyncio.sleep(0.1)
        assert await received(net, "mix1")
        assert not sending.acked
        net.nodes["mix1"].loss = 0.0
        await until(lambda: sending.acked, "the retransmission arrives")
        assert heard == [b"hello"]
        with pytest.raises(ValueError, match="probability"):
            net.nodes["mix1"].loss = 1.5
        with pytest.raises(ValueError, match="negative"):
            net.nodes["mix1"].extra_delay_seconds = -1
        net.nodes["mix1"].extra_delay_seconds = 0.01
        assert net.nodes["mix1"].extra_delay_seconds == 0.01


async def test_nodes_come_back_after_a_restart() -> None:
    async with target(echo) as port, world() as (net, user):
        assert await fetch(user, port, b"one") == b"one"
        before = net.topology.nodes
        for name in ("mix1", "mix2", "mix3", "gateway1", "gateway2"):
            await net.nodes[name].restart()
        assert net.topology.nodes == before
        assert await fetch(user, port, b"two") == b"two"


async def test_a_stalled_mix_stops_everything_and_resumes() -> None:
    async with target(echo) as port, world() as (net, user):
        assert await fetch(user, port, b"one") == b"one"
        net.nodes["mix2"].stall = True
        assert net.nodes["mix2"].stall
        reading = asyncio.get_running_loop().create_task(fetch(user, port, b"two"))
        done, _ = await asyncio.wait([reading], timeout=0.5)
        assert not done
        net.nodes["mix2"].stall = False
        async with asyncio.timeout(60):
            assert await reading == b"two"


async def test_exits_pay_nothing_where_tickets_are_enforced() -> None:
    class Generous:
        async def verify(self, credential: bytes, context: TicketContext) -> int:
            return 1_000_000_000

    async with Localnet(LocalnetOptions(enforce_tickets=True), verifier=Generous()) as net:
        counters = await net.nodes["gateway2"].counters()
        assert counters["gateway"]["sessions"] == 1  # the exit's, which could not have claimed anything
    with pytest.raises(BadOptions, match="verifier"):
        Localnet(LocalnetOptions(mode=Mode.PROCESSES), verifier=Generous())


# Folders


async def test_a_kept_folder_brings_the_same_network_back(tmp_path: Path) -> None:
    folder, published = tmp_path / "network", tmp_path / "elsewhere" / "localnet.toml"
    options = LocalnetOptions(data_dir=folder, network_file=published)
    async with Localnet(options) as net:
        first, url, address = net.topology.nodes, net.nym_api_url, net.exit_address
        assert url in published.read_text()
        assert await net.rotate() == 2
        keys_of_2 = net.topology.nodes
    assert not published.exists()
    assert stat.S_IMODE((folder / "localnet.json").stat().st_mode) == 0o600
    async with Localnet(options) as net:
        assert net.rotation_id == 2
        assert net.topology.nodes == keys_of_2 != first
        assert (net.nym_api_url, net.exit_address) == (url, address)


async def test_a_network_leaves_the_file_of_another_one_alone(tmp_path: Path) -> None:
    published = tmp_path / "localnet.toml"
    not_a_folder = tmp_path / "file"
    not_a_folder.write_text("")
    async with Localnet(LocalnetOptions(network_file=published)) as net:
        failed = LocalnetOptions(data_dir=not_a_folder / "folder", network_file=published)
        with pytest.raises(BadOptions, match="cannot be made"):
            await Localnet(failed).start()
        assert net.nym_api_url in published.read_text()
        async with Localnet(LocalnetOptions(network_file=published)) as later:
            await net.close()
            assert later.nym_api_url in published.read_text()
    assert not published.exists()


async def test_remembered_ports_that_are_taken_are_replaced(tmp_path: Path) -> None:
    options = LocalnetOptions(data_dir=tmp_path, exits=0)
    async with Localnet(options) as net:
        mix_port = net.topology.nodes[1].mix_host.port
        api_port = net.nym_api.port
    with socket.create_server((LOOPBACK, mix_port)), socket.create_server((LOOPBACK, api_port)):
        async with Localnet(options) as net:
            assert net.topology.nodes[1].mix_host.port != mix_port
            assert net.nym_api.port != api_port
        fixed = LocalnetOptions(exits=0, first_mix_port=mix_port)
        with pytest.raises(StartFailed, match="mix1 cannot listen"):
            await Localnet(fixed).start()
        with pytest.raises(StartFailed, match="directory cannot listen"):
            await Localnet(LocalnetOptions(exits=0, nym_api_port=api_port)).start()


async def test_a_seed_makes_the_same_identities() -> None:
    identities = []
    for _ in range(2):
        async with Localnet(LocalnetOptions(seed=b"s" * 32)) as net:
            identities.append(([node.identity for node in net.topology.nodes.values()], net.exit_address))
    assert identities[0] == identities[1]


async def test_a_malformed_policy_is_named() -> None:
    with pytest.raises(BadOptions, match=r"exit_policy: line 2"):
        await Localnet(LocalnetOptions(exit_policy="ExitPolicy accept *:*\nnonsense")).start()


# Nodes of somebody else


async def test_nodes_from_outside_are_part_of_the_network() -> None:
    async with Localnet(LocalnetOptions(mixnodes=3, gateways=1, exits=0)) as other:
        mix = other.topology.nodes[2]
        outside = ExternalNode(
            identity=b58encode(mix.identity),
            sphinx_key=b58encode(mix.sphinx_key),
            mix_port=mix.mix_host.port,
            layer=2,
            node_id=50,
        )
        async with (
            Localnet(LocalnetOptions(exits=0, external_nodes=(outside,))) as net,
            mixnet_client(net, SWIFT) as client,
        ):
            assert net.topology.rewarded_set.layer2 == (2, 50)
            heard: list[bytes] = []
            client.on_message = lambda message: heard.append(message.data)
            for number in range(30):
                await client.send_plain(client.address, b"%d" % number)
            await until(lambda: len(heard) == 30, "all delivered")
            assert await received(other, "mix2") > 0


# Processes


async def test_a_network_in_processes(tmp_path: Path) -> None:
    async with (
        target(echo) as port,
        world(mode="processes", workers=2, data_dir=tmp_path) as (net, user),
    ):
        workers = [host for host in net._hosts if isinstance(host, WorkerHost)]
        assert len(workers) == 2
        assert all(_alive(worker.pid) for worker in workers)
        assert await fetch(user, port, b"hello") == b"hello"
        assert (await net.nodes["exit1"].counters())["exit"]["connected"] == 1
        net.nodes["mix1"].loss = 0.5
        net.nodes["mix1"].loss = 0.0
        await net.nodes["mix1"].restart()
        await net.nodes["gateway1"].restart()
        assert await net.rotate() == 2
        assert await fetch(user, port, b"again") == b"again"
        net._hosts[0].set_faults("nonsense", {})  # nobody waits for this answer
        with pytest.raises(LocalnetError, match="no node nonsense"):
            await net._hosts[0].counters("nonsense")
    await until(lambda: not any(_alive(worker.pid) for worker in workers), "workers have ended")


async def test_a_lost_worker_is_noticed() -> None:
    async with Localnet(LocalnetOptions(mode=Mode.PROCESSES, workers=1, exits=0)) as net:
        (worker,) = (host for host in net._hosts if isinstance(host, WorkerHost))
        waiting = asyncio.get_running_loop().create_task(net.wait_lost())
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerLost):
            await waiting
        with pytest.raises(WorkerLost):
            await net.nodes["mix1"].counters()


async def test_a_failed_start_leaves_nothing_behind() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        net = Localnet(LocalnetOptions(mode=Mode.PROCESSES, workers=2, exits=0, first_ws_port=port))
        # The port after it may be somebody else's too, and which gateway is told of first is chance.
        with pytest.raises(StartFailed, match=r"gateway\d cannot listen"):
            await net.start()
        assert not net._hosts
        assert not net.data_dir.exists()


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio\n"
        "from nym_localnet import Localnet, LocalnetOptions\n"
        "async def main():\n"
        "    async with Localnet(LocalnetOptions(mode='processes', workers=2, exits=0)) as net:\n"
        "        print(*(host.pid for host in net._hosts), flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(_alive, pids))
        parent.kill()
    deadline = time.monotonic() + 10
    while any(map(_alive, pids)):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# Other ways to run one


async def test_run_localnet_reports_and_ends_when_cancelled() -> None:
    lines: list[str] = []
    running = asyncio.get_running_loop().create_task(run_localnet(LocalnetOptions(), lines.append))
    await until(lambda: any("topology file" in line for line in lines), "reported")
    url = next(line for line in lines if "nym-api" in line).split()[-1]
    async with aiohttp.ClientSession() as session, session.get(f"{url}v1/nym-nodes/rewarded-set") as response:
        assert response.status == 200
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_a_network_in_the_background() -> None:
    with BackgroundLocalnet(LocalnetOptions(exits=0)) as background:
        assert background.do(background.net.rotate()) == 2
        assert background.nym_api_url == background.net.nym_api_url
    with pytest.raises(BadOptions), BackgroundLocalnet(LocalnetOptions(exit_policy="nonsense")):
        pass
