"""The commands, in process by typer's runner and as a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import nymgate
from nym_mixnet.topology import topology_to_network_json
from nymgate.cli import app
from nymgate.config_docs import example_file
from nymgate.reference import commands, pages
from tests.nymgate.mixnet_world import identity, node, recipient, requester, topology

NYMGATE = [sys.executable, "-c", "from nymgate.cli import main; main()"]
COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("NYMGATE_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def call(home):
    runner = CliRunner()

    def invoke(*words, **environ):
        return runner.invoke(app, [str(word) for word in words], prog_name="nymgate", env=environ)

    return invoke


@pytest.fixture
def network_json(tmp_path):
    path = tmp_path / "network.json"
    path.write_text(topology_to_network_json(topology(node(1, identity(1)), node(2, identity(2)))))
    return path


def test_version(call):
    assert call("--version").output == f"nymgate {nymgate.__version__}\n"


def test_help_lists_the_commands(call):
    output = call("--help").output
    for words in COMMANDS:
        assert words.split()[0] in output


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_the_common_flags(call, words):
    result = call(*words.split(), "--help")
    assert result.exit_code == 0
    assert {"--json", "--verbose", "--quiet"} <= set(result.output.replace(",", " ").split())


def test_the_reference_pages_are_current():
    folder = Path(__file__).parents[2] / "docs" / "reference"
    for name, text in pages().items():
        assert (folder / name).read_text(encoding="utf-8") == text, (
            "run `make reference` and commit what it writes"
        )


def test_wrong_usage_is_code_2(call):
    assert call("runn").exit_code == 2
    assert call("run", "--nonsense").exit_code == 2
    assert call("config").exit_code == 2


class TestConfigInit:
    def test_writes_the_commented_file_where_it_is_looked_for(self, call, home):
        result = call("config", "init")
        path = home / ".config" / "nymgate" / "nymgate.toml"
        assert result.exit_code == 0
        assert str(path) in result.output
        assert path.read_text() == example_file()
        assert path.stat().st_mode & 0o777 == 0o600

    def test_sets_what_flags_say(self, call, tmp_path):
        path = tmp_path / "mine.toml"
        call(
            "config",
            "init",
            "--config",
            path,
            "--profile",
            "fast",
            "--listen",
            "[::1]:0",
            "--listen",
            "127.0.0.1:5",
        )
        shown = json.loads(call("config", "show", "--config", path, "--json").output)["settings"]
        assert shown["mixnet.profile"] == {"value": "fast", "source": str(path)}
        assert shown["listen.mixed"]["value"] == ["[::1]:0", "127.0.0.1:5"]
        assert shown["mixnet.exit"] == {"value": "auto", "source": "default"}

    def test_does_not_replace_a_file_unless_told(self, call, tmp_path):
        path = tmp_path / "mine.toml"
        path.write_text("# precious")
        result = call("config", "init", "--config", path)
        assert result.exit_code == 2
        assert "--force" in result.stderr
        assert path.read_text() == "# precious"
        assert call("config", "init", "--config", path, "--force").exit_code == 0
        assert path.read_text() == example_file()

    def test_wrong_flags_write_nothing(self, call, tmp_path):
        path = tmp_path / "mine.toml"
        result = call("config", "init", "--config", path, "--profile", "fsat")
        assert result.exit_code == 2
        assert "standard, fast" in result.stderr
        assert not path.exists()

    def test_a_place_that_cannot_be_written_is_an_error(self, call, tmp_path):
        (tmp_path / "file").write_text("")
        result = call("config", "init", "--config", tmp_path / "file" / "x.toml")
        assert (result.exit_code, "Traceback" in result.output) == (2, False)


class TestConfigCheck:
    def test_defaults_are_good(self, call):
        result = call("config", "check")
        assert (result.exit_code, result.output.startswith("The configuration is good")) == (0, True)

    @pytest.mark.parametrize(
        "text, said",
        [
            ("netwrok = 'x'", "netwrok"),
            ("[mixnet]\nexit = 'nonsense'", "mixnet.exit"),
            ("[mixnet]\ntopology_file = '/nowhere'", "topology_file"),
            ("network = '/nowhere.toml'", "/nowhere.toml"),
            ("network = 'localnet'", "nymgate localnet up"),
        ],
    )
    def test_bad_ones_are_code_2_and_name_what(self, call, tmp_path, text, said):
        path = tmp_path / "bad.toml"
        path.write_text(text)
        result = call("config", "check", "--config", path)
        assert result.exit_code == 2
        assert said in result.stderr
        assert "Traceback" not in result.output
        shown = json.loads(call("config", "check", "--config", path, "--json").stderr)["error"]
        assert shown["code"].startswith("E_")
        assert said in shown["what"] + shown["todo"]

    def test_a_topology_file_is_read(self, call, tmp_path, network_json):
        path = tmp_path / "c.toml"
        exit_ = recipient(identity(2))
        path.write_text(f"[mixnet]\ntopology_file = '{network_json}'\nexit = '{exit_}'\n")
        assert call("config", "check", "--config", path).exit_code == 0
        broken = json.loads(network_json.read_text())
        broken["node_details"]["1"]["mix_host"] = "nonsense"
        network_json.write_text(json.dumps(broken))
        result = call("config", "check", "--config", path)
        assert result.exit_code != 0
        assert "mix_host" in result.stderr
        assert "Traceback" not in result.output

    def test_entry_and_exit_at_one_gateway_are_refused(self, call, tmp_path):
        from nym_sphinx import b58encode

        path = tmp_path / "c.toml"
        path.write_text(f"[mixnet]\nentry = '{b58encode(identity(1))}'\nexit = '{recipient(identity(1))}'\n")
        result = call("config", "check", "--config", path)
        assert result.exit_code == 2
        assert "both" in result.stderr


class TestConfigShow:
    def test_shows_value_and_source(self, call, tmp_path):
        path = tmp_path / "c.toml"
        path.write_text("[mixnet]\nsleep_after = 'never'\n")
        lines = call("config", "show", "--config", path, NYMGATE_LOG__LEVEL="debug").output.splitlines()
        assert any(
            line.startswith('mixnet.sleep_after = "never"') and line.endswith(f"# {path}") for line in lines
        )
        assert any(
            line.startswith('log.level = "debug"') and line.endswith("# NYMGATE_LOG__LEVEL") for line in lines
        )

    def test_passwords_do_not_show(self, call):
        for flags in ([], ["--json"]):
            output = call(
                "config", "show", *flags, NYMGATE_MIXNET__NYM_API="https://u:hunter2@a.example/"
            ).output
            assert "hunter2" not in output
            assert "a.example" in output


class TestGateways:
    def test_lists_those_of_a_topology_file(self, call, network_json):
        result = call("gateways", "--topology-file", network_json, "--json")
        assert result.exit_code == 0
        rows = json.loads(result.output)
        assert {row["node_id"] for row in rows} == {1, 2}
        assert all(row["roles"] == ["entry"] for row in rows)
        assert all(row["performance_percent"] is None for row in rows), "a file does not know"
        text = call("gateways", "--topology-file", network_json).output
        assert all(row["identity"] in text for row in rows)

    def test_lists_performance_country_and_exit_where_known(self):
        from nymgate.cli.gateways import show, table

        nodes = topology(node(1, identity(1)), node(2, identity(2)))
        exit_ = str(recipient(identity(2)))
        rows = table(nodes, [requester(2, identity(2), exit_, country="CH")], {identity(1): 97})
        assert [row["country"] for row in rows] == ["CH", None]
        assert [row["exit"] for row in rows] == [exit_, None]
        assert [row["roles"] for row in rows] == [["entry", "exit"], ["entry"]]
        assert [row["performance_percent"] for row in rows] == [None, 97]
        show(rows)
        show([])

    def test_a_directory_out_of_reach_is_code_4(self, call):
        result = call("gateways", "--nym-api", "http://127.0.0.1:9/")
        assert result.exit_code == 4
        assert "127.0.0.1:9" in result.stderr
        assert "Traceback" not in result.output

    def test_a_file_that_is_none_names_the_field(self, call, tmp_path):
        path = tmp_path / "network.json"
        path.write_text('{"rewarded_set": 3}')
        result = call("gateways", "--topology-file", path)
        assert result.exit_code != 0
        assert "rewarded_set" in result.stderr


def test_verbose_twice_shows_the_traceback(call, tmp_path):
    assert "Traceback" in call("config", "show", "--config", tmp_path / "none", "-vv").stderr


def test_a_bug_is_one_sentence_too(call, monkeypatch):
    def crash(*_arguments):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("nymgate.cli.configuration.load_configuration", crash)
    result = call("config", "show")
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.stderr
    assert "secret detail" not in result.stderr
    assert "-vv" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["bogus"],
        ["account", "bogus"],
        ["account", "obtain-ticketbooks"],
        ["topup", "plan", "--days", "99"],
        ["healthcheck", "extra"],
        ["gateways", "--country", "QQQ"],
    ],
)
def test_wrong_usage_is_json_for_programs(call, words):
    result = call(*words, "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    error = json.loads(result.stderr)["error"]
    assert error["code"] == "E_CONFIG"
    assert "-h`" in error["todo"]


def test_a_flag_of_one_command_alone_is_named(call):
    result = call("account", "obtain-ticketbooks", "--amount", "1", "--source", "gold")
    assert result.exit_code == 2
    assert "flag --source" in result.stderr


def test_a_topology_file_that_is_not_there_is_a_matter_of_configuration(call, tmp_path):
    result = call("gateways", "--topology-file", tmp_path / "none.json")
    assert result.exit_code == 2
    assert "Correct the configuration" in result.stderr


@pytest.mark.parametrize(
    "words",
    [["--mixnodes", "0"], ["--pay", "--ticket-scale", "nan"], ["--pay", "--ticket-scale", "inf"]],
)
def test_a_local_network_that_cannot_be_is_wrong_usage(call, words):
    result = call("localnet", "up", *words)
    assert result.exit_code == 2
    assert "Correct the options" in result.stderr


def test_folders_of_a_local_network_that_cannot_be_made_are_named(call, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    for flag, code in (("--data-dir", "E_DATA_FOLDER"), ("--keep", "E_LOCALNET")):
        result = call("localnet", "up", flag, blocked / "folder")
        assert "cannot be made: Not a directory" in result.stderr
        assert code in result.stderr


# As a process.


def run(*words, **options):
    return subprocess.run(
        [*NYMGATE, *map(str, words)], capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from nymgate.cli import app\n"
        "try:\n    app(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'pydantic', 'aiohttp', 'cryptography', 'nacl', 'structlog', 'nym_sphinx', 'nym_localnet'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("module", ["nymgate.cli", "nymgate.cli.tickets", "nymgate.errors", "typer"])
def test_an_interrupt_while_it_is_still_starting_ends_it_without_a_word(module):
    code = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "from nymgate.__main__ import main\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


def test_the_installed_command_works(home):
    command = Path(sys.executable).with_name("nymgate")
    result = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.startswith("nymgate ")


def test_a_bad_file_ends_run_with_one_line_and_code_2(tmp_path, home):
    path = tmp_path / "nymgate.toml"
    path.write_text("[mixnet]\nexitt = 'auto'\n")
    result = run("run", "--config", path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"mixnet.exitt in {path}" in result.stderr
    assert result.stdout == ""


def test_a_closed_output_is_no_traceback(home):
    process = subprocess.Popen([*NYMGATE, "config", "show"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    assert b"Traceback" not in error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_one_sentence(home):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*NYMGATE, "config", "show"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "No space left on device" in result.stderr
