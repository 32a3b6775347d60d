"""Work that goes on when its caller is gone."""

import asyncio
import gc

import pytest

from nym_credentials.store.tasks_io import Unbroken


async def test_a_caller_that_stopped_waiting_leaves_no_error_behind():
    loop, unbroken, go, told = asyncio.get_running_loop(), Unbroken(), asyncio.Event(), []
    loop.set_exception_handler(lambda _loop, context: told.append(context))

    async def fails():
        await go.wait()
        raise OSError("the database is gone")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await unbroken.run(fails())
    go.set()
    await unbroken.settled()
    gc.collect()
    await asyncio.sleep(0)
    assert told == []


async def test_a_caller_that_waits_hears_of_it():
    async def fails():
        raise OSError("the database is gone")

    with pytest.raises(OSError, match="gone"):
        await Unbroken().run(fails())
