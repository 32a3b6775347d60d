"""The pure parts of the test network: clocks, keys, replay sets, plans, options, files, control lines."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nym_localnet
from nym_exit.exit_policy import ExitPolicy
from nym_localnet.control import Answer, Command
from nym_localnet.epochs import EpochClock
from nym_localnet.errors import BadOptions, StartFailed
from nym_localnet.folder import NetworkState, network_env, network_toml, read_state, write_state
from nym_localnet.gateway_rules import Allowance, midnight, shown_time
from nym_localnet.host_io import HostSettings
from nym_localnet.options import DEFAULT_EXIT_POLICY, ExternalNode, LocalnetOptions, Mode
from nym_localnet.plan import NodeKind, NodePlan, Ports, plan_network, share, without_ports
from nym_localnet.replay import ReplayFilter
from nym_localnet.requester_io import _quoted
from nym_localnet.sphinx_keys import KeyRing, derive, exit_keys
from nym_mixnet.nym_api import KeyRotationInfo
from nym_sphinx import KeyRotation
from tests.localnet.harness import read_env

SEED = bytes(range(32))


def test_every_public_name_can_be_loaded() -> None:
    for name in nym_localnet.__all__:
        assert getattr(nym_localnet, name) is not None
        assert name in dir(nym_localnet)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = nym_localnet.nonsense


# Replay


def test_a_replay_filter_remembers_and_is_bounded() -> None:
    seen = ReplayFilter(generation_tags=10)
    tags = [number.to_bytes(32, "big") for number in range(100)]
    assert not any(seen.seen(tag) for tag in tags)
    assert all(seen.seen(tag) for tag in tags[-10:])
    assert not seen.seen(tags[0])
    assert len(seen) <= 20
    with pytest.raises(ValueError, match="at least one"):
        ReplayFilter(0)


# Keys


def test_keys_follow_from_the_seed_and_differ_by_purpose_and_rotation() -> None:
    assert derive(SEED, "a") == derive(SEED, "a") != derive(SEED, "b") != derive(SEED, "b", 1)
    with pytest.raises(ValueError, match="32 bytes"):
        derive(b"short", "a")
    assert exit_keys(SEED).identity_public == exit_keys(SEED).identity_public
    ring, same = KeyRing(SEED, 4), KeyRing(SEED, 4)
    assert ring.primary.public == same.primary.public
    assert "private" not in repr(ring.primary)


@pytest.mark.parametrize(
    ("rotations", "expected"),
    [
        ([1], {"ODD": [1], "EVEN": [], "UNKNOWN": [1]}),
        ([1, 2], {"ODD": [1], "EVEN": [2], "UNKNOWN": [2, 1]}),
        ([1, 2, 3], {"ODD": [3], "EVEN": [2], "UNKNOWN": [3, 2]}),
        ([0], {"ODD": [], "EVEN": [], "UNKNOWN": [0]}),
        ([0, 1], {"ODD": [1], "EVEN": [], "UNKNOWN": [1, 0]}),
    ],
)
def test_which_keys_are_tried(rotations: list[int], expected: dict[str, list[int]]) -> None:
    ring = KeyRing(SEED, rotations[0])
    for rotation_id in rotations[1:]:
        ring.rotate(rotation_id)
    tried = {
        rotation.name: [key.rotation_id for key in ring.candidates(rotation)] for rotation in KeyRotation
    }
    assert tried == expected


# Epochs


@given(
    rotation=st.integers(0, 1000),
    validity=st.integers(1, 100),
    length=st.floats(0.5, 1e6),
    elapsed=st.floats(0, 1e7),
)
def test_the_clock_agrees_with_what_clients_compute(
    rotation: int, validity: int, length: float, elapsed: float
) -> None:
    start = 1_800_000_000.0
    length = round(length, 3)
    clock = EpochClock.starting(rotation, start, epoch_seconds=length, validity_epochs=validity)
    assert clock.rotation_at(start) == rotation
    now = start + elapsed
    epoch = clock.epoch_at(now)
    assert clock.epoch_start(epoch) <= now + 1e-3
    info = KeyRotationInfo(validity, 0, rotation * validity, int(start * 1e9), round(length * 1e9))
    assert abs(info.expected_epoch(now) - epoch) <= 1  # rounding at an edge
    assert clock.rotation_of(epoch) == info.rotation_of(epoch)


def test_a_rotation_by_hand_begins_now() -> None:
    clock = EpochClock.starting(3, 1000.0, epoch_seconds=100, validity_epochs=10)
    moved = clock.moved_to_rotation(4, 1234.5)
    assert moved.rotation_at(1234.5) == 4
    assert moved.rotation_start(4) == 1234.0
    assert moved.rotation_start(5) == 2234.0
    with pytest.raises(ValueError, match="forward"):
        moved.moved_to_rotation(4, 1300.0)
    with pytest.raises(ValueError, match="positive"):
        EpochClock.starting(0, 0, epoch_seconds=0)


# Options and plans


@pytest.mark.parametrize(
    "wrong",
    [
        {"mixnodes": 2},
        {"mixnodes": -1},
        {"gateways": 0},
        {"nym_api_port": 70_000},
        {"workers": -1},
        {"rotation_id": -1},
        {"epoch_seconds": 0},
        {"seed": b"short"},
        {"loss": 2.0},
        {"loss": {"mix1": -0.1}},
        {"free_allowance_bytes": -1},
    ],
)
def test_impossible_networks_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadOptions):
        LocalnetOptions(**wrong)  # type: ignore[arg-type]


def test_losses_by_name_must_name_nodes() -> None:
    with pytest.raises(BadOptions, match=r"mix9.*gateway1"):
        plan_network(LocalnetOptions(loss={"mix9": 0.5}), SEED)
    plans = {plan.name: plan for plan in plan_network(LocalnetOptions(loss={"mix2": 0.5}), SEED)}
    assert (plans["mix1"].loss, plans["mix2"].loss, plans["gateway1"].loss) == (0, 0.5, 0)
    plans = {plan.name: plan for plan in plan_network(LocalnetOptions(loss=0.25), SEED)}
    assert (plans["mix1"].loss, plans["gateway1"].loss) == (0.25, 0)


def test_outside_nodes_can_stand_in_for_ours() -> None:
    outside = ExternalNode("a", "b", 1789, layer=1)
    with pytest.raises(BadOptions, match="exit is a client"):
        LocalnetOptions(mixnodes=3, gateways=0, external_nodes=(ExternalNode("a", "b", 1, ws_port=9000),))
    LocalnetOptions(
        mixnodes=0,
        gateways=0,
        exits=0,
        external_nodes=(
            outside,
            ExternalNode("a", "b", 1, layer=2),
            ExternalNode("a", "b", 1, layer=3),
            ExternalNode("a", "b", 1, ws_port=9000),
        ),
    )


def test_the_plan_of_a_network() -> None:
    options = LocalnetOptions(mixnodes=4, gateways=2, exits=3, first_mix_port=1000, first_ws_port=2000)
    plans = plan_network(options, SEED)
    named = {plan.name: plan for plan in plans}
    assert [plan.node_id for plan in plans] == [1, 2, 3, 4, 5, 6, 0, 0, 0]
    assert [named[f"mix{number}"].layer for number in range(1, 5)] == [1, 2, 3, 1]
    assert [plan.mix_port for plan in plans] == [1000, 1001, 1002, 1003, 1004, 1005, 0, 0, 0]
    assert [named[name].ws_port for name in ("mix1", "gateway1", "gateway2")] == [0, 2000, 2001]
    assert [named[f"exit{number}"].gateway for number in (1, 2, 3)] == ["gateway2", "gateway1", "gateway2"]
    assert len(named["gateway2"].unmetered) == 2
    assert len({plan.seed for plan in plans}) == len(plans)
    assert plans == plan_network(options, SEED)
    assert all(plan.seed_hex not in repr(plan) for plan in plans)
    remembered = plan_network(LocalnetOptions(), SEED, {"mix1": Ports(7), "gateway1": Ports(8, 9)})
    assert [(plan.mix_port, plan.ws_port) for plan in remembered[:5]] == [
        (7, 0),
        (0, 0),
        (0, 0),
        (8, 9),
        (0, 0),
    ]
    assert without_ports(remembered[3]).ws_port == 0


def test_plans_and_settings_survive_the_way_to_a_worker() -> None:
    for plan in plan_network(LocalnetOptions(), SEED):
        assert NodePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    settings = HostSettings(data_dir="x", durable=False, rotation_id=3, listed_ips=("127.0.0.1",))
    assert HostSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


@given(nodes=st.integers(3, 30), workers=st.integers(0, 40))
def test_every_node_has_one_worker(nodes: int, workers: int) -> None:
    plans = plan_network(LocalnetOptions(mixnodes=nodes), SEED)
    hands = share(plans, workers)
    assert sorted(plan.name for hand in hands for plan in hand) == sorted(plan.name for plan in plans)
    assert max(map(len, hands)) - min(map(len, hands)) <= 1
    assert all(hands)


def test_modes_by_name() -> None:
    assert LocalnetOptions(mode="processes").mode is Mode.PROCESSES  # type: ignore[arg-type]
    assert {plan.kind for plan in plan_network(LocalnetOptions(), SEED)} == set(NodeKind)


def test_the_default_policy_is_valid_and_lets_loopback_in() -> None:
    from ipaddress import ip_address

    policy = ExitPolicy.parse(DEFAULT_EXIT_POLICY)
    assert policy.allows(ip_address("127.0.0.1"), 8080) is True
    assert policy.allows(ip_address("::1"), 443) is True
    assert policy.allows(ip_address("9.9.9.9"), 443) is True
    assert policy.allows(ip_address("9.9.9.9"), 25) is False
    assert policy.allows(ip_address("169.254.169.254"), 80) is False
    assert policy.allows(ip_address("192.168.1.1"), 80) is False


# Files


def test_state_round_trip(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    state = NetworkState(SEED, 5, {"mix1": Ports(1), "gateway1": Ports(2, 3)})
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    file = tmp_path / "localnet.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert SEED.hex() not in repr(state)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version":1,"seed":"00","rotation_id":1,"ports":{}}',
        '{"version":2,"seed":"' + "00" * 32 + '","rotation_id":1,"ports":{}}',
        '{"version":1,"seed":"' + "00" * 32 + '","rotation_id":1,"ports":{"mix1":[1,2,3]}}',
    ],
)
def test_a_broken_state_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "localnet.json").write_text(text)
    with pytest.raises(StartFailed, match=r"localnet\.json.*remove it"):
        read_state(tmp_path)


def test_the_files_for_other_programs() -> None:
    table = tomllib.loads(network_toml("http://127.0.0.1:1/", ("a.b@c",), "127.0.0.1:2"))
    assert table == {"name": "localnet", "nym_api": ["http://127.0.0.1:1/"], "resolver": "127.0.0.1:2"}
    env = read_env(network_env("http://127.0.0.1:7/"))
    assert env["CONFIGURED"] == "true"
    assert env["NYM_API"] == "http://127.0.0.1:7/"
    assert json.loads(env["NYM_APIS"]) == [{"url": "http://127.0.0.1:7/", "front_hosts": None}]


# Control lines


def test_control_lines_round_trip() -> None:
    for command in (Command("start", {"plans": [1]}, 3), Command("set_faults", {"name": "mix1"})):
        assert Command.decode(command.encode()) == command
    for answer in (Answer(1, {"a": 1}), Answer(2, None, "no")):
        assert Answer.decode(answer.encode()) == answer
    for line in (b"[]", b"{}", b"nonsense", b'{"do":1}'):
        with pytest.raises(ValueError):
            Command.decode(line)
        with pytest.raises(ValueError):
            Answer.decode(line)


# Gateway rules


@given(st.lists(st.tuples(st.sampled_from(["free", "ticket", "charge", "wait"]), st.integers(0, 10**9))))
def test_an_allowance_never_goes_below_zero_by_charging(steps: list[tuple[str, int]]) -> None:
    allowance, now = Allowance(), 1_800_000_000.0
    for kind, amount in steps:
        before = allowance.available
        match kind:
            case "free":
                allowance.claim_free(amount, now)
                assert allowance.expires_unix == midnight(now)
            case "ticket":
                allowance.add_ticket(amount, now)
                assert allowance.expires_unix == midnight(now) + 6 * 86_400
            case "wait":
                now += amount / 1000
            case _:
                paid = allowance.charge(amount, now)
                assert allowance.available in {before - amount if paid else before, -amount if paid else 0, 0}
        assert allowance.available >= 0


def test_times_as_the_reference_prints_them() -> None:
    assert shown_time(0) == "1970-01-01 0:00:00.0 +00:00:00"
    assert shown_time(1_767_225_600.25) == "2026-01-01 0:00:00.25 +00:00:00"


def test_quoted_destinations() -> None:
    assert _quoted('a"b\\c\n\x01') == '"a\\"b\\\\c\\n\\u{1}"'


@pytest.mark.parametrize(
    "options, complaint",
    [
        ({"countries": {"mix9": "CH"}}, "countries names nodes that there are not: mix9"),
        ({"countries": {"exit1": "CH"}}, "countries names nodes that there are not: exit1"),
        ({"performances": {"nobody": 0.5}}, "performances names nodes that there are not: nobody"),
        ({"exit_policies": {"gateway1": ""}}, "exit_policies names nodes that there are not: gateway1"),
    ],
)
def test_options_by_name_know_the_names(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadOptions, match=complaint):
        plan_network(LocalnetOptions(**options), bytes(32))


@pytest.mark.parametrize("options", [{"countries": {"mix1": "CHE"}}, {"performances": {"mix1": 1.5}}])
def test_countries_and_performances_have_a_form(options: dict[str, Any]) -> None:
    with pytest.raises(BadOptions):
        LocalnetOptions(**options)
