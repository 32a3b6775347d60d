"""One signer over HTTP, as it should be and as it should not (docs/protocol/09 §1)."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from nym_credentials.signers import refusals
from nym_credentials.signers.client_io import SignerHttp, SignerHttpOptions, SignerRefused
from nym_credentials.signers.epoch import Signer
from nym_credentials.signers.pool_io import SignerPool, retry_delay
from nym_credentials.signers.refusals import Refusal, Verdict
from nym_credentials.signers.routes import date_parameter, epoch_parameter
from tests.credentials.signers.mini_signers import THRESHOLD, epoch_keys
from zknym import MalformedData, default_expiration


def first(network) -> Signer:
    return network.signer_set().signers[0]


@pytest.mark.parametrize("fault", ["", "bincode"])
async def test_everything_that_can_be_fetched(network, http, fault):
    """By the type of the response, not by what was asked for."""
    if fault:
        network.signers[0].faults.add(fault)
    signer, keys, day = first(network), network.keys, default_expiration(network.today)
    assert (await http.status(signer)).ill_because(5, network.now) == ""
    assert await http.master_key(signer, 5) == keys.master
    (await http.coin_signatures(signer, 5)).verify(keys.master)
    (await http.coin_signatures(signer, 5, partial=True)).verify(keys.master, key=signer.key)
    (await http.date_signatures(signer, 5, day)).verify(keys.master)
    (await http.date_signatures(signer, 5, day, partial=True)).verify(signer.key)


@pytest.mark.parametrize(
    "fault, words, verdict",
    [
        ("down", "refused with 503", Verdict.LATER),
        ("not-json", "answered nonsense", Verdict.OTHERS),
        ("flood", "far too much", Verdict.OTHERS),
        ("redirect", "refused with 302", Verdict.OTHERS),
        ("forged-status", "not signed by the signer's key", Verdict.OTHERS),
    ],
)
async def test_what_goes_wrong(network, http, fault, words, verdict):
    network.signers[0].faults.add(fault)
    with pytest.raises(SignerRefused, match=words) as caught:
        await http.status(first(network))
    assert caught.value.verdict is verdict
    assert first(network).base in str(caught.value)
    assert caught.value.layer == "signers"


@pytest.mark.parametrize(
    "fault, words", [("wrong-epoch", "epoch 6 instead of 5"), ("wrong-date", r"\d{4}.* instead of \d{4}")]
)
async def test_answers_for_something_else(network, http, fault, words):
    network.signers[0].faults.add(fault)
    with pytest.raises(SignerRefused, match=words):
        await http.date_signatures(first(network), 5, default_expiration(network.today))


async def test_silence(network):
    network.signers[0].faults.add("silent")
    options = SignerHttpOptions(status_timeout_seconds=0.05)
    async with SignerHttp(options=options) as http:
        with pytest.raises(SignerRefused, match="no answer in time") as caught:
            await http.status(first(network))
    assert caught.value.verdict is Verdict.LATER


async def test_nobody_listens(network, http):
    signer = Signer(1, epoch_keys(5).master, "http://127.0.0.1:9/")
    with pytest.raises(SignerRefused, match="cannot be reached"):
        await http.status(signer)


async def test_a_peer_cannot_write_into_logs(network, http, monkeypatch):
    monkeypatch.setattr(refusals, "CACHE_EMPTY", "line\n\x1b[31mred" + "x" * 1_000)
    network.signers[0].faults.add("down")
    with pytest.raises(SignerRefused) as caught:
        await http.status(first(network))
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


async def test_the_connector_is_the_callers(network):
    """By it all of this goes through a proxy."""
    made = []

    class Watched(aiohttp.TCPConnector):
        async def connect(self, req, traces, timeout):
            made.append(str(req.url))
            return await super().connect(req, traces, timeout)

    async with SignerHttp(connector_factory=Watched) as http:
        await http.status(first(network))
    assert made == [f"{first(network).base}/v1/ecash/signer-status"]


class TestPool:
    async def test_shares_are_asked_for_at_once_and_the_rest_let_go(self, network, http):
        network.signers[2].faults.add("silent")
        network.signers[0].faults.add("leaves")
        signers = network.signer_set().signers
        request = await _request(network)
        taken = []

        async def take(signer, blinded):
            taken.append(signer.index)
            return True

        pool = SignerPool(http, first_retry_seconds=0.01)
        problems = await pool.collect_shares(signers, request, take, patience_seconds=20.0)
        assert taken == [2]
        assert all("not an active ecash signer" in why for why in problems.values())
        left = [task for task in asyncio.all_tasks() if "collect_shares" in repr(task.get_coro())]
        assert not left, "nobody goes on asking"

    async def test_an_error_of_the_store_ends_it(self, network, http):
        async def take(signer, blinded):
            raise OSError("the disk is full")

        with pytest.raises(OSError, match="disk is full"):
            await SignerPool(http).collect_shares(
                network.signer_set().signers, await _request(network), take, patience_seconds=20.0
            )

    async def test_quorum_tells_who_is_ill(self, network, http):
        network.signers[1].faults.add("disabled")
        quorum = await SignerPool(http).quorum(network.signer_set(), lambda: network.now)
        assert [signer.index for signer in quorum.well] == [1, 3]
        assert len(quorum.well) == THRESHOLD
        assert list(quorum.ill) == [network.signers[1].url.rstrip("/")]

    async def test_who_cannot_say_how_it_is_but_knows_the_epoch_is_well(self, network, http):
        network.signers[0].faults.add("no-status")
        network.signers[1].faults |= {"no-status", "lying"}
        quorum = await SignerPool(http).quorum(network.signer_set(), lambda: network.now)
        assert [signer.index for signer in quorum.well] == [1, 3]
        assert "404" in quorum.ill[network.signers[1].url.rstrip("/")]

    async def test_one_that_knows_no_route_at_all_is_ill(self, network, http):
        network.signers[0].faults.add("elsewhere")
        quorum = await SignerPool(http).quorum(network.signer_set(), lambda: network.now)
        assert [signer.index for signer in quorum.well] == [2, 3]


async def _request(network):
    from tests.credentials.purchase.test_records import LIFE, S

    purchase = LIFE[S.REQUESTING]
    while len(network.deposits) <= purchase.deposit.deposit_id:
        network.deposits.append(purchase.identity_key)
    return purchase.sign_request()


def test_delays_grow_to_a_minute():
    delays = [retry_delay(attempt) for attempt in range(1, 100)]
    assert delays[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert max(delays) == 60


@pytest.mark.parametrize(
    "status, text, verdict",
    [
        (400, refusals.NOT_A_SIGNER, Verdict.OTHERS),
        (400, refusals.DKG_RUNNING, Verdict.LATER),
        (400, refusals.NO_KEYS_YET, Verdict.LATER),
        (400, refusals.chain_failed("no route"), Verdict.LATER),
        (400, refusals.unknown_deposit(7), Verdict.LATER),
        (400, refusals.DATE_TOO_LATE, Verdict.LATER),
        (400, refusals.SIGNATURE_WRONG, Verdict.FATAL),
        (400, refusals.BLACKLISTED, Verdict.FATAL),
        (400, refusals.ecash_failed("bad proof"), Verdict.FATAL),
        (400, "words that nobody knows", Verdict.LATER),
        (404, "", Verdict.OTHERS),
        (410, refusals.FILTER_RETIRED, Verdict.OTHERS),
        (415, "", Verdict.FATAL),
        (422, "", Verdict.FATAL),
        (500, "", Verdict.LATER),
        (503, refusals.CACHE_EMPTY, Verdict.LATER),
    ],
)
def test_what_refusals_mean(status, text, verdict):
    assert Refusal(status, text).verdict is verdict


def test_parameters():
    assert epoch_parameter(None) is None
    assert date_parameter(None) is None
    assert epoch_parameter("18446744073709551615") == 2**64 - 1
    for text in ("", "-1", "18446744073709551616", "٣", "1" * 5_000, "0x1"):
        with pytest.raises(MalformedData):
            epoch_parameter(text)
    with pytest.raises(MalformedData):
        date_parameter("22-05-2026")
