"""The recorded requests of upstream's programs, answered by our chain and signers (docs/protocol/08 §10, 09 §10)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from nym_localnet.chain.dkg_contract import PHASES
from tests.localnet.recorded_world import (
    RecordedWorld,
    comparable,
    fund,
    recorded_world,
    rejection_of,
    simulated_sequence,
    ticket_request,
    tx_sequence,
)
from tests.vector_files import load
from zknym import PayInfo, b58decode

pytestmark = pytest.mark.vectors

FILE = load("recorded-chain")
FLOWS = {flow["name"].split()[0]: flow for flow in FILE["flows"]}
KNOWN_FLOWS = {"1", "2", "2b", "3", "4", "5", "6", "7"}
CONSECUTIVE = ("1", "2", "3", "4")
KNOWN_ERRORS = {
    "simulate refused (price changed between query and simulation)",
    "CheckTx refused",
    "failed inside the block",
    "transaction not found yet",
    "blind-sign refused",
}


async def replay(world: RecordedWorld, step: Mapping[str, Any], http: aiohttp.ClientSession) -> str:
    """Ask what was asked and compare; returns what kind of step it was."""
    request, expected = step["request"], step["response"]
    if step["to"] == "rpc":
        if request["method"] == "tx" and "result" in expected and world.nyx.chain.waiting:
            world.nyx.chain.make_block(world.now_unix)
        answer = json.loads(world.rpc.handle(json.dumps(request).encode()))
        assert comparable(answer) == comparable(expected)
        assert list(answer) == list(expected)
        return str(request["method"])
    body = request["body"]
    url = world.signer(step["to"]).url.rstrip("/") + request["path"]
    headers = {name: value for name, value in request["headers"].items() if name != "Accept-Encoding"}
    data = None if body is None else json.dumps(body).encode()
    async with http.request(request["method"], url, data=data, headers=headers) as response:
        text = await response.text()
        assert response.status == expected["status"], text
        if isinstance(expected["body"], str):
            assert text == expected["body"]
            assert response.content_type == "text/plain"
        else:
            assert json.loads(text) == expected["body"]
            assert response.content_type == "application/json"
    return str(request["path"]).split("?")[0]


async def prepare(world: RecordedWorld, number: str) -> None:
    """What had happened before a flow (meta.flow_state)."""
    for step in FLOWS[number]["steps"]:
        if step["to"] == "rpc" or "verify-ecash-ticket" not in step["request"]["path"]:
            continue
        request, rejection = ticket_request(step["request"]["body"]), rejection_of(step["response"])
        if rejection == "ReplayedTicket":
            await world.remember(request)
        elif rejection == "DoubleSpend":  # somewhere else before, with another pay-info
            info = request.credential.pay_info
            await world.remember(request, PayInfo(bytes(32), info.timestamp, info.gateway_identity))
    if number == "7":
        deposit = FILE["state"]["deposit_of_flow_7"]
        key = b58decode(deposit["bs58_encoded_ed25519_pubkey"])
        world.nyx.ecash.put_deposit(deposit["deposit_id"], key)


def test_every_recorded_entry_is_known() -> None:
    assert set(FLOWS) <= KNOWN_FLOWS
    assert set(FILE["error_answers"]) <= KNOWN_ERRORS
    assert FLOWS


async def test_flows_that_follow_each_other() -> None:
    async with recorded_world(FILE) as world, aiohttp.ClientSession() as http:
        done = []
        for number in CONSECUTIVE:
            if number not in FLOWS:
                continue
            await prepare(world, number)
            done += [await replay(world, step, http) for step in FLOWS[number]["steps"]]
        assert done
        if "1" in FLOWS:
            assert world.nyx.ecash.deposits == 1
            assert world.nyx.ecash.deposited == int(FILE["state"]["price"]["amount"])


@pytest.mark.parametrize("number", sorted(set(FLOWS) - set(CONSECUTIVE)))
async def test_flows_that_stand_alone(number: str) -> None:
    funded = number != "2b"  # a gateway's account before it got its coins
    async with recorded_world(FILE, funded_gateways=funded) as world, aiohttp.ClientSession() as http:
        await prepare(world, number)
        assert [await replay(world, step, http) for step in FLOWS[number]["steps"]]


def set_sequence(world: RecordedWorld, sequence: int) -> None:
    from dataclasses import replace

    ledger = world.nyx.chain.ledger
    account = ledger.account(FILE["state"]["buyer"]["address"])
    assert account is not None
    ledger.update(replace(account, sequence=sequence))


@pytest.mark.parametrize("name", sorted(FILE["error_answers"]))
async def test_refusals(name: str) -> None:
    (step,) = FILE["error_answers"][name]
    async with recorded_world(FILE) as world, aiohttp.ClientSession() as http:
        expected = step["response"]
        match name:
            case "simulate refused (price changed between query and simulation)":
                set_sequence(world, simulated_sequence(step["request"]["params"]["data"]))
                log = expected["result"]["response"]["log"]
                required = log.split("required: ")[1].split(":")[0]
                from nym_credentials.money import Coin

                world.nyx.ecash.price = Coin.parse(required)
            case "CheckTx refused":
                # The recorded chain was told to refuse: its numbers are not those of the transaction.
                world.nyx.faults.refuse_broadcast = (expected["result"]["code"], expected["result"]["log"])
            case "failed inside the block":
                raw = base64.b64decode(expected["result"]["tx"])
                set_sequence(world, tx_sequence(raw))
                fund(world.nyx, FILE["state"]["buyer"]["address"], 10**9)
                text = expected["result"]["tx_result"]["log"].split(": ", 2)[2]
                world.nyx.faults.fail_in_block = text.removesuffix(": execute wasm contract failed")
                assert world.nyx.chain.submit(raw).code == 0
            case "blind-sign refused":
                world.nyx.dkg.set_phase(PHASES[0], world.now_unix)
        assert await replay(world, step, http)


async def test_a_wrong_sequence_is_refused_in_the_recorded_words() -> None:
    (step,) = FILE["error_answers"]["CheckTx refused"]
    async with recorded_world(FILE) as world:
        raw = base64.b64decode(step["request"]["params"]["tx"])
        asked = tx_sequence(raw)
        set_sequence(world, asked + 1)
        submission = world.nyx.chain.submit(raw)
        recorded = step["response"]["result"]
        assert (submission.code, submission.codespace) == (recorded["code"], recorded["codespace"])
        assert submission.log == (
            f"account sequence mismatch, expected {asked + 1}, got {asked}: incorrect account sequence"
        )
        assert submission.hash == recorded["hash"]
