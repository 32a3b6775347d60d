"""What stands between a request and the upstream: who asks, whether they may go there, and when it is their turn.

All of it in one place, for every protocol alike. A refusal is an error with its line of the table.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nymgate.access.admission import Admission, AdmissionLimits
from nymgate.access.doorkeeper_io import Doorkeeper, TooManyGuesses
from nymgate.access.judge import OPEN_TO_THIS_MACHINE, AccessRules
from nymgate.access.rules import Verdict
from nymgate.access.usage import Usage
from nymgate.access.users import User, split_name
from nymgate.errors import StreamRefused
from nymgate.listener.caller import Caller
from nymgate.listener.credential import Credential
from nymgate.listener.handshake import Connect
from nymgate.refusals import as_error

_ADVICE: Final = {
    "E_AUTH_REQUIRED": "",
    "E_AUTH_FAILED": "",
    "E_AUTH_SLOW": "Wait a minute.",
    "E_DESTINATION_RULE": "The owner of the proxy can change that in [rules].",
    "E_QUOTA": "It is counted anew tomorrow, or next month.",
    "E_ADMISSION": "Close some, or raise the limits in [streams] and [admission].",
}


def refused(code: str, what: str = "") -> StreamRefused:
    """A refusal of the gate's as an error."""
    return as_error(code, what, _ADVICE[code])


@dataclass(slots=True, eq=False)
class Pass:
    """What a stream holds for as long as it lives."""

    caller: Caller
    user: User | None = field(repr=False)
    who: str = field(repr=False)
    where: str = field(repr=False)


class Gate:
    """One for each proxy: every stream enters by it and leaves by it."""

    def __init__(
        self,
        limits: AdmissionLimits,
        access: AccessRules = OPEN_TO_THIS_MACHINE,
        queue_seconds: float = 20.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.admission = Admission(limits)
        self.access = access
        self.usage = Usage()
        self.doorkeeper = Doorkeeper(access.users or {})
        self.queue_seconds = queue_seconds
        self._clock = clock

    def change(self, limits: AdmissionLimits, access: AccessRules, queue_seconds: float) -> None:
        """Other rules from now on. Streams that are open stay."""
        self.access = access
        self.doorkeeper.change(access.users or {})
        self.queue_seconds = queue_seconds
        self.admission.change(limits)

    def close(self) -> None:
        """Be done."""
        self.doorkeeper.close()

    @property
    def asks_for_users(self) -> bool:
        """Whether applications have to say who they are."""
        return self.access.users is not None

    async def login(self, credential: Credential, peer: str | None) -> bool:
        """Whether a user's name and password are right. Raises StreamRefused where that is not even looked at."""
        try:
            return await self.doorkeeper.check(credential, peer) is not None
        except TooManyGuesses:
            raise refused("E_AUTH_SLOW") from None

    async def enter(self, listener: str, peer: str | None, request: Connect) -> Pass:
        """Let a stream in; :meth:`leave` has to follow. Raises StreamRefused within bounded time."""
        user: User | None = None
        target, credential, token = request.target, request.credential, request.token
        if self.access.users is None:
            caller = Caller(listener, peer, None, credential.joined() if credential else None, token)
        else:
            user = await self._user(credential, peer)
            assert credential is not None
            caller = Caller(listener, peer, user.name, split_name(credential.name)[1], token)
        verdict = self.access.destinations.judge(target)
        if verdict is not Verdict.PERMITTED:
            raise refused(
                "E_DESTINATION_RULE", f"The destination is not allowed by the rules of this proxy: {verdict}."
            )
        if user is not None and self.usage.exceeds(user.name, user.limits, self._clock()):
            raise refused("E_QUOTA")
        who = f"user {user.name}" if user is not None else peer or listener
        entered = Pass(caller, user, who, target.host.lower().rstrip("."))
        most = (user.limits.streams or 0) if user is not None else 0
        if not self.admission.enter(who, entered.where, most):
            await self._turn(entered, most)
        return entered

    async def _user(self, credential: Credential | None, peer: str | None) -> User:
        if credential is None:
            raise refused("E_AUTH_REQUIRED")
        user = self.doorkeeper.known(credential)
        if user is None:
            try:
                user = await self.doorkeeper.check(credential, peer)
            except TooManyGuesses:
                raise refused("E_AUTH_SLOW") from None
        if user is None:
            raise refused("E_AUTH_FAILED")
        return user

    async def _turn(self, entered: Pass, most: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = self.admission.wait(entered.who, entered.where, lambda: _now(turn), most)
        if waiter is None:
            raise refused("E_ADMISSION")
        try:
            async with asyncio.timeout(self.queue_seconds):
                await turn
        except BaseException as error:
            if not self.admission.withdraw(waiter):
                self.leave(entered)  # its turn came in the same moment
            if isinstance(error, TimeoutError):
                raise refused("E_ADMISSION") from None
            raise

    def leave(self, entered: Pass) -> None:
        """The stream is gone."""
        self.admission.leave(entered.who, entered.where)

    def count(self, entered: Pass, count: int) -> bool:
        """The stream carried this many bytes more. False if its user may not go on."""
        user = entered.user
        if user is None:
            return True
        now = self._clock()
        self.usage.add(user.name, count, now)
        limits = user.limits
        if self.access.users is not None and (current := self.access.users.get(user.name)) is not None:
            limits = current.limits
        return not self.usage.exceeds(user.name, limits, now)


def _now(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)
