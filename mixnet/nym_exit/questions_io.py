"""Asking an exit about itself: control requests and queries (docs/protocol/05 §1.4, §2.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nym_exit.codec import (
    DescriptionAnswer,
    ExitPolicyAnswer,
    OpenProxyAnswer,
    Query,
    QueryErrorAnswer,
    RequestMessage,
)
from nym_exit.control import BinaryInfo, ControlError, ControlRequest, Health, SupportedVersions
from nym_exit.errors import ExitSilent, MixnetDown, QueryRefused
from nym_mixnet.errors import MixnetError, printable

_Answer = TypeVar("_Answer")


class Questions:
    """Asks one question at a time: answers carry no id and are told apart by their order.

    Every method raises ExitSilent when no answer comes in time, QueryRefused when the exit answers with an
    error, MixnetDown when the question cannot be sent.

    Args:
        send: sends an encoded message to the exit with enough reply SURBs.
        timeout_seconds: how long the exit may take.
    """

    def __init__(self, send: Callable[[bytes], Awaitable[None]], timeout_seconds: float) -> None:
        self._send = send
        self._timeout_seconds = timeout_seconds
        self._asking = asyncio.Lock()
        self._pending: asyncio.Future[object] | None = None
        self._expected: type[object] = object

    def answered(self, content: object) -> bool:
        """Take an answer of the exit; False when nobody waits for one like it."""
        pending = self._pending
        if pending is None or pending.done():
            return False
        if not isinstance(content, (self._expected, ControlError, QueryErrorAnswer)):
            return False  # late, for a question given up
        pending.set_result(content)
        return True

    async def health(self) -> float:
        """Whether the exit is alive; returns the seconds the answer took."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        await self._ask(ControlRequest.HEALTH, Health, "a health request")
        return loop.time() - started

    async def binary_info(self) -> BinaryInfo:
        """What program the exit runs."""
        return await self._ask(ControlRequest.BINARY_INFO, BinaryInfo, "a request for its version")

    async def supported_versions(self) -> SupportedVersions:
        """Which protocol versions the exit speaks."""
        what = "a request for its protocol versions"
        return await self._ask(ControlRequest.SUPPORTED_VERSIONS, SupportedVersions, what)

    async def exit_policy(self) -> ExitPolicyAnswer:
        """The exit's policy."""
        return await self._ask(Query.EXIT_POLICY, ExitPolicyAnswer, "a query for its exit policy")

    async def open_proxy(self) -> bool:
        """Whether the exit is an open proxy."""
        answer = await self._ask(Query.OPEN_PROXY, OpenProxyAnswer, "a query for its openness")
        return answer.open_proxy

    async def description(self) -> str:
        """The exit's description of itself, made safe to print."""
        answer = await self._ask(Query.DESCRIPTION, DescriptionAnswer, "a query for its description")
        return printable(answer.description)

    async def _ask(self, content: ControlRequest | Query, kind: type[_Answer], what: str) -> _Answer:
        async with self._asking:
            self._expected = kind
            pending = self._pending = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await self._send(RequestMessage(content).encode())
                    answer = await pending
            except TimeoutError:
                raise ExitSilent(what, self._timeout_seconds) from None
            except MixnetError as error:
                raise MixnetDown(error) from error
            finally:
                self._pending = None
        if isinstance(answer, kind):
            return answer
        message = answer.message if isinstance(answer, ControlError | QueryErrorAnswer) else ""
        raise QueryRefused(f"the exit answered {what} with an error: {printable(message)}")
