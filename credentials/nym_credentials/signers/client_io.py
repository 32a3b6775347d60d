"""One signer over HTTP (docs/protocol/09 §1, §2).

Requests carry nothing but what the protocol needs: no cookies, no redirects, the same headers for everybody.
Answers are bounded in size and time and read in a thread, since points cost time to check. Whatever goes wrong
ends as `SignerRefused`, which names the signer and says whether asking again may help.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp

from nym_credentials.errors import SignerFailed, printable
from nym_credentials.signers.envelope import Envelope
from nym_credentials.signers.epoch import Signer
from nym_credentials.signers.issuance import (
    BlindSignAnswer,
    CoinSignaturesAnswer,
    DateSignaturesAnswer,
    MasterKeyAnswer,
)
from nym_credentials.signers.refusals import Refusal, Verdict
from nym_credentials.signers.routes import Route, target
from nym_credentials.signers.status import SignerStatus
from nym_credentials.signers.wire import Body, Output, compact
from zknym import (
    BlindedSignature,
    CoinSignatureSet,
    DateSignatureSet,
    MalformedData,
    SignRequest,
    VerificationKey,
)

ConnectorFactory = Callable[[], aiohttp.BaseConnector]
"""Makes the connector of one session: a SOCKS connector takes all of this through a proxy, and so the mixnet."""

_OK: Final = 200
_JSON: Final = "application/json"

B = TypeVar("B", bound=Body)
T = TypeVar("T")


class SignerRefused(SignerFailed):
    """A signer refused, did not answer or answered nonsense. ``verdict``: what that means for the request.

    ``absent``: it answers, but does not know that route.
    """

    def __init__(self, url: str, reason: str, verdict: Verdict, *, absent: bool = False) -> None:
        super().__init__(url, reason)
        self.verdict = verdict
        self.absent = absent


@dataclass(frozen=True, slots=True)
class SignerHttpOptions:
    """How patient a client is with one request."""

    timeout_seconds: float = 30.0
    status_timeout_seconds: float = 10.0
    body_limit_bytes: int = 1024 * 1024
    """The largest honest answer, a set of 50 signatures, has about 14 kB."""


class SignerHttp:
    """An HTTP session for all signers of one purchase: `async with SignerHttp() as http`."""

    def __init__(
        self, *, options: SignerHttpOptions | None = None, connector_factory: ConnectorFactory | None = None
    ) -> None:
        self._options = options or SignerHttpOptions()
        self._connector_factory = connector_factory
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=self._connector_factory() if self._connector_factory else None,
            headers={"User-Agent": "nymgate", "Accept": _JSON},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def status(self, signer: Signer) -> SignerStatus:
        """What the signer says about itself, signed by it where the chain names its key."""

        def read(body: bytes, output: Output) -> SignerStatus:
            if output is Output.BINCODE:
                envelope = Envelope.from_bincode(body, SignerStatus.read)
            else:
                envelope = Envelope.decode(body, SignerStatus.from_json)
            if signer.identity is not None:
                envelope.verify(signer.identity)
            envelope.body.time_unix  # noqa: B018  raises if it is no time
            return envelope.body

        return await self._get(signer, target(Route.STATUS), read, self._options.status_timeout_seconds)

    async def blind_sign(self, signer: Signer, request: SignRequest) -> BlindedSignature:
        """A share of the book, not verified yet. The same request may be repeated as often as needed."""
        body = compact(request.to_json())
        return (await self._post(signer, target(Route.BLIND_SIGN), body, BlindSignAnswer)).blinded

    async def master_key(self, signer: Signer, epoch_id: int) -> VerificationKey:
        """What the signer takes for the key of the epoch."""
        url = target(Route.MASTER_KEY, epoch_id=epoch_id)
        return (await self._get(signer, url, MasterKeyAnswer.decode)).key

    async def coin_signatures(
        self, signer: Signer, epoch_id: int, *, partial: bool = False
    ) -> CoinSignatureSet:
        """The coin-index signatures of the epoch, or the signer's share of them. Not verified."""
        route = Route.PARTIAL_COINS if partial else Route.COINS
        answer = await self._get(signer, target(route, epoch_id=epoch_id), CoinSignaturesAnswer.decode)
        if answer.signatures.epoch_id != epoch_id:
            raise _another(signer, f"epoch {answer.signatures.epoch_id} instead of {epoch_id}")
        return answer.signatures

    async def date_signatures(
        self, signer: Signer, epoch_id: int, expiration: date, *, partial: bool = False
    ) -> DateSignatureSet:
        """The signatures for one expiration date, or the signer's share of them. Not verified."""
        route = Route.PARTIAL_DATES if partial else Route.DATES
        url = target(route, epoch_id=epoch_id, expiration=expiration)
        found = (await self._get(signer, url, DateSignaturesAnswer.decode)).signatures
        if found.epoch_id != epoch_id:
            raise _another(signer, f"epoch {found.epoch_id} instead of {epoch_id}")
        if found.expiration != expiration:
            raise _another(signer, f"{found.expiration} instead of {expiration}")
        return found

    async def _get(
        self, signer: Signer, path: str, read: Callable[[bytes, Output], T], seconds: float | None = None
    ) -> T:
        return await self._ask(signer, "GET", path, None, read, seconds)

    async def _post(self, signer: Signer, path: str, body: bytes, answer: type[B]) -> B:
        return await self._ask(signer, "POST", path, body, answer.decode, None)

    async def _ask(
        self,
        signer: Signer,
        method: str,
        path: str,
        body: bytes | None,
        read: Callable[[bytes, Output], T],
        seconds: float | None,
    ) -> T:
        assert self._session is not None, "use it as a context manager"
        url = signer.base
        try:
            async with self._session.request(
                method,
                url + path,
                data=body,
                headers={} if body is None else {"Content-Type": _JSON},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds or self._options.timeout_seconds),
            ) as response:
                raw = await self._read(url, response)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise SignerRefused(url, f"cannot be reached ({_cause(error)})", Verdict.LATER) from error
        if response.status != _OK:
            refusal = Refusal(response.status, raw.decode("utf-8", "replace"))
            said = printable(refusal.text)
            reason = f"refused with {refusal.status} {said}".rstrip()
            raise SignerRefused(url, reason, refusal.verdict, absent=refusal.absent)
        output = Output.of_content_type(response.content_type)
        try:
            return await asyncio.to_thread(read, raw, output)
        except MalformedData as error:
            raise SignerRefused(url, f"answered nonsense ({printable(str(error))})", Verdict.OTHERS) from None

    async def _read(self, url: str, response: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        async for part in response.content.iter_any():  # decompressed: the limit holds for what comes out
            size += len(part)
            if size > self._options.body_limit_bytes:
                raise SignerRefused(url, "answered with far too much", Verdict.OTHERS)
            parts.append(part)
        return b"".join(parts)


def _another(signer: Signer, what: str) -> SignerRefused:
    return SignerRefused(signer.base, f"answered for {what}", Verdict.OTHERS)


def _cause(error: BaseException) -> str:
    """A few words without anything that the other side could have put in."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
