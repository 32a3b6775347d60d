"""What signers and chain are told shares nothing with any other step beyond what the protocol requires."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from nym_credentials.signers.routes import Route
from tests.credentials.purchase.mini_chain import ACCOUNT
from zknym import TicketType

ENTRY = TicketType.MIXNET_ENTRY
BOOKS = 3
BODY_MEMBERS = {
    "inner_sign_request",
    "deposit_id",
    "signature",
    "ecash_pubkey",
    "expiration_date",
    "ticketbook_type",
}
HEADERS = {"Host", "User-Agent", "Accept", "Accept-Encoding", "Content-Type", "Content-Length"}


async def test_requests_to_signers(world):
    bought = await world.buyer().buy(ENTRY, BOOKS)
    bodies = []
    for signer in world.signers:
        for path, headers, body in signer.requests:
            route = urlsplit(path).path
            assert set(headers) <= HEADERS
            assert headers["User-Agent"] == "nymgate"
            if route != Route.BLIND_SIGN.path:
                # Public data is asked for in the same words by everybody.
                assert body == b""
                continue
            bodies.append(json.loads(body))
            assert set(bodies[-1]) == BODY_MEMBERS
            for purchase in bought:
                assert ACCOUNT.encode() not in body
                assert purchase.payment.tx_hash.lower().encode() not in body.lower()
                assert purchase.identity_key.hex().encode() not in body
    # Between two books nothing is the same but their kind and date.
    by_deposit = {}
    for body in bodies:
        by_deposit.setdefault(body["deposit_id"], []).append(body)
    assert sorted(by_deposit) == list(range(BOOKS))
    for same in by_deposit.values():
        assert all(body == same[0] for body in same), "every signer is sent the same request"
    texts = [texts_of(same[0]) for same in by_deposit.values()]
    common = set.intersection(*texts)
    assert common == {bodies[0]["expiration_date"], bodies[0]["ticketbook_type"]}


async def test_the_book_shares_nothing_with_what_signers_saw(world):
    (purchase,) = await world.buyer().buy(ENTRY)
    (book,) = world.store.books()
    signature = book.wallet.signature
    secrets = {
        signature.s.to_compressed_bytes().hex(),
        book.wallet.wallet_secret.to_bytes(32, "little").hex(),
        book.user.encode().hex(),
        purchase.identity_seed.hex(),
    }
    for signer in world.signers:
        for _, _, body in signer.requests:
            assert not any(secret.encode() in body for secret in secrets)


def texts_of(value):
    """All texts and long numbers inside of a JSON value."""
    if isinstance(value, dict):
        return set().union(*(texts_of(item) for item in value.values()))
    if isinstance(value, list):
        if value and all(isinstance(item, int) for item in value):
            return {bytes(value).hex()}
        return set().union(*(texts_of(item) for item in value))
    return {value} if isinstance(value, str) else set()
