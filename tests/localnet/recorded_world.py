"""The test network's chain and signers in the state of the recorded exchanges, with their clock."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nym_credentials.networks import Contracts
from nym_credentials.signers.tickets import VerifyTicketRequest
from nym_localnet.chain.dkg_contract import DkgEpoch, KeyShare
from nym_localnet.chain.genesis import Nyx, new_chain
from nym_localnet.chain.rpc import Rpc
from nym_localnet.ecash.key_epochs import EpochKeys, KeyEpochs
from nym_localnet.ecash.signer_io import Signer
from nym_localnet.ecash.signer_rules import SignerRules, serial_of
from nym_localnet.ecash.signer_store_io import SignerStore, StoredTicket
from zknym import PayInfo, SignerKeys, SignerSecretKey, b58decode


def recorded_clock(file: Mapping[str, Any]) -> float:
    """The time that the file asks for: the first one in its note about the clock."""
    text: str = file["meta"]["clock"]
    stamp = next(word.rstrip(",.;:") for word in text.split() if word.count("-") == 2 and "T" in word)
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).astimezone(UTC).timestamp()


def smart_answer(step: Mapping[str, Any]) -> Any:
    """The JSON that a contract answered in a recorded step; None for other steps."""
    text = (step.get("decoded") or {}).get("answer_json")
    return None if text is None else json.loads(text)


def recorded_shares(file: Mapping[str, Any]) -> dict[int, Any]:
    """Owner and address of each signer, which only the recorded answers have."""
    shares = {}
    for flow in file["flows"]:
        for step in flow["steps"]:
            answer = smart_answer(step)
            if isinstance(answer, dict):
                shares |= {share["node_index"]: share for share in answer.get("shares", ())}
    return shares


@dataclass
class RecordedWorld:
    nyx: Nyx
    rpc: Rpc
    keys: KeyEpochs
    signers: list[Signer] = field(default_factory=list)
    now_unix: float = 0.0

    def signer(self, name: str) -> Signer:
        number = int(name.removeprefix("signer "))
        return next(each for each in self.signers if each.index == number)

    async def remember(self, request: VerifyTicketRequest, pay_info: PayInfo | None = None) -> None:
        """Let all signers know a ticket, paid with its own pay-info or another one."""
        credential = request.credential
        for signer in self.signers:
            await signer.store.put_ticket(
                StoredTicket(
                    serial_of(credential),
                    (pay_info or credential.pay_info).encode(),
                    request.gateway_address,
                    credential.spend_date,
                    credential.payment.ticket_type,
                    self.now_unix,
                )
            )


@asynccontextmanager
async def recorded_world(
    file: Mapping[str, Any], *, funded_gateways: bool = True
) -> AsyncIterator[RecordedWorld]:
    """A world of its own; nothing is listening but the signers."""
    state, now = file["state"], recorded_clock(file)
    shares = recorded_shares(file)
    owners = tuple(share["owner"] for share in shares.values())
    buyer, price = state["buyer"], state["price"]
    addresses = dict(state["contracts"])
    nyx = new_chain(
        chain_id=state["chain_id"],
        prefix="n",
        denom=price["denom"],
        price=int(price["amount"]),
        admin=owners[0],
        signers=owners,
        genesis_unix=now,
        contracts=Contracts(coconut_dkg=addresses.pop("dkg"), **addresses),
    )
    nyx.chain.ledger.open_account(buyer["address"], number=buyer["account_number"])
    fund(nyx, buyer["address"], int(buyer["balance_at_start"]))
    for gateway in state["gateways"] if funded_gateways else ():
        fund(nyx, gateway["cosmos_address"], 5_000_000)
    secrets = [
        (each["index"], SignerSecretKey.decode(bytes.fromhex(each["secret_key_hex"])))
        for each in state["signers"]
    ]
    signers = [SignerKeys(index, secret, secret.verification_key()) for index, secret in secrets]
    keys = KeyEpochs()
    keys.add(EpochKeys.of(state["epoch_id"], state["threshold"], signers))
    published = tuple(
        KeyShare(
            shares[each.index]["owner"],
            each.index,
            shares[each.index]["share"],
            shares[each.index]["announce_address"],
            "",
        )
        for each in signers
    )
    assert all(
        b58decode(share.key) == each.verification.encode()
        for share, each in zip(published, signers, strict=True)
    )
    nyx.dkg.begin_epoch(DkgEpoch(state["epoch_id"], state["threshold"], published), now)
    world = RecordedWorld(nyx, Rpc(nyx.chain, clock=lambda: now), keys, now_unix=now)
    for share in published:
        world.signers.append(
            Signer(
                SignerRules(share.owner, share.node_index, dkg=nyx.dkg, ecash=nyx.ecash, keys=keys),
                bytes([share.node_index]) * 32,
                SignerStore(),
                multisig=nyx.multisig,
                ecash_address=nyx.ecash.address,
                peers=world.signers,
                clock=lambda: now,
            )
        )
    try:
        for signer in world.signers:
            await signer.start()
        yield world
    finally:
        for signer in world.signers:
            await signer.close()


def fund(nyx: Nyx, address: str, amount: int) -> None:
    from nym_credentials.money import Coin

    nyx.chain.ledger.mint(address, Coin(nyx.chain.denom, amount))


def tx_sequence(raw: bytes) -> int:
    """The sequence that a transaction was signed for."""
    from nym_localnet.chain.transactions import Transaction

    return Transaction.decode(raw).signed.sequence


def simulated_sequence(data_hex: str) -> int:
    """The sequence of the transaction in a simulation's request."""
    from nym_credentials.chain.messages import SimulateQuery

    return tx_sequence(SimulateQuery.decode(bytes.fromhex(data_hex)).tx_bytes)


def comparable(answer: Any) -> Any:
    """An answer of the chain without what depends on the block it was given at."""
    if "error" in answer:
        return answer
    result = json.loads(json.dumps(answer["result"]))
    if "response" in result:
        response = result["response"]
        response["height"] = "?"
        response["value"] = without_deadline(response["value"])
    if "sync_info" in result:
        return {**answer, "result": _shape(result)}
    if "tx_result" in result:
        result["height"] = "?"
    return {**answer, "result": result}


def without_deadline(value: str | None) -> Any:
    """A query's answer; those of contracts as JSON, without the deadline of the epoch."""
    from nym_credentials.chain.messages import SmartAnswer

    if value is None:
        return None
    raw = base64.b64decode(value)
    try:
        found = json.loads(SmartAnswer.decode(raw).data)
    except Exception:  # no contract's answer: then the bytes are compared
        return value
    if isinstance(found, dict) and "deadline" in found:
        assert found["deadline"].isdigit()
        found["deadline"] = "?"
    return json.dumps(found)  # with the order of the members


def _shape(value: Any) -> Any:
    """Names and kinds of values: a status has nothing else in common with another node's."""
    if isinstance(value, dict):
        return {name: _shape(item) for name, item in value.items()}
    return type(value).__name__


def ticket_request(body: Mapping[str, Any]) -> VerifyTicketRequest:
    return VerifyTicketRequest.from_json(dict(body))


def rejection_of(response: Mapping[str, Any]) -> str | None:
    verified = response["body"]["verified"]
    return verified.get("Err") if isinstance(verified, dict) else None
