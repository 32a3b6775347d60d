"""Signals on their way to a command that runs for us.

A signal from another process is passed on. One that the terminal made for Ctrl-C or a hang-up went to the command as
well, which is in the same process group, and must not come twice. Only ``sigwaitinfo`` tells the two apart, so a
thread waits for them while they are blocked everywhere else.
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

PASSED_ON: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class SignalWatch:
    """Blocks the signals while it is open; ``blocked`` is what was blocked before, which is the command's business.

    Open it in the main thread before there are others: threads inherit what is blocked.
    """

    def __enter__(self) -> Self:
        self.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        self._thread: threading.Thread | None = None
        self._stopping = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        thread = self._thread
        if thread is not None and thread.ident is not None:
            self._stopping = True
            signal.pthread_kill(thread.ident, signal.SIGUSR2)
            thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)

    def deliver(self, receive: Callable[[int, bool], None]) -> None:
        """From now on call ``receive(number, from_terminal)`` on the running event loop."""
        loop = asyncio.get_running_loop()

        def watch() -> None:
            while True:
                info = signal.sigwaitinfo(PASSED_ON)
                if self._stopping:
                    return
                loop.call_soon_threadsafe(
                    receive, info.si_signo, info.si_code > 0
                )  # the kernel's are positive

        self._thread = threading.Thread(target=watch, name="signals", daemon=True)
        self._thread.start()
