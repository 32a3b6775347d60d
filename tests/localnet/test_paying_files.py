"""What a paying network tells other programs: its files, its summary, and the command that starts one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import aiohttp
import pytest

from nym_credentials.networks import load_network
from nym_localnet import BadOptions, Localnet, LocalnetError, LocalnetOptions, PaymentOptions
from nym_localnet.localnet_io import summary
from nym_localnet.run_io import describe
from tests.localnet.harness import read_env
from tests.localnet.paying import new_wallet, paying_net
from tests.vector_files import load


async def test_network_files() -> None:
    async with paying_net() as net:
        network = net.payments.network(net.nym_api_url)
        toml = load_network((net.data_dir / "localnet.toml").read_text())
        env = load_network((net.data_dir / "localnet.env").read_text())
        assert toml == network
        assert env.contracts == network.contracts
        assert (env.rpc_urls, env.nym_api_urls) == (network.rpc_urls, network.nym_api_urls)
        phrase = net.payments.faucet_phrase_file
        assert phrase.read_text().strip() == net.payments.faucet_phrase
        facts = summary(net)
        assert facts["chain"] == net.payments.rpc_url
        assert len(facts["signers"]) == 3
        lines = describe(net)
        assert any(net.payments.faucet_url in line for line in lines)
        assert net.payments.faucet_phrase not in "\n".join(lines) + json.dumps(facts)


@pytest.mark.vectors
async def test_the_variables_are_a_complete_set() -> None:
    wanted = load("recorded-chain")["state"]["environment_variables"]
    async with paying_net() as net:
        found = read_env((net.data_dir / "localnet.env").read_text())
    assert wanted
    assert set(wanted) <= set(found)
    fixed = ("CONFIGURED", "BECH32_PREFIX", "MIX_DENOM", "STAKE_DENOM", "DENOMS_EXPONENT")
    assert {name: found[name] for name in fixed} == {name: wanted[name] for name in fixed}
    assert json.loads(found["NYM_APIS"])[0].keys() == json.loads(wanted["NYM_APIS"])[0].keys()


async def test_a_free_network_has_no_chain() -> None:
    async with Localnet(LocalnetOptions(exits=0)) as net:
        with pytest.raises(LocalnetError, match="pay=True"):
            _ = net.payments
        assert "chain" not in summary(net)


@pytest.mark.parametrize(
    "wrong",
    [
        {"signers": 0},
        {"signers": 65},
        {"threshold": 4},
        {"threshold": 0},
        {"price": 49},
        {"reduced_prices": {"n1": 75_000_000}},
        {"balances": {"n1": -1}},
        {"faucet_amount": 0},
        {"block_seconds": 0},
        {"ticket_retry_seconds": 0},
        {"ticket_scale": 0},
        {"ticket_penalty": -1},
        {"initial_epoch": -1},
        {"chain_id": ""},
        {"chain_port": 70_000},
        {"first_signer_port": -1},
    ],
)
def test_knobs_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(BadOptions):
        PaymentOptions(**wrong)  # type: ignore[arg-type]


async def test_knobs_that_are_heeded() -> None:
    rich, regular = new_wallet().address, new_wallet().address
    knobs = {"signers": 5, "threshold": 4, "price": 100, "initial_epoch": 11, "chain_id": "other"}
    async with paying_net(balances={rich: 77}, reduced_prices={regular: 60}, **knobs) as net:
        payments = net.payments
        assert payments.balance(rich) == 77
        assert (len(payments.signers), payments.epoch.threshold, payments.epoch.epoch_id) == (5, 4, 11)
        assert payments.nyx.chain.chain_id == "other"
        assert str(payments.nyx.ecash.price) == "100unym"
        assert payments.network("http://127.0.0.1/").chain_id == "other"
        payments.set_reduced_price(regular, None)
        payments.set_price(120)
        assert payments.nyx.ecash.price.amount == 120


async def test_ports_that_are_asked_for() -> None:
    async with paying_net() as net:
        taken = net.payments.chain.port
        from nym_localnet import StartFailed

        with pytest.raises(StartFailed, match="chain cannot listen"):
            async with paying_net(chain_port=taken):
                pass


@pytest.mark.slow
async def test_the_command(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nymgate", "localnet", "up", "--pay", "--exits", "0", "--json"),
        *("--data-dir", str(tmp_path), "--signers", "4", "--threshold", "3", "--ticket-scale", "0.01"),
        stdout=PIPE,
        env={**os.environ, "NO_COLOR": "1"},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            facts = json.loads(await process.stdout.readline())
        assert (len(facts["signers"]), facts["threshold"]) == (4, 3)
        network = load_network((tmp_path / "localnet.toml").read_text())
        assert network.rpc_urls == (facts["chain"],)
        address = new_wallet().address
        async with (
            aiohttp.ClientSession() as http,
            http.post(facts["faucet"], json={"address": address}) as response,
        ):
            assert (await response.json())["amount"] == 1_000_000_000
    finally:
        process.terminate()
        await process.communicate()
