"""Endpoints that fail, lie, lag and disagree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from nym_credentials.chain.grpc_transport_io import GrpcTransport
from nym_credentials.chain.messages import SmartQuery
from nym_credentials.chain.nodes import shown_url
from nym_credentials.chain.rest_transport_io import RestTransport
from nym_credentials.chain.rpc import AbciAnswer, BroadcastAnswer, TxAnswer, TxSearchAnswer, tx_not_found
from nym_credentials.chain.transactions import hash_of
from nym_credentials.chain.transport_io import JsonRpcTransport
from nym_credentials.errors import (
    ChainUnreachable,
    MalformedChainData,
    MempoolFull,
    NodeStale,
    RpcRefused,
    SubmissionUnclear,
    WrongChain,
)
from tests.credentials.chain.world import Node, node, status_now

TX = b"some transaction"
HASH = hash_of(TX)
NOWHERE = "http://127.0.0.1:1"
ANSWER = AbciAnswer(b"yes").to_result()
FULL = {"error": {"code": -32603, "message": "Internal error", "data": "mempool is full: number of txs 5000"}}


def refusing(status: int) -> Any:
    """A handler that answers with an HTTP status."""
    return lambda _: web.Response(status=status, text="no")


@asynccontextmanager
async def over(*nodes: Node | str, **options: Any) -> AsyncIterator[JsonRpcTransport]:
    """A transport over those endpoints."""
    urls = [each if isinstance(each, str) else each.url for each in nodes]
    async with JsonRpcTransport(urls, **options) as transport:
        yield transport


async def test_the_next_endpoint_is_asked_and_then_preferred() -> None:
    async with (
        node(abci_query=refusing(503)) as broken,
        node(abci_query=ANSWER) as good,
        over(NOWHERE, broken, good, chain_id="nyx") as transport,
    ):
        for _ in range(3):
            assert (await transport.abci_query(SmartQuery.PATH, b"q")).value == b"yes"
        assert broken.count("abci_query") == 1
        assert good.count("abci_query") == 3
        assert good.count("status") == 1


@pytest.mark.parametrize(
    "answer",
    [
        refusing(500),
        refusing(302),
        lambda _: web.Response(text="not JSON"),
        lambda _: web.json_response({"jsonrpc": "2.0", "id": "another", "result": {}}),
        {"response": {"value": "***"}},
        {"error": {"code": -32601, "message": "Method not found"}},
    ],
)
async def test_whatever_is_wrong_with_one_endpoint_another_helps(answer: Any) -> None:
    async with (
        node(abci_query=answer) as broken,
        node(abci_query=ANSWER) as good,
        over(broken, good, chain_id="nyx") as transport,
    ):
        assert (await transport.abci_query("/x", b"")).value == b"yes"


async def test_a_malformed_answer_names_endpoint_and_member() -> None:
    async with node(abci_query={"response": {"value": "***"}}) as broken, over(broken) as transport:
        with pytest.raises(MalformedChainData) as caught:
            await transport.abci_query("/x", b"")
        assert caught.value.field == "response.value"
        assert caught.value.endpoint == broken.url
        assert broken.url in str(caught.value)


async def test_an_endless_answer_is_cut() -> None:
    async def endless(_: Any) -> web.StreamResponse:
        return web.Response(body=b" " * (17 * 1024 * 1024))

    async with node(abci_query=endless) as broken, over(broken, chain_id="nyx") as transport:
        with pytest.raises(MalformedChainData, match="body"):
            await transport.abci_query("/x", b"")


async def test_nobody_answers() -> None:
    async with over(NOWHERE, "http://127.0.0.1:2") as transport:
        with pytest.raises(ChainUnreachable, match=r"127\.0\.0\.1:2") as caught:
            await transport.status()
        assert caught.value.retryable


async def test_a_silent_endpoint_is_given_up() -> None:
    async def silent(_: Any) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async with (
        node(abci_query=silent) as slow,
        node(abci_query=ANSWER) as good,
        over(slow, good, chain_id="nyx", timeout_seconds=1.0) as transport,
    ):
        assert (await transport.abci_query("/x", b"")).value == b"yes"


# --- which endpoints are believed -------------------------------------------------------------------------------


async def test_endpoints_of_different_chains_stop_everything() -> None:
    async with (
        node(abci_query=ANSWER) as one,
        node(status=status_now("other"), abci_query=ANSWER) as two,
        over(one, two) as transport,
    ):
        with pytest.raises(WrongChain) as caught:
            await transport.abci_query("/x", b"")
        assert not caught.value.retryable
        for text in (one.url, two.url, "nyx", "other"):
            assert text in str(caught.value)
        assert one.count("abci_query") == two.count("abci_query") == 0


async def test_with_an_expected_chain_the_others_are_left_out() -> None:
    async with (
        node(status=status_now("other"), abci_query=AbciAnswer(b"no").to_result()) as wrong,
        node(abci_query=ANSWER) as right,
        over(wrong, right, chain_id="nyx") as transport,
    ):
        assert (await transport.abci_query("/x", b"")).value == b"yes"
        assert (await transport.status()).chain_id == "nyx"
        assert wrong.count("abci_query") == 0


async def test_no_endpoint_of_the_expected_chain() -> None:
    async with node(status=status_now("other")) as wrong, over(wrong, NOWHERE, chain_id="nyx") as transport:
        with pytest.raises(WrongChain, match="other"):
            await transport.abci_query("/x", b"")


async def test_an_endpoint_that_moves_to_another_chain_is_noticed() -> None:
    async with node(abci_query=ANSWER) as moving, over(moving) as transport:
        assert (await transport.status()).chain_id == "nyx"
        moving.answers["status"] = status_now("other")
        with pytest.raises(WrongChain):
            await transport.status(fresh=True)
        with pytest.raises(WrongChain):
            await transport.abci_query("/x", b"")


@pytest.mark.parametrize("status", [{"age": 400.0}, {"catching_up": True}])
async def test_a_node_that_is_behind_is_left_out(status: dict[str, Any]) -> None:
    async with (
        node(status=lambda _: status_now(**status)) as stale,
        node(abci_query=ANSWER) as good,
        over(stale, good) as transport,
    ):
        assert (await transport.abci_query("/x", b"")).value == b"yes"
        assert stale.count("abci_query") == 0
    async with node(status=lambda _: status_now(**status)) as stale, over(stale) as transport:
        with pytest.raises(NodeStale) as caught:
            await transport.abci_query("/x", b"")
        assert caught.value.retryable
        assert stale.url in str(caught.value)


async def test_a_status_ages() -> None:
    now = 0.0
    async with (
        node(abci_query=ANSWER) as only,
        over(only, chain_id="nyx", monotonic=lambda: now) as transport,
    ):
        for now, asked in ((0.0, 1), (20.0, 1), (31.0, 2)):  # noqa: B007  read by the lambda
            await transport.abci_query("/x", b"")
            assert only.count("status") == asked


# --- transactions -----------------------------------------------------------------------------------------------


def taken(_: Any) -> dict[str, Any]:
    """The answer of a node that puts the transaction into its mempool."""
    return BroadcastAnswer(HASH).to_result()


REFUSED = BroadcastAnswer(HASH, 32, "sdk", "account sequence mismatch").to_result()


async def test_a_refusal_is_an_answer() -> None:
    async with (
        node(broadcast_tx_sync=REFUSED) as one,
        node(broadcast_tx_sync=taken) as two,
        over(one, two) as transport,
    ):
        assert (await transport.broadcast(TX)).code == 32
        assert two.count("broadcast_tx_sync") == 0


async def test_endpoints_that_never_heard_of_it_do_not_matter() -> None:
    async with (
        node(status=status_now("other"), broadcast_tx_sync=taken) as wrong,
        node(broadcast_tx_sync=REFUSED) as good,
        over(NOWHERE, wrong, good, chain_id="nyx") as transport,
    ):
        assert (await transport.broadcast(TX)).code == 32
        assert wrong.count("broadcast_tx_sync") == 0


@pytest.mark.parametrize(
    "answer",
    [
        refusing(502),
        {"code": 0},
        BroadcastAnswer("00" * 32).to_result(),
        {"error": {"code": -32603, "message": "Internal error", "data": "timed out"}},
    ],
)
async def test_after_an_unclear_answer_a_refusal_is_unclear_too(answer: Any) -> None:
    async with (
        node(broadcast_tx_sync=answer) as broken,
        node(broadcast_tx_sync=REFUSED) as other,
        over(broken, other, chain_id="nyx") as transport,
    ):
        with pytest.raises(SubmissionUnclear, match=HASH):
            await transport.broadcast(TX)
    async with (
        node(broadcast_tx_sync=answer) as broken,
        node(broadcast_tx_sync=taken) as other,
        over(broken, other, chain_id="nyx") as transport,
    ):
        assert (await transport.broadcast(TX)).code == 0


async def test_the_same_bytes_again_are_fine() -> None:
    known = {"error": {"code": -32603, "message": "Internal error", "data": "tx already exists in cache"}}
    async with node(broadcast_tx_sync=known) as only, over(only) as transport:
        assert await transport.broadcast(TX) == BroadcastAnswer(HASH)


async def test_a_full_mempool_is_no_unclear_answer() -> None:
    async with node(broadcast_tx_sync=FULL) as full, over(full) as transport:
        with pytest.raises(MempoolFull):
            await transport.broadcast(TX)
    async with (
        node(broadcast_tx_sync=FULL) as full,
        node(broadcast_tx_sync=taken) as good,
        over(full, good) as both,
    ):
        assert (await both.broadcast(TX)).code == 0


async def test_transactions_by_hash() -> None:
    included = TxAnswer(HASH, 5, TX)
    async with node(tx=included.to_result()) as only, over(only) as transport:
        assert await transport.tx(HASH) == included
        only.answers["tx"] = {"error": tx_not_found(HASH).to_object()}
        assert await transport.tx(HASH) is None
        only.answers["tx"] = {
            "error": {"code": -32603, "message": "Internal error", "data": "indexing is disabled"}
        }
        with pytest.raises(RpcRefused, match="indexing is disabled"):
            await transport.tx(HASH)


@pytest.mark.parametrize("answer", [TxAnswer("00" * 32, 5, TX), TxAnswer(HASH, 5, b"something else")])
async def test_another_transaction_is_no_answer(answer: TxAnswer) -> None:
    async with node(tx=answer.to_result()) as only, over(only) as transport:
        with pytest.raises(MalformedChainData, match="hash"):
            await transport.tx(HASH)


async def test_not_found_by_a_node_that_is_behind_is_no_answer() -> None:
    missing = {"error": tx_not_found(HASH).to_object()}
    async with node(status=lambda _: status_now(age=1000.0), tx=missing) as stale, over(stale) as transport:
        with pytest.raises(NodeStale):
            await transport.tx(HASH)


async def test_searching() -> None:
    page = TxSearchAnswer((TxAnswer(HASH, 5, TX),), 1)
    async with node(tx_search=page.to_result()) as only, over(only) as transport:
        assert await transport.tx_search("message.sender='n1'") == page
        assert only.seen[-1]["params"]["query"] == "message.sender='n1'"


# --- what is sent -----------------------------------------------------------------------------------------------


async def test_requests_carry_nothing_that_links_them() -> None:
    def tracking(_: Any) -> web.Response:
        response = web.json_response({"jsonrpc": "2.0", "id": _["id"], "result": ANSWER})
        response.set_cookie("who", "you")
        return response

    async with node(abci_query=tracking) as only, over(only) as transport:
        for _ in range(2):
            await transport.abci_query("/x", b"")
        requests = [request for request in only.seen if request["method"] == "abci_query"]
        assert requests[0]["id"] != requests[1]["id"]
        for request in only.seen:
            assert not {"User-Agent", "Cookie", "Referer"} & request["headers"].keys()


async def test_all_of_it_goes_through_the_given_connector() -> None:
    used = []

    class Counting(aiohttp.TCPConnector):
        async def connect(self, request: Any, *rest: Any, **more: Any) -> Any:
            used.append(str(request.url))
            return await super().connect(request, *rest, **more)

    async with node(abci_query=ANSWER) as only, over(only, connector_factory=Counting) as transport:
        await transport.abci_query("/x", b"")
        assert len(used) == len(only.seen) == 2
        await transport.close()
        await transport.abci_query("/x", b"")
        assert len(used) == len(only.seen)


@pytest.mark.parametrize("kind", [lambda url: JsonRpcTransport([url]), RestTransport, GrpcTransport])
async def test_access_keys_in_urls_are_not_shown(kind: Any) -> None:
    async with kind("http://user:secret@127.0.0.1:1/api-key?token=abc") as transport:
        with pytest.raises(ChainUnreachable) as caught:
            await transport.status()
        assert "http://127.0.0.1:1" in str(caught.value)
        for secret in ("user", "secret", "api-key", "abc"):
            assert secret not in str(caught.value)


def test_shown_urls() -> None:
    assert shown_url("https://[::1]:5/x") == "https://[::1]:5"
    assert shown_url("https://host/x?y#z") == "https://host"


def test_a_transport_needs_an_endpoint() -> None:
    with pytest.raises(ValueError, match="at least one"):
        JsonRpcTransport([])
