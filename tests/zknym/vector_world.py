"""The recorded runs of tests/vectors/ecash.json as objects of the package (docs/protocol/07 §16)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

import pytest

from tests.vector_files import is_foreign_set, load, unhex
from zknym import (
    CoinIndexSignature,
    EcashError,
    ExpirationDateSignature,
    PartialWallet,
    PayInfo,
    Payment,
    Signature,
    SignerSecretKey,
    UserPublicKey,
    UserSecretKey,
    VerificationKey,
    WalletSignatures,
    spend_dates,
)
from zknym.curve import decode_scalar
from zknym.hashing import hash_to_scalar

VECTORS = load("ecash")


class Tape:
    """Draws the scalars that the reference drew, in its order; at the end none may be left."""

    def __init__(self, recorded: Mapping[str, Any]) -> None:
        scalars = [decode_scalar(unhex(text)) for text in recorded["scalars"]]
        seed = recorded["seed_utf8"].encode()
        assert scalars == [hash_to_scalar(seed + i.to_bytes(8, "big")) for i in range(len(scalars))]
        self._scalars: Iterator[int] = iter(scalars)

    def __call__(self) -> int:
        return next(self._scalars)

    @property
    def used_up(self) -> bool:
        return next(self._scalars, None) is None


class Flow:
    """One complete run: keys, public signatures, a withdrawal and payments."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.expiration: int = raw["expiration_date"]
        self.ticket_type: int = raw["t_type"]
        self.tickets: int = raw["total_coins"]

    @cached_property
    def secrets(self) -> dict[int, SignerSecretKey]:
        return {key["index"]: SignerSecretKey.decode(unhex(key["secret_key"])) for key in self.raw["keys"]}

    @cached_property
    def keys(self) -> dict[int, VerificationKey]:
        return {
            key["index"]: VerificationKey.decode(unhex(key["verification_key"])) for key in self.raw["keys"]
        }

    @cached_property
    def master(self) -> VerificationKey:
        return VerificationKey.decode(unhex(self.raw["aggregated_verification_key"]))

    @cached_property
    def user(self) -> UserSecretKey:
        return UserSecretKey.decode(unhex(self.raw["user"]["secret_key"]))

    @cached_property
    def user_public(self) -> UserPublicKey:
        return UserPublicKey.decode(unhex(self.raw["user"]["public_key"]))

    def coins(self, encoded: list[str]) -> tuple[CoinIndexSignature, ...]:
        return tuple(CoinIndexSignature(Signature.decode(unhex(s)), i) for i, s in enumerate(encoded))

    def dates(self, encoded: list[Any]) -> tuple[ExpirationDateSignature, ...]:
        """From the bare signatures of a share or the annotated ones of the aggregate."""
        found = []
        for day, item in zip(spend_dates(self.expiration), encoded, strict=True):
            if isinstance(item, str):
                item = {
                    "signature": item,
                    "expiration_timestamp": self.expiration,
                    "spending_timestamp": day,
                }
            signature = Signature.decode(unhex(item["signature"]))
            found.append(
                ExpirationDateSignature(signature, item["expiration_timestamp"], item["spending_timestamp"])
            )
        return tuple(found)

    @cached_property
    def coin_set(self) -> tuple[CoinIndexSignature, ...]:
        return self.coins(self.raw["coin_index_signatures"]["aggregated"])

    @cached_property
    def date_set(self) -> tuple[ExpirationDateSignature, ...]:
        return self.dates(self.raw["expiration_date_signatures"]["aggregated"])

    @cached_property
    def shares(self) -> dict[int, PartialWallet]:
        wallets = [PartialWallet.decode(unhex(text)) for text in self.raw["partial_wallets"]]
        return {wallet.index: wallet for wallet in wallets}

    @cached_property
    def wallet(self) -> WalletSignatures:
        return WalletSignatures.decode(unhex(self.raw["wallet"]["wallet_signatures"]))

    def payment(self, name: str) -> tuple[Payment, PayInfo]:
        recorded = self.raw[name]
        return Payment.decode(unhex(recorded["payment"])), PayInfo.decode(unhex(recorded["pay_info"]))

    @property
    def payment_names(self) -> list[str]:
        return [name for name in self.raw if name.startswith("payment_")]


FLOWS: dict[str, Flow] = {
    name: Flow(entry)
    for name, entry in VECTORS.items()
    if isinstance(entry, dict) and {"keys", "withdrawal"} <= entry.keys()
}


def flows() -> list[Any]:
    """Parameters for all recorded runs."""
    assert FLOWS or is_foreign_set()
    return _parameters(FLOWS.values(), list(FLOWS), "flow")


def payments() -> list[Any]:
    """Parameters (run, name of a payment in it)."""
    found = [(flow, name) for flow in FLOWS.values() for name in flow.payment_names]
    return _parameters(
        found, [f"{flow}-{name}" for flow in FLOWS for name in FLOWS[flow].payment_names], "payment"
    )


def listed(kind: str) -> list[Any]:
    """Parameters (run, entry) for the members of the lists called `kind`, e.g. "verify_cases"."""
    found = [(flow, entry) for flow in FLOWS.values() for entry in flow.raw.get(kind, [])]
    names = [
        entry.get("what") or " and ".join(str(entry[key]) for key in ("a", "b", "indices") if key in entry)
        for _, entry in found
    ]
    return _parameters(found, names, kind)


def top(kind: str) -> list[Any]:
    """Parameters for the members of a list at the top of the file."""
    entries = VECTORS.get(kind, [])
    return _parameters(entries, [str(number) for number in range(len(entries))], kind)


def _parameters(values: Any, names: list[str], kind: str) -> list[Any]:
    found = [pytest.param(value, id=name) for value, name in zip(values, names, strict=True)]
    if found:
        return found
    assert is_foreign_set(), f"no vector of kind {kind}"
    reason = f"the folder named by VECTORS_DIR has no vector of kind {kind}"
    return [pytest.param(None, id=f"no-{kind}", marks=pytest.mark.skip(reason=reason))]


def assert_outcome(expected: Any, call: Callable[[], object], *, may_reject: bool = False) -> None:
    """That `call` succeeds ("ok"), or fails with the reference's name for the error."""
    if expected != "ok":
        assert expected.keys() == {"message", "variant"}
        with pytest.raises(EcashError) as caught:
            call()
        assert caught.value.variant == expected["variant"]
    elif not may_reject:
        call()
    elif is_foreign_set():
        with suppress(EcashError):
            call()
    else:
        # Wherever our set marks the reference as lenient, this package is strict.
        with pytest.raises(EcashError):
            call()
