"""`nymgate env`: what it prints, taken by a real shell."""

import json
import os
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest
from typer.testing import CliRunner

from nymgate.apps.proxy_variables import Shell, all_names, assignments, proxy_variables, shell_of
from nymgate.apps.reachable import Reachable, proxy_url
from nymgate.cli import app
from nymgate.errors import ConfigError
from nymgate.sections.listen import Listen

BOTH = Reachable.of([("127.0.0.1", 1080)], [], [])


@pytest.fixture
def call(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("NYMGATE_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/bash")
    runner = CliRunner()
    return lambda *words: runner.invoke(app, ["env", *words], prog_name="nymgate")


def in_shell(script, **environment):
    """The environment after `script` in a real sh."""
    dump = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    done = subprocess.run(
        ["/bin/sh", "-euc", f"{script}\n{dump}"], capture_output=True, check=True, env=environment
    )
    return json.loads(done.stdout)


def test_a_shell_takes_the_lines(call):
    lines = call("--listen", "127.0.0.1:2080").output
    found = in_shell(
        f'eval "$(cat <<\\END\n{lines}END\n)"', no_proxy="example.com", HTTPS_PROXY="http://old:1"
    )
    for name in ("ALL_PROXY", "all_proxy"):
        assert found[name] == "socks5h://127.0.0.1:2080"
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        assert found[name] == "http://127.0.0.1:2080"
    assert found["NO_PROXY"] == found["no_proxy"] == "", "nothing goes around the proxy"


def test_the_lines_are_taken_back(call):
    found = in_shell(call().output + call("--unset").output)
    assert not set(found) & set(all_names())


def test_json(call):
    found = json.loads(call("--json").output)
    assert found == proxy_variables(BOTH)
    assert set(found) == set(all_names())
    assert json.loads(call("--json", "--unset").output) == dict.fromkeys(all_names())


def test_isolation_is_a_password_nobody_else_has(call):
    first, second = (json.loads(call("--json", "--isolate").output) for _ in range(2))
    assert first["ALL_PROXY"].startswith("socks5h://isolated:")
    assert first["ALL_PROXY"].partition("://")[2] == first["https_proxy"].partition("://")[2]
    assert first["ALL_PROXY"] != second["ALL_PROXY"]


def test_apart_listeners_and_one_kind_alone():
    apart = proxy_variables(Reachable.of([], [("127.0.0.1", 1)], [("::1", 2)]))
    assert apart["ALL_PROXY"] == "socks5h://127.0.0.1:1"
    assert apart["HTTPS_PROXY"] == "http://[::1]:2"
    only_socks = proxy_variables(Reachable.of([], [("127.0.0.1", 1)], []))
    assert {only_socks[name] for name in all_names() if name.upper() != "NO_PROXY"} == {
        "socks5h://127.0.0.1:1"
    }
    only_http = proxy_variables(Reachable.of([], [], [("127.0.0.1", 2)]))
    assert only_http["ALL_PROXY"] == "http://127.0.0.1:2"


def test_listeners_of_all_interfaces_are_reached_by_loopback():
    at = Reachable.of([("0.0.0.0", 1), ("::", 2)], [], [])
    assert at.socks == at.http == (("127.0.0.1", 1), ("::1", 2))


def test_a_port_chosen_at_start_is_told_of(call):
    result = call("--listen", "127.0.0.1:0")
    assert result.exit_code == 2
    assert "port" in result.output
    assert "listen.mixed" in result.output
    with pytest.raises(ConfigError):
        Reachable.configured(Listen(mixed=[]))


def test_passwords_are_quoted_for_urls():
    url = proxy_url("http", ("127.0.0.1", 1), "a:b@c/d é")
    assert url == "http://isolated:a%3Ab%40c%2Fd%20%C3%A9@127.0.0.1:1"


@pytest.mark.parametrize(
    "path, shell",
    [
        (None, Shell.SH),
        ("/bin/zsh", Shell.SH),
        ("/usr/bin/fish", Shell.FISH),
        ("/opt/pwsh", Shell.POWERSHELL),
    ],
)
def test_the_shell_in_use(path, shell):
    assert shell_of(path) is shell


def test_quoting():
    odd = {"A": "it's $HOME \\"}
    assert in_shell(assignments(odd, Shell.SH))["A"] == odd["A"]
    assert assignments(odd, Shell.FISH) == "set -gx A 'it\\'s $HOME \\\\'"
    assert assignments(odd, Shell.POWERSHELL) == "$env:A = 'it''s $HOME \\'"


def test_a_user_logs_in_and_may_be_set_apart(call, tmp_path):
    (tmp_path / "word").write_bytes(b"p@ss:w\xc3\xb6rd\n")
    plain, apart = (
        json.loads(
            call("--json", "--user", "al@ice", "--password-file", str(tmp_path / "word"), *more).output
        )
        for more in ((), ("--isolate",))
    )
    assert plain["ALL_PROXY"] == "socks5h://al%40ice:p%40ss%3Aw%C3%B6rd@127.0.0.1:1080"
    assert plain["http_proxy"] == "http://al%40ice:p%40ss%3Aw%C3%B6rd@127.0.0.1:1080"
    user, _, password = urlsplit(apart["http_proxy"]).netloc.rpartition("@")[0].partition(":")
    assert (unquote(user)[:7], unquote(password)) == ("al@ice+", "p@ss:wörd")
    assert len(unquote(user)) > 30


def test_a_password_is_asked_for_and_missed(call, tmp_path):
    runner = CliRunner()
    given = runner.invoke(app, ["env", "--json", "--user", "bob"], input="secret\n", prog_name="nymgate")
    assert json.loads(given.output)["HTTP_PROXY"] == "http://bob:secret@127.0.0.1:1080"
    assert call("--user", "bob").exit_code != 0
    assert call("--password-file", str(tmp_path / "word")).exit_code != 0
    assert call("--user", "bob", "--password-file", str(tmp_path / "nothing")).exit_code != 0
    (tmp_path / "config.toml").write_text('[access]\nusers_file = "users"\n')
    reminded = call("--config", str(tmp_path / "config.toml"))
    assert reminded.exit_code == 0
    assert "--user" in reminded.stderr
    assert "--user" not in reminded.stdout
