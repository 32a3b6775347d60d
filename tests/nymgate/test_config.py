"""Configuration: precedence, origins, and what is said about wrong keys and values."""

import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from nym_mixnet.profiles import PROFILES
from nymgate.config import Config
from nymgate.config_docs import example_file, listing, reference_page
from nymgate.config_layers import (
    data_dir,
    default_config_path,
    environment_name,
    extra,
    load,
    parse_file,
    settings,
    value_at,
)
from nymgate.errors import ConfigError, ExitCode
from nymgate.sections.types import split_address

IDENTITY = "2gtgfRHwVuJbWnhS6SP9PsgZYYjKAAkYqYfKQMQ2aZTh"


@pytest.fixture
def home(tmp_path):
    return {"HOME": str(tmp_path)}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "nymgate.toml"
    path.write_text(text)
    return path


def test_defaults_need_no_file(home):
    effective = load(environ=home)
    assert effective.file is None
    assert effective.config == Config()
    assert effective.config.listen.mixed == ["127.0.0.1:1080"]
    assert effective.config.mixnet.sleep_after == 600
    assert {origin for *_rest, origin in effective.items()} == {"default"}


def test_file_loses_to_environment_loses_to_flags(tmp_path, home):
    path = write(
        tmp_path,
        'network = "sandbox"\n[mixnet]\nprofile = "fast"\nsleep_after = "1h"\nsurb_bank = 5\n'
        "[streams]\nlimit = 7\n",
    )
    environ = home | {"NYMGATE_MIXNET__PROFILE": "thrifty", "NYMGATE_MIXNET__SLEEP_AFTER": "never"}
    effective = load(file=path, environ=environ, flags={"mixnet.profile": "uncovered", "mixnet.exit": None})
    mixnet = effective.config.mixnet
    assert (mixnet.profile, mixnet.sleep_after, mixnet.surb_bank) == ("uncovered", float("inf"), 5)
    assert (effective.config.network, effective.config.streams.limit) == ("sandbox", 7)
    origins = {key: origin for key, _info, _value, origin in effective.items()}
    assert origins["mixnet.profile"] == "flag --profile"
    assert origins["mixnet.sleep_after"] == "NYMGATE_MIXNET__SLEEP_AFTER"
    assert origins["mixnet.surb_bank"] == str(path)
    assert origins["mixnet.exit"] == "default"


