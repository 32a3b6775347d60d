"""From what is known of the layers to a verdict: the cause is named, in the words of all other places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nymgate.watch.health import (
    FAILURES_THAT_COUNT,
    LAYERS,
    TARGETS_WATCHED,
    Facts,
    Probe,
    State,
    Trouble,
    judge,
    layer_name,
    worst,
)

NOW = 1_000.0
ALIVE = Probe().answered(NOW - 3, 0.4)
DEAD = ALIVE.failed(NOW - 2, "nothing in 6 s").failed(NOW - 1, "nothing in 6 s")
FUNDS = Trouble("wallet", "E_WALLET_FUNDS", "The account cannot pay.", "Send NYM.")
SIGNERS = Trouble("signers", "E_SIGNERS", "Too few signers are well.", "Wait.")
CLOCK = Trouble("tickets", "E_CLOCK_SKEWED", "The clock is 90 s ahead.", "Set the clock.")
NO_TICKET = Trouble("tickets", "E_OUT_OF_TICKETS", "There are no tickets left.", "Buy some.")


def facts(**changes):
    """All is well, but for this."""
    well = {"link": "ready", "pays": True, "loop": ALIVE, "exit": ALIVE}
    return Facts(NOW, **well | changes)


def states(health):
    return {layer.name: layer.state.value for layer in health.layers if layer.state is not State.OK}


def test_all_is_well():
    health = judge(facts())
    assert (health.ready, health.state, health.layer, health.code) == (True, State.OK, None, None)
    assert [layer.name for layer in health.layers] == list(LAYERS)
    assert states(health) == {}
    assert health.layers[5].checked_unix == NOW - 3, "it says how old that is"


@pytest.mark.parametrize(
    "changes, ready, layer, code",
    [
        # what stops everything
        ({"link": None, "missing": ("gateway", "it is down")}, False, "gateway", "E_NO_WAY"),
        ({"link": None, "missing": ("topology", "the nym-api is down")}, False, "mixnet", "E_NO_WAY"),
        ({"link": "reconnecting"}, False, "gateway", "E_GATEWAY"),
        ({"link": "connecting"}, False, "gateway", "E_GATEWAY"),
        ({"link": "closed"}, False, "gateway", "E_GATEWAY"),
        ({"loop": DEAD}, False, "mixnet", "E_MIXNET"),
        ({"exit": DEAD}, False, "exit", "E_EXIT_SILENT"),
        ({"link": "out_of_bandwidth", "pays": False}, False, "tickets", "E_OUT_OF_BANDWIDTH"),
        ({"link": "out_of_bandwidth"}, False, "tickets", "E_OUT_OF_BANDWIDTH"),
        # money: the cause is what keeps tickets from coming, not that there are none
        ({"link": "out_of_bandwidth", "ticket": NO_TICKET}, False, "tickets", "E_OUT_OF_TICKETS"),
        (
            {"link": "out_of_bandwidth", "ticket": NO_TICKET, "supply": "exhausted", "hindrance": FUNDS},
            False,
            "wallet",
            "E_WALLET_FUNDS",
        ),
        (
            {
                "link": None,
                "missing": ("tickets", "there are none"),
                "supply": "exhausted",
                "hindrance": SIGNERS,
            },
            False,
            "signers",
            "E_SIGNERS",
        ),
        ({"supply": "exhausted", "hindrance": FUNDS, "refusing": True}, False, "wallet", "E_WALLET_FUNDS"),
        ({"link": "out_of_bandwidth", "clock": CLOCK}, False, "tickets", "E_CLOCK_SKEWED"),
        # what does not stop anybody yet
        ({"supply": "degraded", "hindrance": SIGNERS}, True, "signers", "E_SIGNERS"),
        ({"supply": "exhausted", "hindrance": FUNDS}, True, "wallet", "E_WALLET_FUNDS"),
        ({"supply": "exhausted"}, True, "tickets", "E_OUT_OF_TICKETS"),
        ({"clock": CLOCK}, True, "tickets", "E_CLOCK_SKEWED"),
        ({"target_failures": TARGETS_WATCHED}, True, "target", "E_TARGET_CONNECT"),
        # a path that fails is the cause, even if money will be one later
        ({"exit": DEAD, "supply": "degraded", "hindrance": SIGNERS}, False, "exit", "E_EXIT_SILENT"),
    ],
)
def test_the_layer_that_fails_is_named(changes, ready, layer, code):
    health = judge(facts(**changes))
    assert (health.ready, health.layer, health.code) == (ready, layer, code)
    assert health.state is (State.DEGRADED if ready else State.FAILING)
    assert health.what.endswith(".")


def test_one_silence_is_no_fault_and_one_answer_ends_it():
    assert FAILURES_THAT_COUNT == 2
    once = ALIVE.failed(NOW, "x")
    assert judge(facts(loop=once)).ready
    assert not judge(facts(loop=once.failed(NOW, "x"))).ready
    assert judge(facts(loop=once.failed(NOW, "x").answered(NOW, 0.1))).ready
    assert ALIVE.answered(NOW, None).seconds == 0.4, "other traffic shows life, not how long it takes"


def test_what_was_not_looked_at_is_not_said_to_be_well():
    nothing_yet = judge(facts(loop=Probe(), exit=Probe()))
    assert states(nothing_yet) == {"mixnet": "unknown", "exit": "unknown"}
    assert nothing_yet.ready, "what is known so far is well"
    behind_the_mixnet = judge(facts(loop=DEAD, exit=DEAD))
    assert states(behind_the_mixnet) == {"mixnet": "failing", "exit": "unknown"}


def test_asleep_only_the_link_is_looked_at():
    asleep = judge(facts(asleep=True, loop=DEAD, exit=DEAD))
    assert (asleep.ready, asleep.asleep) == (True, True)
    assert states(asleep) == {"mixnet": "unknown", "exit": "unknown"}
    assert not judge(facts(asleep=True, link="reconnecting")).ready


def test_who_does_not_pay_has_no_money_to_fail():
    health = judge(facts(pays=False, supply="exhausted", hindrance=FUNDS, ticket=NO_TICKET, clock=CLOCK))
    assert health.ready
    assert states(health) == dict.fromkeys(("wallet", "chain", "signers", "tickets"), "unknown")


def test_layers_of_errors_are_those_words():
    assert [layer_name(name) for name in LAYERS] == list(LAYERS)
    assert {layer_name(name) for name in ("topology", "store", "start", "proxy", "nonsense")} == {"mixnet"}


TROUBLES = st.none() | st.builds(
    Trouble,
    st.sampled_from(["wallet", "chain", "signers", "tickets"]),
    st.just("E_X"),
    st.just("What."),
    st.just("Do."),
)
PROBES = st.sampled_from([Probe(), ALIVE, ALIVE.failed(NOW, "x"), DEAD])
ANY = st.builds(
    Facts,
    st.just(NOW),
    link=st.none() | st.sampled_from(["connecting", "ready", "out_of_bandwidth", "reconnecting", "closed"]),
    missing=st.tuples(st.sampled_from([*LAYERS, "topology", "store"]), st.just("why")),
    asleep=st.booleans(),
    pays=st.booleans(),
    supply=st.sampled_from(["ok", "degraded", "exhausted"]),
    hindrance=TROUBLES,
    refusing=st.booleans(),
    ticket=TROUBLES,
    clock=TROUBLES,
    loop=PROBES,
    exit=PROBES,
    target_failures=st.integers(0, 9),
)


@given(ANY)
def test_the_verdict_follows_from_the_layers(found):
    health = judge(found)
    assert [layer.name for layer in health.layers] == list(LAYERS)
    assert health.state is worst(layer.state for layer in health.layers)
    assert health.ready == (health.state is not State.FAILING)
    if health.layer is not None:
        cause = next(layer for layer in health.layers if layer.name == health.layer)
        assert cause.state is health.state
        assert cause.code == health.code is not None
    else:
        assert health.state is State.OK or health.state is State.UNKNOWN
    if found.link != "ready":
        assert not health.ready, "without a link no stream gets through"
