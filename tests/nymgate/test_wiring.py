"""From configuration to the options of the packages below, and from their errors back to sentences."""

from dataclasses import replace
from datetime import date

import pytest

from nym_exit.errors import ConnectFailed, ExitRefused, ExitSilent
from nym_mixnet import errors as mixnet_errors
from nym_mixnet.errors import (
    GatewayRefused,
    GatewayUnreachable,
    MalformedTopology,
    MixnetError,
    NoTickets,
    NymApiError,
    StoreError,
    StoreInUse,
    UnknownGateway,
)
from nym_mixnet.topology_io import FileSource, NymApiSource
from nym_sphinx import b58encode
from nymgate import wiring
from nymgate.banner import Banner
from nymgate.config_layers import load
from nymgate.errors import ConfigError, ExitCode, NetworkUnreachable
from nymgate.exits.pool import PoolLimits
from nymgate.listener.detect import Speaks
from nymgate.purse.money_io import Stock
from tests.nymgate.mixnet_world import identity, recipient

EXIT = str(recipient(identity(2)))


def plan(tmp_path, **flags):
    return wiring.make_plan(load(environ={"HOME": str(tmp_path)}, flags=flags).config, tmp_path)


def test_defaults(tmp_path):
    made = plan(tmp_path)
    assert (made.entry, made.exit, made.profile.name) == (None, None, "standard")
    assert made.folder == tmp_path / "mainnet"
    assert made.listen == (("127.0.0.1", 1080),)
    assert made.listen_apart == ((Speaks.SOCKS, ()), (Speaks.HTTP, ()))
    assert isinstance(wiring.topology_source(made), NymApiSource)
    options = wiring.exit_options(made)
    assert options.anonymous
    assert options.surbs.bank_target == 1000
    assert options.stream.gap_limit_seconds == 15
    assert options.stream.idle_limit_seconds == 300
    assert options.stream.write_high_water_bytes == 128 << 10
    assert options.stream.write_low_water_bytes < options.stream.write_high_water_bytes
    assert not wiring.client_options(made).use_cover_slots_for_data


def test_every_setting_arrives(tmp_path):
    made = plan(
        tmp_path,
        **{
            "network": "sandbox",
            "mixnet.entry": b58encode(identity(1)),
            "mixnet.exit": EXIT,
            "mixnet.profile": "fast",
            "mixnet.surb_bank": 7,
            "mixnet.data_in_cover_slots": True,
            "mixnet.replies": "own-address",
            "mixnet.nym_api": ["http://127.0.0.1:1/"],
            "streams.early_success": True,
            "streams.connect_timeout": "5s",
            "streams.gap_limit": "3s",
            "streams.idle_limit": "4m",
            "streams.handshake_timeout": "2s",
            "streams.limit": 9,
            "streams.buffer": "8KiB",
            "listen.mixed": ["[::1]:0", "localhost:5"],
            "listen.socks": ["127.0.0.1:6"],
            "listen.http": ["127.0.0.1:7", "[::1]:8"],
        },
    )
    assert made.entry == identity(1)
    assert str(made.exit) == EXIT
    assert made.network.nym_api == ("http://127.0.0.1:1/",)
    assert made.folder == tmp_path / "sandbox"
    assert made.listen == (("::1", 0), ("127.0.0.1", 5))
    assert dict(made.listen_apart) == {
        Speaks.SOCKS: (("127.0.0.1", 6),),
        Speaks.HTTP: (("127.0.0.1", 7), ("::1", 8)),
    }
    exits = wiring.exit_options(made)
    assert (exits.anonymous, exits.surbs.bank_target, exits.max_streams) == (False, 7, 9)
    assert (exits.open_timeout_seconds, exits.stream.gap_limit_seconds) == (5, 3)
    assert exits.stream.idle_limit_seconds == 240
    server = wiring.server_options(made)
    assert (server.handshake_timeout_seconds, server.limit, server.buffer_bytes) == (2, 9, 8192)
    assert server.early_success
    upstream = wiring.upstream_options(made)
    assert (upstream.connect_timeout_seconds, upstream.early_success) == (5, True)
    assert wiring.client_options(made).use_cover_slots_for_data


def test_entry_and_exit_at_one_gateway_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="both"):
        plan(tmp_path, **{"mixnet.entry": b58encode(identity(2)), "mixnet.exit": EXIT})


def test_a_topology_file_needs_an_exit(tmp_path):
    with pytest.raises(ConfigError, match="names no exits"):
        plan(tmp_path, **{"mixnet.topology_file": "x.json"})
    made = plan(tmp_path, **{"mixnet.topology_file": "x.json", "mixnet.exit": EXIT})
    assert isinstance(wiring.topology_source(made), FileSource)


@pytest.mark.parametrize(
    "error, code, layer",
    [
        (NymApiError("https://a.example cannot be reached"), ExitCode.NETWORK, "topology"),
        (GatewayUnreachable("the gateway does not answer"), ExitCode.NETWORK, "gateway"),
        (GatewayRefused("no"), ExitCode.REFUSED, "gateway"),
        (NoTickets("nothing left"), ExitCode.EXHAUSTED, "tickets"),
        (UnknownGateway("gateway x is not in the topology"), ExitCode.USAGE, "topology"),
        (MalformedTopology("nodes[3].mix_port", "not a number"), ExitCode.FAILED, "topology"),
        (StoreInUse("the data folder /x is in use by process 5: stop it"), ExitCode.BUSY, "proxy"),
        (ExitRefused(), ExitCode.REFUSED, "exit"),
        (ExitSilent("a question", 5), ExitCode.NETWORK, "exit"),
    ],
)
def test_errors_of_lower_layers_become_two_sentences_and_an_exit_code(error, code, layer):
    ours = wiring.explain(error)
    assert (ours.exit_code, ours.layer) == (code, layer)
    assert ours.what[0].isupper()
    assert ours.what.endswith(".")
    assert ours.todo.endswith(".")
    assert ours.code.startswith("E_")


