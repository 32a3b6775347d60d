"""Background tasks with an owner."""

from __future__ import annotations

import asyncio
import logging

import pytest

from nym_mixnet.tasks_io import TaskSet


async def for_ever() -> None:
    await asyncio.Event().wait()


async def crashing() -> None:
    raise ValueError("broken")


async def test_tasks_are_named_and_cancelled_at_the_end() -> None:
    async with TaskSet("owner") as tasks:
        task = tasks.spawn(for_ever(), name="waiting")
        assert task.get_name() == "owner/waiting"
        assert len(tasks) == 1
    assert task.cancelled()
    assert len(tasks) == 0


async def test_finished_tasks_are_let_go() -> None:
    async with TaskSet("owner") as tasks:
        await tasks.spawn(asyncio.sleep(0), name="short")
        await tasks.wait()
        assert len(tasks) == 0
        assert tasks.crash is None


async def test_a_crash_is_logged_told_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[str, Exception]] = []
    tasks = TaskSet("owner", on_crash=lambda name, error: told.append((name, error)))
    with caplog.at_level(logging.ERROR):
        tasks.spawn(crashing(), name="first")
        with pytest.raises(ValueError, match="broken"):
            await tasks.wait_crash()
    assert "owner/first" in caplog.text
    assert [(name, str(error)) for name, error in told] == [("owner/first", "broken")]
    first = tasks.crash
    tasks.spawn(crashing(), name="second")
    await tasks.wait()
    assert tasks.crash is first
    await tasks.close()


async def test_closing_waits_for_tasks_that_tidy_up() -> None:
    tidied = []

    async def tidy() -> None:
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0.01)
            tidied.append(True)

    tasks = TaskSet("owner")
    tasks.spawn(tidy(), name="tidy")
    await asyncio.sleep(0)
    await tasks.close()
    assert tidied == [True]
    await tasks.close()


async def test_nothing_starts_after_the_end() -> None:
    tasks = TaskSet("owner")
    await tasks.close()
    with pytest.raises(RuntimeError, match="closed"):
        tasks.spawn(for_ever(), name="late")


async def test_one_of_the_tasks_may_close_the_set() -> None:
    tasks = TaskSet("owner")
    other = tasks.spawn(for_ever(), name="other")
    closer = tasks.spawn(tasks.close(), name="closer")
    await closer
    assert other.cancelled()


async def test_who_is_cancelled_while_closing_waits_all_the_same() -> None:
    tidied, tidying = [], asyncio.Event()

    async def tidy() -> None:
        try:
            await for_ever()
        finally:
            tidying.set()
            await asyncio.sleep(0.05)
            tidied.append(True)

    tasks = TaskSet("owner")
    tasks.spawn(tidy(), name="tidy")
    await asyncio.sleep(0)
    closing = TaskSet("who closes").spawn(tasks.close(), name="close")
    await tidying.wait()
    closing.cancel()
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert tidied == [True]
