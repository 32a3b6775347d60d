"""Networks by name, by file and by upstream's variables; addresses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.addresses import check_address, decode_address, encode_address
from nym_credentials.errors import AddressInvalid, NetworkDescriptionInvalid
from nym_credentials.networks import (
    KNOWN_NETWORKS,
    MAINNET,
    SANDBOX,
    ChainNetwork,
    Contracts,
    dump_env,
    dump_network,
    load_network,
    network_from_env,
)

TOML = dump_network(MAINNET)
ENV = "\n".join(f"{name}={value}" for name, value in dump_env(SANDBOX).items())


@pytest.mark.parametrize("network", KNOWN_NETWORKS.values(), ids=lambda network: network.name)
def test_known_networks_are_read_back(network: ChainNetwork) -> None:
    assert load_network(dump_network(network)) == network
    assert network_from_env(dump_env(network)) == replace(network, chain_id=None)
    for address in (network.contracts.ecash, network.contracts.coconut_dkg, network.contracts.multisig):
        assert address is not None
        assert len(decode_address(address, "n")) == 32


def test_a_small_file_is_enough() -> None:
    contracts = MAINNET.contracts
    network = load_network(
        'name = "x"\nnym_api = "http://a/api"\n[chain]\nrpc = "http://b"\n[chain.contracts]\n'
        f'ecash = "{contracts.ecash}"\ncoconut_dkg = "{contracts.coconut_dkg}"\n'
    )
    assert network == ChainNetwork(
        "x", Contracts(contracts.ecash, contracts.coconut_dkg), ("http://b",), ("http://a/api/",)
    )
    assert load_network(dump_network(network)) == network


def test_optional_endpoints_survive() -> None:
    network = replace(MAINNET, rest_url="https://rest", grpc_url="http://grpc:9090")
    assert load_network(dump_network(network)) == network


@pytest.mark.parametrize(
    "old, new, field",
    [
        ('name = "mainnet"', "name = 5", "name"),
        ("[chain]", "[chain]\ncolour = 1", "chain.colour"),
        ("nym_api", "nymapi", "nymapi"),
        ("rpc = [", "rpc = [5, ", "chain.rpc"),
        ("https://rpc", "ftp://rpc", "chain.rpc"),
        ('prefix = "n"', 'prefix = "N"', "chain.prefix"),
        ('denom = "unym"', 'denom = "u nym"', "chain.denom"),
        ("exponent = 6", 'exponent = "six"', "chain.exponent"),
        (MAINNET.contracts.ecash, MAINNET.contracts.ecash[:-1] + "q", "chain.contracts.ecash"),
        (f'ecash = "{MAINNET.contracts.ecash}"', "", "chain.contracts.ecash"),
        (f'ecash = "{MAINNET.contracts.ecash}"', "ecash = 1", "chain.contracts.ecash"),
        ("[chain.contracts]", "[chain.contracts]\nfoo = 1", "chain.contracts.foo"),
    ],
)
def test_a_wrong_field_is_named(old: str, new: str, field: str) -> None:
    assert old in TOML
    with pytest.raises(NetworkDescriptionInvalid, match=r"net\.toml") as caught:
        load_network(TOML.replace(old, new, 1), "net.toml")
    assert caught.value.field == field


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "name = [", 'name = "x"\nnym_api = "http://a"', "chain = 1"]
)
def test_files_that_say_too_little(text: str) -> None:
    with pytest.raises(NetworkDescriptionInvalid):
        load_network(text)


@pytest.mark.parametrize(
    "name",
    [
        "NETWORK_NAME",
        "BECH32_PREFIX",
        "MIX_DENOM",
        "MIX_DENOM_DISPLAY",
        "DENOMS_EXPONENT",
        "NYXD",
        "ECASH_CONTRACT_ADDRESS",
        "COCONUT_DKG_CONTRACT_ADDRESS",
    ],
)
def test_a_missing_variable_is_named(name: str) -> None:
    variables = dump_env(SANDBOX)
    del variables[name]
    with pytest.raises(NetworkDescriptionInvalid) as caught:
        network_from_env(variables)
    assert caught.value.field == name


def test_env_files_are_read_as_shells_do() -> None:
    text = "# comment\n\nRUST_LOG=info\nexport " + ENV.replace(
        "NETWORK_NAME=sandbox", 'NETWORK_NAME="sandbox"'
    )
    assert load_network(text) == SANDBOX


def test_fronted_endpoints_are_left_out() -> None:
    apis = '[{"url":"http://a/","front_hosts":["b"]},{"url":"http://c/","front_hosts":null}]'
    network = network_from_env(dump_env(SANDBOX) | {"NYM_APIS": apis})
    assert network.nym_api_urls == (*SANDBOX.nym_api_urls, "http://c/")


@pytest.mark.parametrize("apis", ["{", "[1]", '[{"front_hosts":null}]'])
def test_a_broken_list_of_endpoints_is_named(apis: str) -> None:
    with pytest.raises(NetworkDescriptionInvalid) as caught:
        network_from_env(dump_env(SANDBOX) | {"NYM_APIS": apis})
    assert caught.value.field == "NYM_APIS"


def test_a_line_without_a_value() -> None:
    with pytest.raises(NetworkDescriptionInvalid, match="line 2"):
        load_network("A=1\nnothing here")


@given(st.binary(min_size=20, max_size=20) | st.binary(min_size=32, max_size=32))
def test_addresses_are_read_back(data: bytes) -> None:
    text = encode_address("n", data)
    assert decode_address(text, "n") == data
    check_address(text, "n")


@given(st.text(max_size=100))
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(AddressInvalid):
        decode_address(text, "n")


def test_wrong_addresses() -> None:
    address = encode_address("n", bytes(20))
    for wrong in (encode_address("m", bytes(20)), address.upper(), address[:-1], None, 5):
        with pytest.raises(AddressInvalid):
            check_address(wrong, "n")
    with pytest.raises(AddressInvalid):
        encode_address("n", bytes(21))
