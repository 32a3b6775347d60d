"""The exit pool over several exits, on a virtual clock: stickiness, fail-over, recovery, refusals, what it costs."""

import asyncio
import contextlib
import functools
import inspect

import pytest

from nym_exit.errors import ConnectFailed, ExitError, ExitRefused, ExitSilent, ExitStalled, TargetSilent
from nym_exit.exit_policy import ExitPolicy
from nym_exit.facade_io import AsyncStream
from nym_exit.options import ExitOptions
from nym_mixnet.errors import NymApiError
from nym_mixnet.link_state import LinkState
from nym_mixnet.tasks_io import TaskSet
from nymgate.errors import NoUsableExit, StreamRefused
from nymgate.exits.choice import ExitCandidate
from nymgate.exits.pool import PoolLimits
from tests.exit.fake_network import CLIENT, Echo
from tests.exit.virtual_time import run_virtual
from tests.nymgate.exit_world import TARGET, TEXT, Exits, exactly
from tests.nymgate.mixnet_world import identity, recipient

WEB_ONLY = ExitPolicy.parse("ExitPolicy accept *:80\nExitPolicy accept *:443\nExitPolicy reject *:*")


def virtual(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        run_virtual(test(*args, **kwargs))

    run.__signature__ = inspect.signature(test)
    return run


def now() -> float:
    return asyncio.get_running_loop().time()


async def echoes(stream) -> bool:
    async with AsyncStream(stream) as carried:
        await carried.write(b"over and back")
        return await exactly(carried, 13) == b"over and back"


@virtual
async def test_all_streams_use_the_same_exit_while_it_is_well():
    async with Exits(4).up() as world:
        first = world.in_use
        for _ in range(20):
            assert await echoes(await world.pool.open(*TARGET))
            await asyncio.sleep(60)
        assert world.in_use == first
        assert world.connects(first) == 20
        assert world.pool.stats.changes == 0


@virtual
async def test_a_silent_exit_is_left_within_seconds_and_its_old_streams_end_with_its_layer():
    async with Exits(3).up() as world:
        first = world.in_use
        old = AsyncStream(await world.pool.open(*TARGET))
        await old.write(b"hello")
        assert await exactly(old, 5) == b"hello"
        world.mute(first)
        asked = now()
        assert await echoes(await world.pool.open(*TARGET))
        assert now() - asked < 15
        assert world.in_use not in (0, first)
        again = now()
        assert await echoes(await world.pool.open(*TARGET))
        assert now() - again < 3, "the second stream does not wait for the lesson of the first"
        with pytest.raises(ExitStalled, match="not even that it is alive") as ended:
            await old.read()
        assert (ended.value.code, ended.value.layer) == ("E_EXIT_STALLED", "exit")
        assert now() - asked < 90


@virtual
async def test_an_exit_that_is_silent_between_streams_is_found_out_while_awake_and_not_while_asleep():
    async with Exits(2).up() as world:
        first = world.in_use
        awake = False
        world.pool.sleeps_by(lambda: awake)
        world.mute(first)
        before = world.questions(first)
        await asyncio.sleep(3600)
        assert world.questions(first) == before, "asleep: nothing is sent"
        awake = True
        await asyncio.sleep(30)
        assert world.in_use not in (0, first)


@virtual
async def test_streams_are_refused_in_bounded_time_when_none_is_left_and_the_pool_recovers():
    async with Exits(3).up() as world:
        world.mute(1, 2, 3)
        for _ in range(4):
            asked = now()
            with pytest.raises((StreamRefused, ExitSilent)) as refused:
                await world.pool.open(*TARGET)
            assert now() - asked <= 30.1
            assert (refused.value.code, refused.value.layer) in (
                ("E_EXIT_SILENT", "exit"),
                ("E_NO_EXIT", "exit"),
            )
        assert refused.value.code == "E_NO_EXIT"
        world.mute(1, 2, 3, silent=False)
        asked = now()
        while True:
            try:
                stream = await world.pool.open(*TARGET)
            except (StreamRefused, ExitError):
                await asyncio.sleep(1)
            else:
                break
        assert await echoes(stream)
        assert now() - asked < 60


@virtual
async def test_it_recovers_without_anybody_asking():
    async with Exits(2).up() as world:
        world.mute(1, 2)
        with pytest.raises(ExitSilent):
            await world.pool.open(*TARGET, timeout=8)
        await asyncio.sleep(600)
        assert world.in_use == 0
        asked = world.pool.stats.questions
        world.mute(1, 2, silent=False)
        await asyncio.sleep(90)
        assert world.in_use
        assert asked < 60, "ten minutes of trying cost little"


@virtual
async def test_no_exit_at_all():
    world = Exits(2)
    world.mute(1, 2)
    asked = now()
    with pytest.raises(NoUsableExit, match="None of 2 exits answers"):
        await world.pool.start()
    assert now() - asked < 45
    await world.close()


@virtual
async def test_never_an_exit_at_the_entry_gateway_or_out_of_reach():
    at_entry = ExitCandidate(recipient(CLIENT.gateway))
    world = Exits(2, candidates=[at_entry])
    with pytest.raises(NoUsableExit, match="at the entry gateway or cannot be reached"):
        await world.pool.start()
    await world.close()
    world = Exits(3)
    world.reachable = {identity(2), CLIENT.gateway}
    async with world.up():
        assert world.in_use == 2
        world.reachable = {identity(3)}
        assert await echoes(await world.pool.open(*TARGET))
        assert world.in_use == 3, "the directory does not list the other one any more"
        assert world.connects(1) == 0


@virtual
async def test_a_port_that_one_exit_refuses_goes_to_another_and_the_first_stays_in_use():
    for seed in range(4):
        async with Exits(3, seed=seed).up() as world:
            first = world.in_use
            await asyncio.sleep(5)
            for each, exit_ in world.exits.items():
                exit_.targets["mail.example:25"] = "refuse" if each == first else Echo
            world.exits[first].policy = WEB_ONLY
            world.pool.roster.current.record.policy = WEB_ONLY
            assert await echoes(await world.pool.open("mail.example", 25))
            assert world.connects(first) == 0, "known beforehand: it was not even asked"
            assert await echoes(await world.pool.open(*TARGET))
            assert world.in_use == first
            assert world.connects(first) == 1


@virtual
async def test_a_policy_is_read_beforehand():
    world = Exits(1)
    world.exits[1].policy = WEB_ONLY
    async with world.up():
        await asyncio.sleep(5)
        asked = now()
        with pytest.raises(ExitRefused):
            await world.pool.open("mail.example", 25)
        assert now() == asked, "at once"
        assert world.connects(1) == 0
        assert world.pool.stats.refused_beforehand == 1
        assert world.pool.exits()[0].policy_known


@virtual
async def test_when_all_policies_refuse_a_port_a_few_are_asked_and_then_nobody():
    world = Exits(8)
    for exit_ in world.exits.values():
        exit_.policy = WEB_ONLY
    async with world.up():
        asked = now()
        with pytest.raises(ExitRefused):
            await world.pool.open("mail.example", 25)
        assert now() - asked < 20
        for _ in range(8):
            with pytest.raises(ExitRefused):
                await world.pool.open("mail.example", 25)
        assert sum(world.connects(each) for each in world.exits) <= 1


@virtual
async def test_a_name_that_does_not_resolve_is_told_to_one_more_exit_at_most_once():
    async with Exits(4).up() as world:
        for _ in range(10):
            with pytest.raises(ExitRefused):
                await world.pool.open("no-such-name.example", 443)
        everywhere = [world.connects(each) for each in world.exits]
        assert sorted(everywhere, reverse=True)[:2] == [10, 1]
        assert sum(everywhere) == 11


@virtual
async def test_a_name_at_a_port_that_opens_is_told_to_nobody_else():
    async with Exits(4).up() as world:
        assert await echoes(await world.pool.open(*TARGET))
        with pytest.raises(ExitRefused):
            await world.pool.open("no-such-name.example", 443)
        assert sorted(world.connects(each) for each in world.exits) == [0, 0, 0, 2]


@virtual
async def test_an_exit_that_refuses_against_its_own_policy_is_found_out():
    async with Exits(2).up() as world:
        first = world.in_use
        world.exits[first].targets.clear()
        assert await echoes(await world.pool.open(*TARGET)), "the other one opens it"
        assert world.connects(first) == 1
        assert await echoes(await world.pool.open(*TARGET))
        assert world.connects(first) == 1, "and its word is remembered"


@virtual
async def test_a_silent_destination_is_no_silent_exit():
    async with Exits(3).up() as world:
        first = world.in_use
        world.exits[first].targets["slow.example:80"] = "silent"
        with pytest.raises(TargetSilent) as silent:
            await world.pool.open("slow.example", 80)
        assert (silent.value.code, silent.value.layer) == ("E_TARGET_SILENT", "target")
        assert world.in_use == first
        world.exits[first].targets["closed.example:80"] = "closed port"
        with pytest.raises(ConnectFailed):
            await world.pool.open("closed.example", 80)
        assert world.connects(first) == 2


@virtual
async def test_an_exit_over_which_nothing_comes_up_is_replaced_once():
    async with Exits(4).up() as world:
        first = world.in_use
        for exit_ in world.exits.values():
            exit_.targets["closed.example:443"] = "closed port"
        for _ in range(40):
            with pytest.raises(ConnectFailed):
                await world.pool.open("closed.example", 443)
            await asyncio.sleep(2)
        assert world.in_use != first
        assert world.pool.stats.changes == 1, "then it is rather the destination"


@virtual
async def test_an_outage_of_our_own_link_condemns_nobody():
    async with Exits(3).up() as world:
        first = world.in_use
        stream = await world.pool.open(*TARGET)
        for _ in range(4):
            world.client.link_state = LinkState.RECONNECTING
            await asyncio.sleep(280)
            world.client.back()
            await asyncio.sleep(10)
        assert world.in_use == first
        assert await echoes(stream)


@virtual
async def test_only_the_exit_in_use_has_a_bank_and_old_ones_are_closed():
    async with Exits(3).up() as world:
        first = world.in_use

        def banks():
            return {each: world.client.bank(to).target for each, to in world.recipients.items()}

        assert banks() == {each: 1000 if each == first else 0 for each in world.exits}
        world.mute(first)
        assert await echoes(await world.pool.open(*TARGET))
        assert banks() == {each: 1000 if each == world.in_use else 0 for each in world.exits}
        await asyncio.sleep(120)
        assert list(world.pool.roster.members) == [world.recipients[world.in_use]]
        questions = {each: world.questions(each) for each in world.exits}
        await asyncio.sleep(3600)
        asked = {each: world.questions(each) - questions[each] for each in world.exits}
        assert asked.pop(world.in_use) <= 13, "a question each five minutes"
        assert set(asked.values()) == {0}


@virtual
async def test_a_named_exit_has_no_substitute_and_is_tried_again_each_time():
    world = Exits(2, candidates=[ExitCandidate(recipient(identity(1)))], named=True)
    async with world.up():
        assert world.in_use == 1
        assert await echoes(await world.pool.open(*TARGET))
        await asyncio.sleep(10)
        world.mute(1)
        asked = now()
        with pytest.raises(ExitSilent):
            await world.pool.open(*TARGET)
        assert now() - asked < 15
        assert world.in_use == 1
        world.mute(1, silent=False)
        assert await echoes(await world.pool.open(*TARGET))
        assert world.connects(2) == world.questions(2) == 0


@virtual
async def test_exits_of_others_are_taken_last():
    for seed in range(5):
        taken = {recipient(identity(1)), recipient(identity(3))}
        async with Exits(3, seed=seed, others=lambda taken=taken: taken).up() as world:
            assert world.in_use == 2
            world.mute(2)
            assert await echoes(await world.pool.open(*TARGET))
            assert world.in_use in (1, 3), "shared rather than none"
    world = Exits(
        6, limits=PoolLimits(at_once=1), others=lambda: {recipient(identity(n)) for n in range(1, 6)}
    )
    async with world.up():
        assert world.in_use == 6


@virtual
async def test_those_who_choose_at_once_do_not_take_the_same():
    for seed in range(5):
        worlds: list[Exits] = []

        def taken(me, worlds=worlds):
            return {each.pool.in_use for number, each in enumerate(worlds) if number != me} - {None}

        async with contextlib.AsyncExitStack() as stack:
            worlds += [Exits(3, seed=seed, others=functools.partial(taken, me)) for me in range(3)]
            async with asyncio.TaskGroup() as group:
                for world in worlds:
                    group.create_task(stack.enter_async_context(world.up()))
            assert {world.in_use for world in worlds} == {1, 2, 3}


@virtual
async def test_rotation_leaves_old_streams_where_they_are():
    async with Exits(4, limits=PoolLimits(rotate=3600)).up() as world:
        first = world.in_use
        old = AsyncStream(await world.pool.open(*TARGET))
        await asyncio.sleep(3700)
        second = world.in_use
        assert second not in (0, first)
        await old.write(b"still here")
        assert await exactly(old, 10) == b"still here"
        assert await echoes(await world.pool.open(*TARGET))
        assert world.connects(second) == 1
        assert [state.state for state in world.pool.exits()[:2]] == ["in use", "open"]


@virtual
async def test_an_early_stream_teaches_the_next():
    async with Exits(3).up() as world:
        first = world.in_use
        world.mute(first)
        early = AsyncStream(await world.pool.open(*TARGET, early=True))
        await asyncio.sleep(16)
        assert world.in_use not in (0, first)
        with pytest.raises(ExitSilent):
            await early.read()


@virtual
async def test_an_exit_whose_streams_stall_is_left_although_it_answers():
    async with Exits(3).up() as world:
        first = world.in_use
        stream = await world.pool.open(*TARGET)
        await asyncio.sleep(5)
        world.exits[first].table.remove(
            stream.connection_id
        )  # as after a restart: it knows nothing of the stream
        await world.exits[first].tasks.close()
        with pytest.raises(ExitStalled):
            await AsyncStream(stream).read()
        await asyncio.sleep(20)
        assert world.in_use not in (0, first)


@virtual
async def test_the_list_is_read_again_in_need():
    reads = []

    async def reread():
        reads.append(now())
        if len(reads) == 1:
            raise NymApiError("cannot be reached")
        return world.candidates

    world = Exits(3)
    old = Exits(3, candidates=world.candidates[:1], reread=reread)
    async with old.up():
        assert old.in_use == 1
        old.mute(1)
        with pytest.raises(ExitSilent):
            await old.pool.open(*TARGET)
        await asyncio.sleep(300)
        assert old.in_use in (2, 3)
        assert await echoes(await old.pool.open(*TARGET))
    await world.close()


@pytest.mark.parametrize("anonymous", [True, False])
def test_streams_of_several_exits_at_once(anonymous):
    async def work():
        async with Exits(3, options=ExitOptions(anonymous=anonymous)).up() as world:
            streams = []
            for number, to in world.recipients.items():
                world.pool.roster._adopt(world.pool.roster.member(world.pool.roster._records[to]))
                streams.append(AsyncStream(await world.pool.open(*TARGET)))
                assert world.in_use == number
            for number, stream in enumerate(streams):
                await stream.write(b"stream %d" % number)
            for number, stream in enumerate(streams):
                assert await exactly(stream, 8) == b"stream %d" % number
            assert all(exit_.connects for exit_ in world.exits.values())

    run_virtual(work())


@virtual
async def test_giving_up_leaves_nothing_behind():
    async with Exits(2).up() as world, TaskSet("openings") as tasks:
        first = world.in_use
        world.exits[first].targets["slow.example:80"] = "silent"
        for pause in (0.0, 0.3, 1.0, 4.0, 12.0):
            opening = tasks.spawn(world.pool.open("slow.example", 80), name="open")
            await asyncio.sleep(pause)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        world.exits[first].targets[TEXT] = Echo
        for pause in (0.05, 0.1, 0.2, 0.3, 0.5):
            opening = tasks.spawn(world.pool.open(*TARGET), name="open")
            await asyncio.sleep(pause)
            opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await opening).abort()
        await asyncio.sleep(60)
        assert world.pool.streams == 0


@virtual
async def test_a_client_that_takes_nothing_is_no_reason_to_wait_for_ever():
    world = Exits(1, candidates=[ExitCandidate(recipient(identity(1)))], named=True)
    async with world.up():
        await asyncio.sleep(10)
        world.client.stuck = True
        for limit in (3, 30):
            asked = now()
            with pytest.raises(ExitSilent):
                await world.pool.open(*TARGET, timeout=limit)
            assert now() - asked < limit + 2
        world.client.stuck = False
