"""An event loop whose clock jumps to the next timer: minutes pass in milliseconds, always the same way."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waits for nothing: when no callback is ready, time jumps; when nothing will ever happen, it says so."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_now = 1000.0
        select = self._selector.select

        def jump(timeout: float | None = None) -> list[Any]:
            events = select(0)
            if not events and timeout is None:
                raise RuntimeError("everything waits and no timer is set: this would hang for ever")
            if not events and timeout > 0:
                # a hair more than asked for: rounding must not make the loop spin
                self._virtual_now += timeout + 1e-9
            return events

        self._selector.select = jump

    def time(self) -> float:
        return self._virtual_now


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on a virtual clock that starts at 1000 s."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