def test_the_file_is_looked_for_in_three_places(tmp_path, home):
    assert default_config_path(home) == tmp_path / ".config" / "nymgate" / "nymgate.toml"
    config_home = tmp_path / "xdg" / "nymgate"
    config_home.mkdir(parents=True)
    write(config_home, 'network = "one"')
    environ = home | {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert load(environ=environ).config.network == "one"
    other = write(tmp_path, 'network = "two"')
    environ["NYMGATE_CONFIG"] = str(other)
    assert load(environ=environ).config.network == "two"
    third = tmp_path / "third.toml"
    third.write_text('network = "three"')
    assert load(file=third, environ=environ).config.network == "three"


def test_a_named_file_has_to_exist(tmp_path, home):
    with pytest.raises(ConfigError, match="No such file") as caught:
        load(file=tmp_path / "none.toml", environ=home)
    assert caught.value.exit_code is ExitCode.USAGE
    with pytest.raises(ConfigError, match="No such file"):
        load(environ=home | {"NYMGATE_CONFIG": str(tmp_path / "none.toml")})


def test_lists_and_booleans_from_the_environment(home):
    environ = home | {
        "NYMGATE_LISTEN__MIXED": "127.0.0.1:1080, [::1]:1081",
        "NYMGATE_LOG__DESTINATIONS": "true",
        "NYMGATE_STREAMS__BUFFER": "1MiB",
        "NYMGATE_MIXNET__NYM_API": "http://127.0.0.1:8000/api",
    }
    config = load(environ=environ).config
    assert config.listen.mixed == ["127.0.0.1:1080", "[::1]:1081"]
    assert config.log.destinations is True
    assert config.streams.buffer == 1 << 20
    assert config.mixnet.nym_api == ["http://127.0.0.1:8000/api/"]


def test_a_variable_may_name_a_file_with_the_value(tmp_path, home):
    (tmp_path / "value").write_text("sandbox\n")
    environ = home | {"NYMGATE_NETWORK_FILE": str(tmp_path / "value")}
    effective = load(environ=environ)
    assert effective.config.network == "sandbox"
    with pytest.raises(ConfigError, match="Both NYMGATE_NETWORK and NYMGATE_NETWORK_FILE"):
        load(environ=environ | {"NYMGATE_NETWORK": "mainnet"})
    with pytest.raises(ConfigError, match="NYMGATE_NETWORK_FILE"):
        load(environ=home | {"NYMGATE_NETWORK_FILE": str(tmp_path / "none")})
    # The key whose own name ends in FILE is the key, not a file with its value.
    assert load(environ=home | {"NYMGATE_MIXNET__TOPOLOGY_FILE": "/x"}).config.mixnet.topology_file == "/x"


@pytest.mark.parametrize(
    "variable",
    [
        "NYMGATE_SERVICE_HOST",
        "NYMGATE_SERVICE_PORT",
        "NYMGATE_SERVICE_PORT_SOCKS",
        "NYMGATE_PORT",
        "NYMGATE_PORT_1080_TCP_ADDR",
    ],
)
def test_service_links_of_kubernetes_are_not_ours(home, variable):
    assert load(environ=home | {variable: "tcp://10.0.0.1:1080"}).config.network == "mainnet"


@pytest.mark.parametrize(
    "text, key, nearest",
    [
        ('netwrok = "x"', "netwrok", "network"),
        ("[mixnett]\nexit = 1", "[mixnett]", "mixnet"),
        ("[mixnet]\nexitt = 1", "mixnet.exitt", "mixnet.exit"),
        ("exit = 1", "exit", "mixnet.exit"),
        ("[mixnet]\nsleepafter = 1", "mixnet.sleepafter", "mixnet.sleep_after"),
        ('[listen]\nmixedd = ["127.0.0.1:9470"]', "listen.mixedd", "listen.mixed"),
        ("[budgett]\nper_day = 1", "[budgett]", "budget"),
        ("[budget]\nper_hour = 1", "budget.per_hour", "budget.per_"),
    ],
)
def test_unknown_keys_name_file_key_and_nearest(text, key, nearest):
    with pytest.raises(ConfigError) as caught:
        parse_file(text, "my.toml")
    assert f" {key} in my.toml" in caught.value.what
    assert nearest in caught.value.todo


def test_unknown_variables_name_the_nearest(home):
    with pytest.raises(ConfigError, match=r"NYMGATE_MIXNET__EXITT .*nearest.* NYMGATE_MIXNET__EXIT\."):
        load(environ=home | {"NYMGATE_MIXNET__EXITT": "auto"})


@pytest.mark.parametrize(
    "key, given, allowed",
    [
        ("mixnet.profile", '"fsat"', "standard, fast, thrifty or uncovered"),
        ("mixnet.sleep_after", '"10"', '"never"'),
        ("mixnet.sleep_after", "10", '"10m"'),
        ("mixnet.sleep_after", '"0s"', '"10m"'),
        ("mixnet.surb_bank", "-1", "0 to 10000"),
        ("mixnet.surb_bank", '"many"', "whole number"),
        ("mixnet.entry", '"nonsense0OIl"', "identity of a gateway"),
        ("mixnet.entry", '"abc"', "identity of a gateway"),
        ("mixnet.exit", '"abc"', "full address"),
        ("mixnet.exit", f'"{IDENTITY}.{IDENTITY}"', "full address"),
        ("mixnet.exit", '"country:"', "two-letter codes"),
        ("mixnet.exit", '"country:Switzerland"', "two-letter codes"),
        ("mixnet.entry", '"country:CH,D1"', "two-letter codes"),
        ("mixnet.exit_rotation", '"0s"', "duration"),
        ("mixnet.nym_api", '["nonsense"]', "list of URLs"),
        ("mixnet.replies", '"loud"', "anonymous"),
        ("streams.connect_timeout", '"never"', '"10s"'),
        ("streams.buffer", '"1KiB"', "4KiB to 64MiB"),
        ("streams.buffer", "5", "4KiB to 64MiB"),
        ("streams.limit", "0", "1 to 100000"),
        ("listen.mixed", '["127.0.0.1"]', "addresses"),
        ("listen.mixed", '["127.0.0.1:99999"]', "addresses"),
        ("listen.mixed", '["example.com:1080"]', "addresses"),
        ("listen.mixed", '["unix:relative"]', "addresses"),
        ("access.allow", '["10.0.0.0/33"]', "networks"),
        ("access.unix_mode", '"0999"', "mode"),
        ("rules.deny", '["a*b.example"]', "names"),
        ("rules.allow", '["example.com:0"]', "names"),
        ("rules.private", '"direct"', "refuse"),
        ("admission.queue", "-1", "0"),
        ("streams.keep_alive", '"never"', "duration"),
        ("listen.mixed", '"127.0.0.1:1080"', "list"),
        ("log.level", '"loud"', "debug, info"),
        ("log.destinations", '"maybe"', "true or false"),
        ("network", '""', "mainnet"),
        ("network", "3", "mainnet"),
    ],
)
def test_wrong_values_name_origin_field_value_and_what_is_allowed(tmp_path, home, key, given, allowed):
    section, _, name = key.rpartition(".")
    path = write(tmp_path, (f"[{section}]\n" if section else "") + f"{name} = {given}\n")
    with pytest.raises(ConfigError) as caught:
        load(file=path, environ=home)
    assert str(path) in caught.value.what
    assert f"{key} cannot be" in caught.value.what
    assert given.strip("[]\"'") in caught.value.what
    assert allowed in caught.value.todo


def test_several_wrong_values_are_told_at_once(home):
    with pytest.raises(ConfigError) as caught:
        load(environ=home | {"NYMGATE_MIXNET__PROFILE": "x", "NYMGATE_LOG__LEVEL": "y"})
    assert "mixnet.profile" in str(caught.value)
    assert "log.level" in str(caught.value)


@pytest.mark.parametrize("text", ["network = ", "[mixnet", "mixnet = 3", "network = 'a'\nnetwork = 'b'"])
def test_files_that_are_no_toml_or_the_wrong_shape_name_the_place(text):
    with pytest.raises(ConfigError, match=r"my\.toml"):
        parse_file(text, "my.toml")


def test_a_file_in_another_encoding_is_told(tmp_path, home):
    path = tmp_path / "nymgate.toml"
    path.write_bytes(b"network = '\xff'")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(file=path, environ=home)


def test_the_example_file_is_the_defaults(tmp_path, home):
    text = example_file()
    assert load(file=write(tmp_path, text), environ=home).config == Config()
    uncommented = "\n".join(
        line[1:] if line.startswith("#") and line[1:2].isalpha() else line for line in text.splitlines()
    )
    everything = load(file=write(tmp_path, uncommented), environ=home)
    assert everything.config == Config()
    secrets = {key for key, info in settings().items() if extra(info, "secret")}
    assert set(everything.origins) == set(settings()) - secrets, "every key stands in the example"
    assert all(f"{environment_name(key)}_FILE" in text for key in secrets)


def test_the_example_file_takes_values(tmp_path, home):
    path = write(
        tmp_path,
        example_file({"mixnet.profile": "fast", "mixnet.sleep_after": 60.0, "listen.mixed": ["[::1]:0"]}),
    )
    effective = load(file=path, environ=home)
    assert effective.config.mixnet.profile == "fast"
    assert effective.config.mixnet.sleep_after == 60
    assert effective.config.listen.mixed == ["[::1]:0"]
    assert set(effective.origins) == {"mixnet.profile", "mixnet.sleep_after", "listen.mixed"}


def test_every_setting_is_documented():
    for key, info in settings().items():
        assert info.description, key
        assert info.description.endswith("."), key
        assert extra(info, "allowed"), key
        assert environment_name(key) in reference_page()


def test_sections_are_immutable():
    config = Config()
    assert all(isinstance(value_at(config, key.split(".")[0]), (str, int, BaseModel)) for key in settings())
    with pytest.raises(ValueError, match="frozen"):
        config.mixnet.profile = "fast"


def test_profiles_are_those_of_the_mixnet():
    allowed = extra(settings()["mixnet.profile"], "allowed")
    assert [name for name in PROFILES if name not in allowed] == []
    for name in PROFILES:
        assert load(environ={"HOME": "/x", "NYMGATE_MIXNET__PROFILE": name}).config.mixnet.profile == name


SECRET = "correct horse battery staple"


@pytest.mark.parametrize("key", ["account.phrase", "store.passphrase"])
def test_secrets_come_by_environment_file_or_credential_and_are_never_shown(tmp_path, home, key):
    name = environment_name(key)
    (tmp_path / "file").write_text(SECRET + "\n")
    (tmp_path / f"nymgate.{key}").write_text(SECRET + "\n")
    for environ, origin in (
        ({name: SECRET}, name),
        ({f"{name}_FILE": str(tmp_path / "file")}, f"{name}_FILE"),
        ({"CREDENTIALS_DIRECTORY": str(tmp_path)}, f"credential nymgate.{key}"),
    ):
        effective = load(environ=home | environ)
        assert value_at(effective.config, key).get_secret_value() == SECRET
        shown = {name: (value, where) for name, value, where in listing(effective)}
        assert shown[key] == ("<secret>", origin)
        assert SECRET not in repr(effective) + str(effective.config) + repr(shown)
    with pytest.raises(ConfigError, match="Take one of them away"):
        load(environ=home | {name: SECRET, "CREDENTIALS_DIRECTORY": str(tmp_path)})
    section, _, field = key.partition(".")
    with pytest.raises(ConfigError, match="secrets do not belong") as caught:
        parse_file(f"[{section}]\n{field} = '{SECRET}'", "my.toml")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/db", "postgresql+asyncpg://u:hunter2@h", "sqlite://"])
def test_the_store_says_what_it_cannot_be_kept_in(home, url):
    with pytest.raises(ConfigError, match="postgresql") as caught:
        load(environ=home | {"NYMGATE_STORE__URL": url})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url, shown",
    [
        ("postgresql+asyncpg://u:hunter2@h:5/db", "postgresql+asyncpg://<secret>@h:5/db"),
        ("postgresql+asyncpg:///db?host=/run/x", "postgresql+asyncpg:///db?host=/run/x"),
        ("postgresql://h/db?user=u&password=hunter2", "postgresql://h/db?<secret>"),
        ("/var/lib/tickets", "/var/lib/tickets"),
    ],
)
def test_the_url_of_the_store_is_shown_without_its_password(home, tmp_path, url, shown):
    (tmp_path / "nymgate.store.url").write_text(url)
    for given in (
        {"NYMGATE_STORE__URL": url},
        {"NYMGATE_STORE__URL_FILE": str(tmp_path / "nymgate.store.url")},
        {"CREDENTIALS_DIRECTORY": str(tmp_path)},
    ):
        effective = load(environ=home | given)
        assert effective.config.store.url == url
        rows = {key: value for key, value, _origin in listing(effective)}
        assert rows["store.url"] == shown
        assert "hunter2" not in repr(effective) + str(effective.config)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("TICKETS__LOW_WATER", "9d", "at most 6d"),
        ("TICKETS__HIGH_WATER", "12 o'clock", "a time such as"),
        ("TICKETS__LOW_WATER", "0", "a number of tickets"),
        ("BUDGET__PER_DAY", "-3", "150 NYM"),
        ("BUDGET__RESERVE", "lots", "150 NYM"),
        ("BUDGET__MAX_PRICE", "0.1234567 NYM", "finer than the smallest unit"),
    ],
)
def test_marks_and_amounts_that_make_no_sense_are_refused(home, key, value, message):
    with pytest.raises(ConfigError, match=message):
        load(environ=home | {f"NYMGATE_{key}": value})


