"""What a configuration says about access, and what it is refused for."""

import pytest

from nymgate.access.plan import access_rules, is_local, refuse_exposure
from nymgate.access.rules import Verdict
from nymgate.config_layers import load
from nymgate.errors import ConfigError
from nymgate.listener.handshake import Target
from nymgate.networks import KNOWN_NETWORKS, Network
from nymgate.wiring import make_plan
from tests.nymgate.users import users_file

MAINNET = KNOWN_NETWORKS["mainnet"]
LOCAL = Network("test", ("http://127.0.0.1:1/api/", "http://[::1]:2/", "http://localhost:3/"))


def configured(tmp_path, **flags):
    return load(
        environ={"HOME": str(tmp_path)}, flags={k.replace("__", "."): v for k, v in flags.items()}
    ).config


@pytest.mark.parametrize("address", ["0.0.0.0:1080", "[::]:1080", "192.168.1.5:1080", "[2001:db8::1]:1080"])
@pytest.mark.parametrize("key", ["mixed", "socks", "http"])
def test_listening_beyond_loopback_needs_users_or_networks(tmp_path, address, key):
    def check(**more):
        refuse_exposure(configured(tmp_path, **{f"listen__{key}": [address]}, **more))

    for harmless in ({}, {"access__allow": ["0.0.0.0/0"]}, {"access__allow": ["192.168.0.0/16", "::/0"]}):
        with pytest.raises(ConfigError) as caught:
            check(**harmless)
        assert address in caught.value.what
        assert "access.users_file" in caught.value.todo
        assert "access.allow" in caught.value.todo
    check(access__allow=["192.168.0.0/16"])
    check(access__users_file="/somewhere")
    with pytest.raises(ConfigError):
        make_plan(configured(tmp_path, **{f"listen__{key}": [address]}), tmp_path)


@pytest.mark.parametrize("address", ["0.0.0.0:9470", "[::]:9470", "192.168.1.5:9470"])
def test_metrics_beyond_loopback_need_networks_and_users_do_not_help(tmp_path, address):
    def check(**more):
        refuse_exposure(configured(tmp_path, listen__metrics=address, **more))

    for harmless in ({}, {"access__allow": ["0.0.0.0/0"]}, {"access__users_file": "/somewhere"}):
        with pytest.raises(ConfigError, match=r"listen\.metrics has .*, which other machines can reach"):
            check(**harmless)
    check(access__allow=["192.168.0.0/16"])


@pytest.mark.parametrize("address", ["", "127.0.0.1:0", "[::1]:9470", "localhost:9470"])
def test_metrics_for_this_machine_need_nothing(tmp_path, address):
    refuse_exposure(configured(tmp_path, listen__metrics=address))


@pytest.mark.parametrize("address", ["9470", "127.0.0.1", "example.org:9470", "unix:/x", "127.0.0.1:70000"])
def test_metrics_are_served_at_an_address(tmp_path, address):
    with pytest.raises(ConfigError, match=r"listen\.metrics"):
        configured(tmp_path, listen__metrics=address)


def test_loopback_and_unix_sockets_need_nothing(tmp_path):
    config = configured(
        tmp_path, listen__mixed=["127.0.0.1:0", "[::1]:0", "localhost:1", "127.8.9.1:2", f"unix:{tmp_path}/s"]
    )
    refuse_exposure(config)
    plan = make_plan(config, tmp_path)
    assert [str(path) for _speaks, path in plan.listen_unix] == [f"{tmp_path}/s"]
    assert len(plan.listen) == 4


def test_who_may_connect(tmp_path):
    path = users_file(tmp_path, alice="secret")
    nobody_named = access_rules(configured(tmp_path), MAINNET)
    assert nobody_named.users is None
    assert [nobody_named.permits(peer) for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1")] == [
        *(True, True, True),
        False,
    ]
    with_users = access_rules(configured(tmp_path, access__users_file=str(path)), MAINNET)
    assert set(with_users.users) == {"alice"}
    assert with_users.permits("10.0.0.1")
    both = configured(tmp_path, access__users_file=str(path), access__allow=["10.1.0.0/16", "fd00::/8"])
    rules = access_rules(both, MAINNET)
    assert [
        rules.permits(peer)
        for peer in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "10.2.0.1", "127.0.0.1", "x")
    ] == [
        *(True, True, True),
        *(False, False, False),
    ]
    assert "alice" not in repr(rules)


def test_private_destinations_are_refused_unless_the_network_is_a_local_one(tmp_path):
    def judge(network, **flags):
        rules = access_rules(configured(tmp_path, **flags), network)
        return rules.destinations.judge(Target("127.0.0.1", 80))

    assert is_local(LOCAL)
    assert not is_local(MAINNET)
    assert not is_local(Network("mixed", (*LOCAL.nym_api, *MAINNET.nym_api)))
    assert not is_local(Network("none", ()))
    assert judge(MAINNET) is Verdict.PRIVATE
    assert judge(LOCAL) is Verdict.PERMITTED
    assert judge(LOCAL, rules__private="refuse") is Verdict.PRIVATE
    assert judge(MAINNET, rules__private="allow") is Verdict.PERMITTED
    assert judge(MAINNET, rules__allow=["127.0.0.1"]) is Verdict.PERMITTED
    assert judge(LOCAL, rules__deny=["127.0.0.0/8"]) is Verdict.DENIED


@pytest.mark.parametrize(
    "text", ["alice", "alice:plain", "al ice:$scrypt$", ":x", "alice:$scrypt$ln=99,r=8,p=1$a$b"]
)
def test_a_users_file_that_cannot_be_used_names_its_line_and_no_more(tmp_path, text):
    path = tmp_path / "users"
    path.write_text(f"# users\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        access_rules(configured(tmp_path, access__users_file=str(path)), MAINNET)
    assert "line 2" in caught.value.what
    assert "alice" not in str(caught.value)


def test_a_users_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="nymgate users add"):
        access_rules(configured(tmp_path, access__users_file=str(tmp_path / "none")), MAINNET)
