"""Books for tests of the store, issued by the signers of one small e-cash world."""

from __future__ import annotations

from datetime import date
from functools import cache

from tests.zknym.ecash_world import EPOCH, EXPIRATION, GATEWAY, NOW_UNIX, TODAY, TYPE, WORLD
from zknym import (
    DateSignatureSet,
    ImportableTicketBook,
    TicketBook,
    TicketType,
    UserSecretKey,
    aggregate_expiration_date,
    aggregate_wallet,
    blind_sign,
    encode_date,
    request_withdrawal,
    sign_expiration_date,
    unblind,
)

__all__ = ["EPOCH", "EXPIRATION", "GATEWAY", "NOW_UNIX", "TODAY", "TYPE", "WORLD", "book_file", "make_book"]

OTHER_GATEWAY = bytes(range(100, 132))


@cache
def date_signatures(expiration: date) -> DateSignatureSet:
    """Signed by two of the three signers."""
    encoded = encode_date(expiration)
    shares = [(s.index, s.verification, sign_expiration_date(s.secret, encoded)) for s in WORLD.signers[:2]]
    return DateSignatureSet(EPOCH, expiration, aggregate_expiration_date(shares, encoded, WORLD.master))


def make_book(expiration: date = EXPIRATION, ticket_type: TicketType = TYPE) -> ImportableTicketBook:
    """A new book of a new user, with all public data."""
    user, encoded = UserSecretKey.generate(), encode_date(expiration)
    request, info = request_withdrawal(user, encoded, ticket_type)
    shares = [
        unblind(
            blind_sign(s.secret, user.public_key(), request, encoded, ticket_type),
            info,
            user,
            s.verification,
            s.index,
        )
        for s in WORLD.signers[:2]
    ]
    wallet = aggregate_wallet(shares, user, WORLD.master)
    book = TicketBook.issued(wallet, EPOCH, user, expiration)
    return ImportableTicketBook(book, date_signatures(expiration), WORLD.coin_set, WORLD.epoch_key)


@cache
def _first_book() -> ImportableTicketBook:
    return make_book()


def book_file() -> bytes:
    """The same book at every call, as an export file."""
    return _first_book().encode()
