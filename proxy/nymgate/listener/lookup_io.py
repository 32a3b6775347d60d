"""Asks a resolver through the mixnet: one stream for each lookup, so that nothing joins two of them."""

import asyncio
from typing import Final

from nymgate.listener.caller import Caller
from nymgate.listener.handshake import Lookup, Target
from nymgate.listener.lookup import Questions, literal, lookup_failed
from nymgate.listener.upstream import Upstream

ANSWER_SECONDS: Final = 15.0
"""From the connected resolver to its answer: a round trip, and what the resolver has to ask itself."""


async def look_up(
    upstream: Upstream, resolver: Target | None, host: str, lookup: Lookup, caller: Caller
) -> str:
    """An address of a name, or with Lookup.NAME the name of an address.

    Raises StreamRefused, or what opening a stream raises, within bounded time.
    """
    if (known := literal(host, lookup)) is not None:
        return known
    if resolver is None:
        raise lookup_failed("E_SOCKS_RESOLVE")
    questions = Questions.of(host, lookup)
    stream = await upstream.open(resolver, caller)
    answer = _Answer(questions)
    try:
        stream.start(answer)
        stream.write(questions.wire)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await answer.found
    except TimeoutError:
        raise lookup_failed("E_RESOLVER", "The resolver did not answer in time.") from None
    finally:
        stream.abort()


class _Answer:
    """The consumer of a stream to a resolver."""

    def __init__(self, questions: Questions) -> None:
        self.found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._questions = questions

    def stream_data(self, data: bytes) -> None:
        if self.found.done():
            return
        try:
            found = self._questions.receive(data)
        except Exception as error:
            self.found.set_exception(error)
        else:
            if found is not None:
                self.found.set_result(found)

    def stream_eof(self) -> None:
        self._over(lookup_failed("E_RESOLVER", "The resolver hung up without an answer."))

    def stream_ended(self) -> None:
        self.stream_eof()

    def stream_failed(self, error: Exception) -> None:
        self._over(error)

    def stream_paused(self) -> None:
        """A question is short."""

    def stream_resumed(self) -> None:
        """See above."""

    def _over(self, error: Exception) -> None:
        if not self.found.done():
            self.found.set_exception(error)
