"""All signers of an epoch together: enough of them well, their key, the public signatures, the shares of a book.

docs/protocol/09 §3.3–§5. No single signer is believed: shares are verified under the key that the chain names,
public signatures under the key that the shares form. One signer that is down or lies costs nothing but its share.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, TypeVar

from nym_credentials.errors import EpochDataUnavailable, EpochKeysInconsistent, QuorumMissing
from nym_credentials.signers.client_io import SignerHttp, SignerRefused
from nym_credentials.signers.epoch import Signer, SignerSet
from nym_credentials.signers.refusals import Verdict
from zknym import (
    BlindedSignature,
    CoinSignatureSet,
    DateSignatureSet,
    EcashError,
    EpochKey,
    SignRequest,
    VerificationKey,
    aggregate_coin_indices,
    aggregate_expiration_date,
    encode_date,
)

Clock = Callable[[], float]
"""Unix seconds."""
TakeShare = Callable[[Signer, BlindedSignature], Awaitable[bool]]
"""Keeps a share; True when there are enough. Raises `EcashError` for a share that does not verify."""
Tell = Callable[[str, str], None]
"""(address of a signer, what is wrong with it)."""

_FIRST_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 60.0

S = TypeVar("S", CoinSignatureSet, DateSignatureSet)


@dataclass(frozen=True, slots=True)
class Quorum:
    """Who can be counted on right now, and why the others cannot (by address)."""

    well: tuple[Signer, ...]
    ill: dict[str, str] = field(default_factory=dict)


def retry_delay(attempt: int, *, first: float = _FIRST_RETRY_SECONDS) -> float:
    """Seconds before attempt number `attempt` (from 1): 1, 2, 4 … 60 (docs/protocol/09 §6)."""
    return min(first * 2.0 ** min(attempt - 1, 16), _LONGEST_RETRY_SECONDS)


class SignerPool:
    """Asks the signers of an epoch. `http` stays the caller's."""

    def __init__(self, http: SignerHttp, *, first_retry_seconds: float = _FIRST_RETRY_SECONDS) -> None:
        self._http = http
        self._first_retry = first_retry_seconds

    async def quorum(self, signers: SignerSet, clock: Clock) -> Quorum:
        """Asks all signers how they are; to be done before money moves. Raises `QuorumMissing`.

        One that has no route for that question is well if it knows the key of the epoch: the reference's client never
        asks it (docs/protocol/09 §10.1), so a signer may do without.
        """
        ill: dict[str, str] = {}

        async def ask(signer: Signer) -> Signer | None:
            try:
                status = await self._http.status(signer)
            except SignerRefused as error:
                if error.absent and await self._knows_epoch(signers, signer):
                    return signer
                ill[signer.base] = error.reason
                return None
            why = status.ill_because(signers.epoch_id, clock())
            if why:
                ill[signer.base] = why
            return None if why else signer

        well = tuple(signer for signer in await _all(ask, signers.signers) if signer is not None)
        if len(well) < signers.threshold:
            raise QuorumMissing(len(well), signers.threshold, ill)
        return Quorum(well, ill)

    async def _knows_epoch(self, signers: SignerSet, signer: Signer) -> bool:
        try:
            found = await self._http.master_key(signer, signers.epoch_id)
            return found == await asyncio.to_thread(signers.master_key)
        except (SignerRefused, EpochKeysInconsistent):
            return False

    async def master_key(self, signers: SignerSet) -> EpochKey:
        """The key of the epoch, out of the shares on the chain and compared with what a signer takes for it.

        Raises `EpochKeysInconsistent` if the shares do not fit together, or if all signers that answer know another
        key. One liar changes nothing; silence does not either, for what counts is the chain.
        """
        key = await asyncio.to_thread(signers.master_key)
        others: list[str] = []
        for signer in _shuffled(signers.signers):
            try:
                if await self._http.master_key(signer, signers.epoch_id) == key:
                    return EpochKey(signers.epoch_id, key)
            except SignerRefused:
                continue
            others.append(signer.base)
        if others:
            raise EpochKeysInconsistent(
                f"The signers know another key for epoch {signers.epoch_id} than the chain: {', '.join(others)}.",
                "Ask another RPC endpoint; nothing was paid for.",
            )
        return EpochKey(signers.epoch_id, key)

    async def coin_signatures(self, signers: SignerSet, master: VerificationKey) -> CoinSignatureSet:
        """The coin-index signatures of the epoch, verified. Raises `EpochDataUnavailable`."""
        epoch = signers.epoch_id

        async def put_together(shares: Sequence[tuple[Signer, CoinSignatureSet]]) -> CoinSignatureSet:
            parts = [(signer.index, signer.key, share.signatures) for signer, share in shares]
            return CoinSignatureSet(epoch, await asyncio.to_thread(aggregate_coin_indices, parts, master))

        return await self._public(
            signers,
            "coin-index signatures",
            lambda signer, partial: self._http.coin_signatures(signer, epoch, partial=partial),
            lambda found, key: found.verify(master, key=key),
            put_together,
        )

    async def date_signatures(
        self, signers: SignerSet, expiration: date, master: VerificationKey
    ) -> DateSignatureSet:
        """The signatures for one expiration date, verified. Raises `EpochDataUnavailable`."""
        epoch = signers.epoch_id

        async def put_together(shares: Sequence[tuple[Signer, DateSignatureSet]]) -> DateSignatureSet:
            parts = [(signer.index, signer.key, share.signatures) for signer, share in shares]
            combined = await asyncio.to_thread(
                aggregate_expiration_date, parts, encode_date(expiration), master
            )
            return DateSignatureSet(epoch, expiration, combined)

        return await self._public(
            signers,
            f"date signatures for {expiration}",
            lambda signer, partial: self._http.date_signatures(signer, epoch, expiration, partial=partial),
            lambda found, key: found.verify(key or master),
            put_together,
        )

    async def _public(
        self,
        signers: SignerSet,
        what: str,
        fetch: Callable[[Signer, bool], Awaitable[S]],
        verify: Callable[[S, VerificationKey | None], None],
        put_together: Callable[[Sequence[tuple[Signer, S]]], Awaitable[S]],
    ) -> S:
        """From one signer after the other, in random order; if none has it, out of the shares of all."""
        problems: dict[str, str] = {}

        async def get(signer: Signer, partial: bool) -> S | None:
            try:
                found = await fetch(signer, partial)
                await asyncio.to_thread(verify, found, signer.key if partial else None)
            except SignerRefused as error:
                problems[signer.base] = error.reason
            except EcashError:
                problems[signer.base] = f"gave {what} that do not verify"
            else:
                return found
            return None

        for signer in _shuffled(signers.signers):
            found = await get(signer, partial=False)
            if found is not None:
                return found
        parts = await _all(lambda signer: get(signer, partial=True), signers.signers)
        shares = [
            (signer, part) for signer, part in zip(signers.signers, parts, strict=True) if part is not None
        ]
        if len(shares) >= signers.threshold:
            return await put_together(shares)
        reasons = "; ".join(f"{url}: {why}" for url, why in sorted(problems.items()))
        raise EpochDataUnavailable(
            f"No signer gave {what} of epoch {signers.epoch_id}: {reasons}.", "Try again later."
        )

    async def collect_shares(
        self,
        signers: Iterable[Signer],
        request: SignRequest,
        take: TakeShare,
        *,
        patience_seconds: float,
        tell: Tell = lambda url, why: None,
    ) -> dict[str, str]:
        """Asks all `signers` at once for their shares, and those that may answer later again, until `take` has enough.

        Returns why signers gave nothing, by address; `tell` hears of each at once. Comes back as well when nobody
        is left to ask or the time is over (seconds). What `take` raises, other than `EcashError`, comes through.
        """
        asked = list(signers)
        problems: dict[str, str] = {}
        answers: asyncio.Queue[tuple[Signer, BlindedSignature | SignerRefused]] = asyncio.Queue(
            maxsize=max(1, len(asked))
        )

        def note(signer: Signer, why: str) -> None:
            if problems.get(signer.base) != why:
                tell(signer.base, why)
            problems[signer.base] = why

        async def ask(signer: Signer) -> None:
            attempt = 0
            while True:
                try:
                    await answers.put((signer, await self._http.blind_sign(signer, request)))
                    return
                except SignerRefused as error:
                    await answers.put((signer, error))
                    if error.verdict is not Verdict.LATER:
                        return
                attempt += 1
                await asyncio.sleep(retry_delay(attempt, first=self._first_retry))

        failure: Exception | None = None
        waiting = len(asked)
        deadline = asyncio.get_running_loop().time() + patience_seconds
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(signer)) for signer in asked]
            while waiting:
                try:
                    async with asyncio.timeout_at(deadline):
                        signer, answer = await answers.get()
                except TimeoutError:
                    break
                if isinstance(answer, SignerRefused):
                    note(signer, answer.reason)
                    waiting -= answer.verdict is not Verdict.LATER
                    continue
                waiting -= 1
                problems.pop(signer.base, None)
                try:
                    if await take(signer, answer):
                        break
                except EcashError as error:
                    note(signer, f"gave a share that does not verify ({error})")
                except Exception as error:  # a group would wrap it
                    failure = error
                    break
            for task in tasks:
                task.cancel()
        if failure is not None:
            raise failure
        return problems


R = TypeVar("R")


async def _all(ask: Callable[[Signer], Awaitable[R]], signers: Sequence[Signer]) -> list[R]:
    """All at once; `ask` does not raise."""

    async def run(signer: Signer) -> R:
        return await ask(signer)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(signer)) for signer in signers]
    return [task.result() for task in tasks]


def _shuffled(signers: Sequence[Signer]) -> list[Signer]:
    order = list(signers)
    secrets.SystemRandom().shuffle(order)
    return order
