"""`nymgate healthcheck` against something that answers like a running proxy."""

import asyncio
import contextlib
import json
import threading

import pytest
from aiohttp import web
from typer.testing import CliRunner

from nymgate.cli import app
from nymgate.cli.healthcheck import sentence
from nymgate.watch.control_io import ControlServer
from nymgate.watch.exporter_io import Exporter
from nymgate.watch.health import Facts, Trouble, judge
from nymgate.watch.health_json import health_body
from nymgate.watch.snapshot import Snapshot

WELL = judge(Facts(10.0, link="ready"))
BROKE = judge(
    Facts(
        10.0,
        link="out_of_bandwidth",
        pays=True,
        supply="exhausted",
        hindrance=Trouble("wallet", "E_WALLET_FUNDS", "The account cannot pay.", "Send NYM to it."),
    )
)
LOW = judge(
    Facts(
        10.0,
        link="ready",
        pays=True,
        supply="degraded",
        hindrance=Trouble("signers", "E_SIGNERS", "Too few.", "Wait."),
    )
)


@contextlib.contextmanager
def running(make):
    """A server of ours on an event loop of its own; `make` gives an async context manager."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    async def enter():
        server = make()
        return await server.__aenter__()

    server = call(enter())
    try:
        yield server
    finally:
        call(server.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def answers(health):
    async def snapshot():
        return Snapshot(health=health)

    async def verdict():
        return health

    return {"snapshot": snapshot, "health": verdict}


def check(folder, *more, **environ):
    environ = {"HOME": str(folder), "NYMGATE_DATA_DIR": str(folder)} | environ
    return CliRunner().invoke(app, ["healthcheck", "--network", "sandbox", *more], env=environ)


@pytest.mark.parametrize(
    "health, code, text",
    [
        (WELL, 0, "ready: Streams get through.\n"),
        (LOW, 0, "degraded: signers: Too few. Wait. [E_SIGNERS]\n"),
        (BROKE, 1, "not ready: wallet: The account cannot pay. Send NYM to it. [E_WALLET_FUNDS]\n"),
    ],
)
def test_the_exit_code_says_whether_streams_get_through(tmp_path, health, code, text):
    (tmp_path / "sandbox").mkdir()
    with running(lambda: ControlServer(tmp_path / "sandbox", **answers(health))):
        result = check(tmp_path)
        assert (result.exit_code, result.output) == (code, text)
        as_json = check(tmp_path, "--json")
        assert as_json.exit_code == code
        assert json.loads(as_json.output) == json.loads(json.dumps(health_body(health)))


def test_where_nothing_runs_it_says_so(tmp_path):
    result = check(tmp_path)
    assert result.exit_code == 1
    assert result.output.startswith("not running: No running nymgate answers at ")
    assert json.loads(check(tmp_path, "--json").output)["code"] == "E_NOT_RUNNING"


def test_by_its_port_where_the_folder_is_another(tmp_path):
    with running(lambda: Exporter("127.0.0.1", 0, **answers(BROKE))) as exporter:
        address = f"127.0.0.1:{exporter.address[1]}"
        result = check(tmp_path, NYMGATE_LISTEN__METRICS=address)
        assert (result.exit_code, "E_WALLET_FUNDS" in result.output) == (1, True)


@pytest.mark.slow
async def test_a_loop_that_hangs_is_not_waited_for_for_ever(tmp_path):
    async def hang(_request):
        await asyncio.sleep(3600)

    hanging = web.Application()
    hanging.add_routes([web.get("/readyz", hang)])
    runner = web.AppRunner(hanging, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        address = f"127.0.0.1:{runner.addresses[0][1]}"
        result = await asyncio.to_thread(check, tmp_path, NYMGATE_LISTEN__METRICS=address)
        assert result.exit_code == 1
        assert "not running" in result.output
    finally:
        await runner.cleanup()


def test_the_sentence_names_no_layer_where_nothing_is_wrong():
    assert sentence(health_body(WELL)) == "ready: Streams get through."
    asleep = judge(Facts(1.0, link="ready", asleep=True))
    assert sentence(health_body(asleep)).startswith("ready: Asleep")
