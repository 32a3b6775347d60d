"""Signers on real sockets: the order of their checks, their memory, their lies (docs/protocol/09 §2–§7)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nym_credentials.chain.records import Included
from nym_credentials.signers import refusals
from nym_credentials.signers.audits import AuditRequest, ChallengeAnswer, DataAnswer, IssuedCounts, IssuedFor
from nym_credentials.signers.envelope import Envelope, EnvelopeSignatureInvalid
from nym_credentials.signers.issuance import (
    BlindSignAnswer,
    CoinSignaturesAnswer,
    DateSignaturesAnswer,
    MasterKeyAnswer,
)
from nym_credentials.signers.routes import Route
from nym_credentials.signers.status import SignerStatus
from nym_credentials.signers.tickets import (
    BatchRedeemRequest,
    Rejection,
    VerifyTicketAnswer,
    VerifyTicketRequest,
    redemption_digest,
)
from nym_credentials.signers.wire import Output, compact
from nym_localnet.chain.dkg_contract import PHASES
from nym_localnet.ecash.signer_io import Signer
from nym_localnet.ecash.signer_rules import serial_of
from tests.localnet.paying import Buyer, buyer, paying_net, purse, today
from zknym import (
    EcashError,
    IssuanceVerification,
    PendingTicketBook,
    SignatureSetInvalid,
    SpendingCredential,
    TicketType,
    b58decode,
    b58encode,
    encode_date,
    merkle_root,
    request_withdrawal,
    unblind,
    verify_coin_indices,
    verify_expiration_date,
)


def withdrawal(payer: Buyer, pending: PendingTicketBook) -> tuple[Any, Any]:
    """The body to post, and what unblinds the answer."""
    request, info = request_withdrawal(payer.user, encode_date(pending.expiration), pending.ticket_type)
    return pending.sign(request).to_json(), info


async def refused(payer: Buyer, signer: Signer, body: Any) -> str:
    status, answer = await payer.ask(signer, body)
    assert status == 400, (status, answer)
    return answer.decode()


async def test_issuing_is_by_deposit_and_repeats_itself() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        signer = net.payments.signers[0]
        pending = await payer.pending()
        body, info = withdrawal(payer, pending)
        status, first = await payer.ask(signer, body)
        assert status == 200
        assert await payer.ask(signer, body) == (200, first)
        other, other_info = withdrawal(payer, pending)
        assert await payer.ask(signer, other) == (200, first)  # whatever is asked: the stored one
        blinded = BlindSignAnswer.decode(first).blinded
        keys = net.payments.epoch.signer(signer.index)
        assert keys is not None
        unblind(blinded, info, payer.user, keys.verification, signer.index)
        with pytest.raises(IssuanceVerification):
            unblind(blinded, other_info, payer.user, keys.verification, signer.index)
        async with payer.http.post(
            signer.url.rstrip("/") + Route.BLIND_SIGN.path + "?output=bincode", json=body
        ) as response:
            assert response.content_type == "application/bincode"
            raw = await response.read()
            assert BlindSignAnswer.decode(raw, Output.BINCODE).blinded == blinded
        assert await signer.store.book_count() == 1


async def test_what_is_refused_and_in_which_order() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        signer, dkg = net.payments.signers[0], net.payments.nyx.dkg
        pending = await payer.pending()
        body, _ = withdrawal(payer, pending)
        stranger = replace(pending, signing_key=bytes(32))
        late = replace(pending, expiration=today() + timedelta(days=7))
        nowhere = replace(pending, deposit_id=77)
        assert await refused(payer, signer, withdrawal(payer, stranger)[0]) == refusals.SIGNATURE_WRONG
        assert await refused(payer, signer, withdrawal(payer, late)[0]) == refusals.DATE_TOO_LATE
        assert await refused(payer, signer, withdrawal(payer, nowhere)[0]) == refusals.unknown_deposit(77)
        relabelled = {**body, "ticketbook_type": TicketType.WIREGUARD_EXIT.label}
        assert (await refused(payer, signer, relabelled)).startswith("Compact ecash internal error - ")
        dkg.set_phase(PHASES[0], 0)
        assert await refused(payer, signer, body) == refusals.DKG_RUNNING
        assert await refused(payer, signer, withdrawal(payer, late)[0]) == refusals.DATE_TOO_LATE
        signer.faults.disabled = True
        assert await refused(payer, signer, withdrawal(payer, late)[0]) == refusals.NOT_A_SIGNER
        signer.faults.disabled = False
        dkg.set_phase("in_progress", 0)
        assert (await payer.ask(signer, body))[0] == 200
        assert (await payer.ask(signer, {}))[0] == 422
        url = signer.url.rstrip("/") + Route.BLIND_SIGN.path
        for data, kind, status in ((b"{", "application/json", 400), (b"{}", "text/plain", 415)):
            async with payer.http.post(url, data=data, headers={"Content-Type": kind}) as response:
                assert (response.status, response.content_type) == (status, "text/plain")


async def test_public_signatures_whole_and_in_shares_and_both_forms() -> None:
    async with paying_net() as net, buyer(net.payments, 0) as payer:
        epoch, signers = net.payments.epoch, net.payments.signers
        day = today() + timedelta(days=6)
        key = MasterKeyAnswer.decode(await payer.get(signers[1], Route.MASTER_KEY)).key
        assert key == epoch.master
        for signer in signers:
            own = epoch.signer(signer.index)
            assert own is not None
            coins = CoinSignaturesAnswer.decode(await payer.get(signer, Route.PARTIAL_COINS)).signatures
            verify_coin_indices(coins.signatures, key, key=own.verification)
            dates = DateSignaturesAnswer.decode(await payer.get(signer, Route.PARTIAL_DATES)).signatures
            verify_expiration_date(dates.signatures, encode_date(day), own.verification)
            for output in Output:
                raw = await payer.get(signer, Route.COINS, epoch_id=epoch.epoch_id, output=output.value)
                CoinSignaturesAnswer.decode(raw, output).signatures.verify(key)
                for back in (0, 3):
                    wanted = day - timedelta(days=back)
                    raw = await payer.get(signer, Route.DATES, expiration=wanted, output=output.value)
                    found = DateSignaturesAnswer.decode(raw, output).signatures
                    assert found.expiration == wanted
                    found.verify(key)


async def test_which_dates_and_epochs_are_served() -> None:
    async with paying_net() as net, buyer(net.payments, 0) as payer:
        signer = net.payments.signers[0]
        first = net.payments.epoch

        async def status(route: Route, **parameters: Any) -> tuple[int, str]:
            url = signer.url.rstrip("/") + route.path
            async with payer.http.get(url, params=parameters) as response:
                return response.status, await response.text()

        for days, text in ((-1, refusals.DATE_TOO_EARLY), (8, refusals.DATE_TOO_LATE)):
            asked = (today() + timedelta(days=days)).isoformat()
            for route in (Route.DATES, Route.PARTIAL_DATES):
                assert await status(route, expiration_date=asked) == (400, text)
        assert (await status(Route.DATES, expiration_date=(today() + timedelta(days=7)).isoformat()))[
            0
        ] == 200
        assert await status(Route.DATES, expiration_date="soon") == (400, refusals.DATE_MALFORMED)
        assert (await status(Route.COINS, epoch_id="many"))[0] == 400
        assert await status(Route.PARTIAL_COINS, epoch_id="99") == (
            400, refusals.wrong_epoch(99, first.epoch_id),
        )  # fmt: skip
        assert (await status(Route.MASTER_KEY, epoch_id="99"))[0] == 400
        assert await status(Route.SPENT_FILTER) == (410, refusals.FILTER_RETIRED)
        assert (await status(Route.COINS, output="yaml"))[0] == 400
        new = await net.payments.next_epoch()
        answer = MasterKeyAnswer.decode(await payer.get(signer, Route.MASTER_KEY, epoch_id=first.epoch_id))
        assert answer.key == first.master != net.payments.epoch.master
        # Of an old epoch and a date that nobody asked for then, the current keys' signatures come.
        later = today() + timedelta(days=1)
        raw = await payer.get(signer, Route.DATES, epoch_id=first.epoch_id, expiration=later)
        assert DateSignaturesAnswer.decode(raw).signatures.epoch_id == new
        # Without enough signers nothing can be put together, except what is there already.
        for other in net.payments.signers[1:]:
            other.faults.down = True
        assert await status(Route.DATES, expiration_date=today().isoformat()) == (
            400, refusals.too_few_shares(1, 2),
        )  # fmt: skip
        assert (await status(Route.COINS))[0] == 200


async def status_of(payer: Buyer, signer: Signer) -> SignerStatus:
    raw = await payer.get(signer, Route.STATUS)
    envelope = Envelope.decode(raw, SignerStatus.from_json)
    (share,) = [
        each
        for each in payer.payments.nyx.dkg.epoch(payer.payments.epoch.epoch_id).shares  # type: ignore[union-attr]
        if each.node_index == signer.index
    ]
    return envelope.verify(b58decode(share.ed25519_identity))


async def test_status() -> None:
    async with paying_net() as net, buyer(net.payments, 0) as payer:
        signer = net.payments.signers[1]
        status = await status_of(payer, signer)
        assert (status.epoch_id, status.disabled) == (net.payments.epoch.epoch_id, False)
        assert status.is_signer
        assert status.has_keys
        raw = await payer.get(signer, Route.STATUS, output="bincode")
        assert Envelope.from_bincode(raw, SignerStatus.read).body.is_signer
        signer.faults.clock_offset_seconds = -3600
        signer.faults.disabled = True
        behind = await status_of(payer, signer)
        assert status.time_unix - behind.time_unix > 3000
        assert behind.disabled
        signer.faults.forge_status = True
        with pytest.raises(EnvelopeSignatureInvalid):
            await status_of(payer, signer)
        async with payer.http.get(f"{signer.url}v1/api-status/signer-information") as response:
            about = await response.json()
        assert about["announce_address"] == signer.url
        assert about["cosmos_address"] == net.payments.address("signer2")


@pytest.mark.parametrize("lie", ["garbage_share", "other_share", "wrong_key_share"])
async def test_shares_that_are_lies(lie: str) -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        signer = net.payments.signers[0]
        setattr(signer.faults, lie, True)
        body, info = withdrawal(payer, await payer.pending())
        status, answer = await payer.ask(signer, body)
        assert status == 200
        keys = net.payments.epoch.signer(signer.index)
        assert keys is not None
        with pytest.raises(EcashError):
            unblind(BlindSignAnswer.decode(answer).blinded, info, payer.user, keys.verification, signer.index)
        pending = await payer.pending()
        assert (await payer.book(pending, net.payments.signers[1:])).spent_tickets == 0


async def test_public_data_that_is_lies() -> None:
    async with paying_net() as net, buyer(net.payments, 0) as payer:
        signer, epoch = net.payments.signers[0], net.payments.epoch
        day = today() + timedelta(days=6)
        signer.faults.lie_master_key = signer.faults.lie_coins = signer.faults.lie_dates = True
        assert MasterKeyAnswer.decode(await payer.get(signer, Route.MASTER_KEY)).key != epoch.master
        with pytest.raises(SignatureSetInvalid):
            CoinSignaturesAnswer.decode(await payer.get(signer, Route.COINS)).signatures.verify(epoch.master)
        dates = DateSignaturesAnswer.decode(await payer.get(signer, Route.DATES, expiration=day)).signatures
        with pytest.raises(SignatureSetInvalid):
            dates.verify(epoch.master)
        signer.faults.lie_dates = signer.faults.lie_coins = False
        signer.faults.lie_epoch = signer.faults.lie_date = True
        coins = CoinSignaturesAnswer.decode(await payer.get(signer, Route.COINS)).signatures
        dates = DateSignaturesAnswer.decode(await payer.get(signer, Route.DATES, expiration=day)).signatures
        assert coins.epoch_id == dates.epoch_id == epoch.epoch_id + 1
        assert dates.expiration == day - timedelta(days=1)


async def test_silence_delay_and_lost_answers() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        signer = net.payments.signers[0]
        body, info = withdrawal(payer, await payer.pending())
        for knob in ("down", "lose_next_share"):
            setattr(signer.faults, knob, True)
            with pytest.raises(aiohttp.ClientError):
                await payer.ask(signer, body)
            signer.faults.down = False
        status, answer = await payer.ask(signer, body)  # it was issued, only the answer was lost
        assert status == 200
        assert info
        assert await signer.store.book_count() == 1
        signer.faults.refuse_all = (503, "busy")
        assert await payer.ask(signer, body) == (503, b"busy")
        signer.faults.refuse_all = None
        signer.faults.refuse_blind_sign = (400, "nyxd error: asleep")
        assert await payer.ask(signer, body) == (400, b"nyxd error: asleep")
        signer.faults.refuse_blind_sign = None
        signer.faults.stall = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await payer.ask(signer, body)
        signer.faults.stall = False
        assert await payer.ask(signer, body) == (200, answer)


async def verify(
    payer: Buyer, signer: Signer, credential: SpendingCredential, gateway: str
) -> VerifyTicketAnswer:
    body = compact(VerifyTicketRequest(credential, gateway).to_json())
    url = signer.url.rstrip("/") + Route.VERIFY_TICKET.path
    async with payer.http.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
        assert response.status == 200
        return VerifyTicketAnswer.decode(await response.read())


async def test_tickets_at_a_signer() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        tickets, signer = await purse(payer), net.payments.signers[0]
        gateway = net.payments.address("gateway1")

        async def answer(credential: SpendingCredential) -> Rejection | None:
            return (await verify(payer, signer, credential, gateway)).rejection

        first = tickets.pay(bytes(32))
        assert await answer(first) is None
        assert await answer(first) is Rejection.REPLAYED
        assert await answer(tickets.pay(bytes(32), index=0)) is Rejection.DOUBLE_SPEND
        second = tickets.pay(bytes(32))
        assert await answer(replace(second, epoch_id=99)) is Rejection.INVALID
        altered = replace(second, pay_info=first.pay_info)
        assert await answer(altered) is Rejection.INVALID
        data = tickets.data
        two = tickets.book.pay(second.pay_info, today(), data.key, data.coins, data.dates, tickets=2)[0]
        assert await answer(two) is Rejection.MULTIPLE
        assert await answer(second) is None
        stored = await signer.store.ticket(serial_of(second))
        assert stored is not None
        assert (stored.gateway, stored.ticket_type) == (gateway, 0)
        together = tickets.pay(bytes(32))
        verdicts = await asyncio.gather(*(answer(together) for _ in range(4)))
        assert sorted(map(str, verdicts)) == ["None", "ReplayedTicket", "ReplayedTicket", "ReplayedTicket"]


async def test_the_days_that_a_signer_takes() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        tickets, signer = await purse(payer), net.payments.signers[0]
        rules = signer.rules
        credential = tickets.pay(bytes(32))
        midnight = encode_date(today())
        for hours, taken in (
            (0.5, True),
            (12, True),
            (24.5, True),
            (36, True),
            (48.5, True),
            (50, False),
            (-2, False),
        ):
            verdict = rules.check_ticket(credential, midnight + hours * 3600)
            assert (verdict is None) is taken, hours
        late = rules.check_ticket(credential, midnight + 50 * 3600)
        assert late is not None
        assert late.dates is not None
        assert (late.dates.received, late.dates.today) == (today(), today() + timedelta(days=2))


async def test_redemption_for_older_gateways() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        tickets, signer = await purse(payer), net.payments.signers[0]
        gateway = payer.wallet.address
        url = signer.url.rstrip("/") + Route.BATCH_REDEEM.path

        async def redeem(serials: list[bytes], proposal: int, digest: bytes | None = None) -> tuple[int, str]:
            request = BatchRedeemRequest(
                digest or redemption_digest(serials), tuple(serials), proposal, gateway
            )
            async with payer.http.post(url, json=request.to_json()) as response:
                return response.status, await response.text()

        spent = [tickets.pay(bytes(32)) for _ in range(2)]
        serials = [serial_of(each) for each in spent]
        assert await redeem(serials, 1) == (400, refusals.NO_TICKETS)
        for each in spent:
            await verify(payer, signer, each, gateway)
        assert await redeem(serials, 1, bytes(32)) == (400, refusals.DIGEST_MISMATCH)
        unknown = await redeem([*serials, bytes(48)], 1)
        assert "has not been verified before" in unknown[1]
        assert "redemption proposal is invalid" in (await redeem(serials, 1))[1]
        multisig, ecash = net.payments.nyx.multisig, net.payments.nyx.ecash
        digest = b58encode(redemption_digest(serials))
        wrong = multisig.propose_redemption(ecash.address, digest, 9, gateway)
        assert "redemption proposal is invalid" in (await redeem(serials, wrong))[1]
        good = multisig.propose_redemption(ecash.address, digest, 2, gateway)
        assert await redeem(serials, good) == (200, '{"proposal_accepted":true}')
        assert "too often" in (await redeem(serials, good))[1]


async def test_audits() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        signer = net.payments.signers[0]
        await payer.book()
        await payer.book()
        day = today() + timedelta(days=6)
        identity = signer.identity.public

        async def fetch(route: Route, tail: str = "") -> bytes:
            async with payer.http.get(signer.url.rstrip("/") + route.path + tail) as response:
                assert response.status == 200, await response.text()
                return await response.read()

        counts = IssuedCounts.from_json(json.loads(await fetch(Route.ISSUED_COUNT)))
        assert [row.count for row in counts.issued] == [2]
        for route, when in ((Route.ISSUED_FOR_COUNT, day), (Route.ISSUED_ON_COUNT, today())):
            assert IssuedCounts.from_json(json.loads(await fetch(route, f"/{when}"))).total == 2
        issued = Envelope.decode(await fetch(Route.ISSUED_FOR, f"/{day}"), IssuedFor.from_json).verify(
            identity
        )
        assert issued.deposits == ((0, 0), (1, 1))
        records = await signer.store.issued_for(day)
        assert issued.root == merkle_root([record.leaf() for record in records])
        asked = Envelope.sign(AuditRequest(day, (1,)), bytes(32)).encode()
        for route, kind in ((Route.ISSUED_CHALLENGE, ChallengeAnswer), (Route.ISSUED_DATA, DataAnswer)):
            async with payer.http.post(signer.url.rstrip("/") + route.path, data=asked) as response:
                raw = await response.read()
            answer = Envelope.decode(raw, kind.from_json).verify(identity)  # type: ignore[attr-defined]
            if isinstance(answer, ChallengeAnswer):
                answer.proof.verify()
                assert answer.proof.root == issued.root
            else:
                assert [book.deposit_id for book in answer.books] == [1]


async def test_a_price_that_changes_between_query_and_deposit() -> None:
    from nym_credentials.errors import PriceChanged
    from nym_credentials.money import Coin

    async with paying_net() as net, buyer(net.payments) as payer:
        before = net.payments.balance(payer.wallet.address)
        net.payments.faults.price_after_query = Coin("unym", 80_000_000)
        with pytest.raises(PriceChanged):
            await payer.pay([Ed25519PrivateKey.generate()])
        assert net.payments.balance(payer.wallet.address) == before
        assert isinstance(await payer.pay([Ed25519PrivateKey.generate()]), Included)
        net.payments.set_price(90_000_000)
        net.payments.set_reduced_price(payer.wallet.address, 1_000_000)
        price = await payer.client.price_for(payer.wallet.address)
        assert (price.default.amount, price.best.amount) == (90_000_000, 1_000_000)


async def test_the_faucet_by_http() -> None:
    async with paying_net() as net, aiohttp.ClientSession() as http:
        from tests.localnet.paying import new_wallet

        address, url = new_wallet().address, net.payments.faucet_url
        async with http.post(url, json={"address": address, "amount": "3 NYM"}) as response:
            given = await response.json()
        assert (given["amount"], net.payments.balance(address)) == (3_000_000, 3_000_000)
        await asyncio.gather(*(net.payments.fund(address, 1) for _ in range(5)))
        assert net.payments.balance(address) == 3_000_005
        async with http.post(url, json={"address": "nobody"}) as response:
            assert response.status == 400
            assert "address" in await response.text()
        async with http.post(url, json={"address": address, "amount": 10**20}) as response:
            assert response.status == 503
        async with http.get(url) as response:
            assert (await response.json())["address"] == net.payments.address("faucet")
        async with http.get(f"{net.payments.rpc_url}/status") as response:
            assert (await response.json())["result"]["node_info"]["network"] == "nyx"
        net.payments.faults.down = True
        async with http.get(f"{net.payments.rpc_url}/status") as response:
            assert response.status == 503
