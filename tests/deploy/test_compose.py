"""The compose file: valid, and arranged so that the application's only way out is the proxy."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nymgate.access.plan import refuse_exposure
from nymgate.config_layers import load
from nymgate.sections.types import split_address

FOLDER = Path(__file__).parents[2] / "deploy/compose"
FILE = FOLDER / "compose.yaml"


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load(FILE.read_text())


def networks(service):
    found = service.get("networks", [])
    return found if isinstance(found, dict) else dict.fromkeys(found)


def test_it_is_valid():
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_all_that_it_names_is_there(compose):
    for service in compose["services"].values():
        assert set(networks(service)) <= compose["networks"].keys()
        assert set(service.get("secrets", [])) <= compose["secrets"].keys()
        assert {entry["source"] for entry in service.get("configs", [])} <= compose["configs"].keys()
        assert set(service.get("depends_on", [])) <= compose["services"].keys()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (FOLDER / source).exists() if source.startswith(".") else source in compose["volumes"]
    assert all((FOLDER / entry["file"]).exists() for entry in compose["configs"].values())
    build = compose["services"]["nymgate"]["build"]
    assert (FOLDER / build["context"] / build["dockerfile"]).is_file()


def test_images_of_others_are_pinned_by_tag_and_digest(compose):
    images = {name: service["image"] for name, service in compose["services"].items() if name != "nymgate"}
    assert len(images) == 3
    for image in images.values():
        assert re.fullmatch(r"docker\.io/[\w./-]+:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}", image)


def test_the_application_has_no_network_but_the_one_without_a_way_out(compose):
    app = compose["services"]["app"]
    assert "network_mode" not in app
    assert set(networks(app)) == {"apps"}
    assert "ports" not in app
    apps = compose["networks"]["apps"]
    assert apps["internal"] is True
    on_it = [name for name, service in compose["services"].items() if "apps" in networks(service)]
    assert sorted(on_it) == ["app", "nymgate"]
    # Its resolver is an address that nothing answers at, so that a name can leave by the proxy alone.
    assert all(ipaddress.ip_address(server) in ipaddress.ip_network("192.0.2.0/24") for server in app["dns"])


def test_nobody_is_privileged_or_writes_to_a_root(compose):
    for service in compose["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & service.keys()


def test_only_grafana_is_published_and_on_loopback_alone(compose):
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert ports == {"grafana": ["127.0.0.1:3000:3000"]}


def test_secrets_come_as_files_only(compose):
    for service in compose["services"].values():
        for variable, value in service.get("environment", {}).items():
            if re.search("PHRASE|PASSWORD|KEY|SECRET", variable):
                assert variable.endswith("_FILE")
                assert Path(value).parent == Path("/run/secrets")
                assert Path(value).name in service["secrets"]


def test_the_proxy_takes_its_configuration(compose, tmp_path):
    """What the file and the environment say is read without an error, and listens where applications are let in."""
    service = compose["services"]["nymgate"]
    phrase = tmp_path / "phrase"
    phrase.write_text("word " * 24)
    environment = dict(service["environment"]) | {"NYMGATE_CONFIG": str(FOLDER / "nymgate.toml")}
    assert environment.pop("NYMGATE_ACCOUNT__PHRASE_FILE") == "/run/secrets/nymgate_phrase"
    config = load(environ=environment | {"NYMGATE_ACCOUNT__PHRASE_FILE": str(phrase)}).config
    refuse_exposure(config)
    apps = ipaddress.ip_network(compose["networks"]["apps"]["ipam"]["config"][0]["subnet"])
    own = ipaddress.ip_address(networks(service)["apps"]["ipv4_address"])
    assert own in apps
    beyond = [ipaddress.ip_address(split_address(text)[0]) for text in config.listen.mixed]
    assert own in beyond
    assert all(address == own or address.is_loopback for address in beyond), (
        "not on the network that leads out"
    )
    allowed = [ipaddress.ip_network(text) for text in config.access.allow]
    assert apps in allowed
    assert all(network == apps or network.is_loopback for network in allowed)


def test_the_application_talks_to_the_proxy_by_an_address_it_listens_on(compose):
    url = compose["services"]["app"]["environment"]["ALL_PROXY"]
    assert re.fullmatch(r"socks5h://nymgate:1080", url), "names go to the proxy"


def test_prometheus_listens_where_applications_have_no_route(compose):
    service = compose["services"]["prometheus"]
    assert service["network_mode"] == "service:nymgate"
    (listen,) = [word for word in service["command"] if word.startswith("--web.listen-address=")]
    address = ipaddress.ip_address(listen.partition("=")[2].rpartition(":")[0])
    outside = compose["networks"]["outside"]["ipam"]["config"][0]["subnet"]
    assert address in ipaddress.ip_network(outside)
    assert str(address) == networks(compose["services"]["nymgate"])["outside"]["ipv4_address"]
