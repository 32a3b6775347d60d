"""Networks by name and by file."""

from dataclasses import replace
from pathlib import Path

import pytest

from nym_credentials.networks import MAINNET, dump_env, dump_network
from nymgate.errors import NetworkFileError
from nymgate.networks import (
    Network,
    parse_env_network,
    parse_toml_network,
    read_network_file,
    resolve_network,
)


@pytest.mark.parametrize("name", ["mainnet", "sandbox"])
def test_known_networks_name_an_https_api(name, tmp_path):
    network = resolve_network(name, tmp_path)
    assert network.name == name
    assert network.nym_api
    assert all(url.startswith("https://") and url.endswith("/api/") for url in network.nym_api)


def test_localnet_is_the_file_in_the_data_folder(tmp_path):
    with pytest.raises(NetworkFileError, match="nymgate localnet up"):
        resolve_network("localnet", tmp_path)
    (tmp_path / "localnet.toml").write_text('name = "localnet"\nnym_api = ["http://127.0.0.1:8080"]\n')
    assert resolve_network("localnet", tmp_path) == Network("localnet", ("http://127.0.0.1:8080/",))


def test_a_path_names_a_toml_file(tmp_path):
    path = tmp_path / "testbed.toml"
    path.write_text('nym_api = "http://10.0.0.5:8080/api"')
    assert resolve_network(str(path), tmp_path) == Network("testbed", ("http://10.0.0.5:8080/api/",))


ENV = """\
# upstream's form
CONFIGURED=true
NETWORK_NAME="sandbox"
export NYM_API='https://one.example/api/'
NYM_APIS=[{"url":"https://one.example/api/","front_hosts":null},{"url":"https://front.example/","front_hosts":["a"]},\
{"url":"https://two.example/api","front_hosts":null}]
"""


def test_a_path_names_an_env_file_of_upstream(tmp_path):
    path = tmp_path / "sandbox.env"
    path.write_text(ENV)
    assert read_network_file(path) == Network(
        "sandbox", ("https://one.example/api/", "https://two.example/api/")
    )


def test_a_network_with_a_chain_brings_it_along(tmp_path):
    toml, env = tmp_path / "net.toml", tmp_path / "net.env"
    known = replace(MAINNET, name="testbed", chain_id=None)
    toml.write_text(dump_network(known))
    env.write_text("".join(f"{key}={value}\n" for key, value in dump_env(known).items()))
    for path in (toml, env):
        assert read_network_file(path) == Network("testbed", known.nym_api_urls, known)
    env.write_text(env.read_text().replace(MAINNET.contracts.ecash, "n1nonsense"))
    with pytest.raises(NetworkFileError, match="ECASH_CONTRACT_ADDRESS"):
        read_network_file(env)
    toml.write_text("name = 'x'\nnym_api = 'http://a/'\n[chain]\nrpc = 'http://b/'\n")
    with pytest.raises(NetworkFileError, match=r"chain\.contracts is missing"):
        read_network_file(toml)


@pytest.mark.parametrize(
    "text, names",
    [
        ("nym_api = [", "not TOML"),
        ("nym_apis = ['http://a/']", "nym_apis"),
        ("name = 'x'", "nym_api"),
        ("nym_api = []", "nym_api"),
        ("nym_api = [1]", "nym_api"),
        ("nym_api = ['ftp://a/']", "ftp://a/"),
        ("nym_api = ['http://']", "http://"),
        ("nym_api = ['http://a:99999/']", "99999"),
        ("nym_api = ['http://[::1/']", "::1"),
        ("nym_api = ['http://a/?x=1']", "x=1"),
        ("name = 3\nnym_api = ['http://a/']", "name"),
    ],
)
def test_wrong_toml_names_the_field(text, names):
    with pytest.raises(NetworkFileError) as caught:
        parse_toml_network(text, "net.toml")
    assert "net.toml" in str(caught.value)
    assert names in str(caught.value)


@pytest.mark.parametrize(
    "text, names",
    [
        ("NYM_API", "line 1"),
        ("A=b", "NYM_API"),
        ("NYM_API=nonsense", "nonsense"),
        ("NYM_APIS=[{}]", "NYM_APIS"),
        ("NYM_APIS=7", "NYM_APIS"),
    ],
)
def test_wrong_env_names_the_variable(text, names):
    with pytest.raises(NetworkFileError) as caught:
        parse_env_network(text, "x.env")
    assert "x.env" in str(caught.value)
    assert names in str(caught.value)


def test_files_that_cannot_be_read_say_why(tmp_path):
    with pytest.raises(NetworkFileError, match="No such file"):
        read_network_file(tmp_path / "none.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NetworkFileError, match="UTF-8"):
        read_network_file(binary)
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(NetworkFileError, match="larger"):
        read_network_file(Path(big))