def test_advice_is_given_once():
    error = wiring.explain(ConnectFailed())
    assert error.what == "The exit could not connect to the destination (refused or unreachable)."
    assert error.todo == "Check that the service is up and the port is right."


def test_every_error_class_below_can_be_explained():
    def classes(root):
        yield root
        for child in root.__subclasses__():
            yield from classes(child)

    assert mixnet_errors.ErrorKind
    for cls in classes(MixnetError):
        error = cls.__new__(cls)
        Exception.__init__(error, "something happened")
        assert wiring.explain(error).exit_code in ExitCode


def test_only_what_a_person_wrote_ends_the_proxy(tmp_path):
    by_api = plan(tmp_path)
    by_file = plan(tmp_path, **{"mixnet.topology_file": "x.json", "mixnet.exit": EXIT})
    lost = [
        NymApiError("x"),
        GatewayUnreachable("x"),
        MalformedTopology("a", "b"),
        GatewayRefused("x"),
        NoTickets("x"),
    ]
    lost += [NetworkUnreachable("x", "y", layer="gateway"), ExitSilent("x", 1)]
    assert not any(wiring.is_hopeless(error, by_api) for error in lost)
    wrong = [StoreInUse("x"), StoreError("x"), UnknownGateway("x"), ConfigError("x", "y")]
    assert all(wiring.is_hopeless(error, by_api) for error in wrong)
    assert wiring.is_hopeless(MalformedTopology("a", "b"), by_file)


def banner(tmp_path, **flags):
    made = plan(tmp_path, **flags)
    return Banner(
        version="1.2.3",
        network=made.network.name,
        entry="ENTRY",
        exit="EXIT",
        profile=made.profile,
        sleep_after_seconds=made.config.mixnet.sleep_after,
        addresses=("127.0.0.1:1080",),
        anonymous=made.config.mixnet.replies == "anonymous",
    )


def test_the_first_lines_say_what_it_costs(tmp_path):
    lines = banner(tmp_path).lines()
    assert (
        lines[0]
        == "nymgate 1.2.3 on mainnet: ready. Proxy at socks5h://127.0.0.1:1080, http://127.0.0.1:1080"
    )
    assert lines[1:3] == ["  entry    ENTRY", "  exit     EXIT"]
    assert "478 MB = 2.4 tickets an hour awake, 11.5 GB = 57 tickets a day; sleeps after 10m" in lines[3]
    assert lines[4] == "  tickets  none are used: the gateway's free allowance"
    assert lines[5:] == ["  isolated off: all streams share one identity"]


@pytest.mark.parametrize(
    "stock, said",
    [
        (Stock(48, date(2026, 11, 29), 0), "48 left = 20 h awake, the last until 2026-11-29 (UTC)"),
        (
            Stock(0, None, 1),
            "none left; buy some: nymgate account obtain-ticketbooks --amount 1; 1 purchase(s)",
        ),
    ],
)
def test_the_first_lines_say_how_many_tickets_are_left_and_until_when(tmp_path, stock, said):
    paying = replace(banner(tmp_path), stock=stock)
    assert said in paying.lines()[4]
    fields = paying.fields()
    assert (fields["pays"], fields["tickets"], fields["unfinished_purchases"]) == (
        True,
        stock.tickets,
        stock.unfinished,
    )


def test_the_first_lines_warn_of_the_own_address_and_name_the_free_profile(tmp_path):
    lines = banner(tmp_path, **{"mixnet.replies": "own-address", "mixnet.profile": "uncovered"}).lines()
    assert "costs nothing while idle" in lines[3]
    assert "WARNING" in lines[-1]
    assert banner(tmp_path, **{"mixnet.sleep_after": "never"}).lines()[3].endswith("never sleeps")


def test_the_same_facts_for_programs(tmp_path):
    fields = banner(tmp_path).fields()
    assert (fields["profile"], fields["tickets_per_day"], fields["sleep_after"]) == ("standard", 57.3, "10m")


def test_a_profile_with_few_slots_gives_exits_more_time(tmp_path):
    standard, thrifty, uncovered = (
        wiring.pool_limits(plan(tmp_path, **{"mixnet.profile": name}))
        for name in ("standard", "thrifty", "uncovered")
    )
    assert uncovered.ask_least == PoolLimits().ask_least
    assert uncovered.ask_least < standard.ask_least < 6
    assert 12 < thrifty.ask_least < thrifty.ask_most < 25
    assert thrifty.suspect_most < thrifty.ask_most
    rotating = wiring.pool_limits(plan(tmp_path, **{"mixnet.exit_rotation": "2h"}))
    assert (rotating.rotate, standard.rotate) == (7200.0, float("inf"))


@pytest.mark.parametrize(
    "flags, problem",
    [
        ({"mixnet.exit": "country:CH"}, "names no exits"),
        ({"mixnet.exit": EXIT, "mixnet.entry": "country:CH"}, "names no countries"),
    ],
)
def test_a_topology_file_knows_no_countries(tmp_path, flags, problem):
    with pytest.raises(ConfigError, match=problem):
        plan(tmp_path, **{"mixnet.topology_file": "network.json", **flags})