@pytest.mark.parametrize("key", ["PER_DAY", "PER_MONTH", "PER_DEPOSIT", "MAX_PRICE", "RESERVE"])
def test_no_cap_is_lifted_by_a_variable_that_was_left_empty(home, tmp_path, key):
    (tmp_path / "empty").write_text("\n")
    for given in ({f"NYMGATE_BUDGET__{key}": " "}, {f"NYMGATE_BUDGET__{key}_FILE": str(tmp_path / "empty")}):
        with pytest.raises(ConfigError, match=f"NYMGATE_BUDGET__{key}.* is empty") as caught:
            load(environ=home | given)
        assert '"none"' in caught.value.todo
    lifted = load(environ=home | {f"NYMGATE_BUDGET__{key}": "None"}).config.budget
    assert getattr(lifted, key.lower()) == ""


def test_marks_and_amounts_may_be_numbers_or_texts(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text('[tickets]\nlow_water = 20\nhigh_water = "60"\n[budget]\nper_day = 150\nreserve = ""\n')
    config = load(file=file, environ={}).config
    assert (config.tickets.low_water, config.tickets.high_water) == ("20", "60")
    assert (config.budget.per_day, config.budget.reserve, config.budget.per_month) == ("150", "", "1500 NYM")


def test_passwords_in_urls_are_not_listed(home):
    effective = load(
        environ=home | {"NYMGATE_MIXNET__NYM_API": "https://user:hunter2@api.example/v/,https://b.example/"}
    )
    rows = {key: value for key, value, _origin in listing(effective)}
    assert rows["mixnet.nym_api"] == ["https://<secret>@api.example/v/", "https://b.example/"]


def test_the_data_folder_follows_xdg(home, tmp_path):
    config = Config()
    assert data_dir(config, home) == tmp_path / ".local" / "share" / "nymgate"
    assert data_dir(config, home | {"XDG_DATA_HOME": "/data"}) == Path("/data/nymgate")
    assert data_dir(load(environ=home | {"NYMGATE_DATA_DIR": "/d"}).config, home) == Path("/d")


@pytest.mark.parametrize(
    "text, address",
    [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:2", ("::1", 2)), ("localhost:0", ("127.0.0.1", 0))],
)
def test_addresses_are_split(text, address):
    assert split_address(text) == address


@pytest.mark.parametrize(
    "text", ["", ":1", "a", "::1:80", "[::1]", "1.2.3.4:", "1.2.3.4:-1", "1.2.3.4:١", "host:80"]
)
def test_bad_addresses_are_refused(text):
    with pytest.raises(ValueError, match=r"not host:port|Expected|[Aa]ddress|octet|parts|empty"):
        split_address(text)


def test_the_example_is_readable_toml_without_long_lines():
    text = example_file()
    tomllib.loads(text)
    assert max(map(len, text.splitlines())) <= 120
