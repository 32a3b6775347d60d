"""The users file and the commands that write it."""

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from nymgate.access.users import (
    Limits,
    User,
    UsersFileInvalid,
    format_line,
    hash_password,
    is_right,
    parse_hash,
    parse_line,
    parse_users,
    split_name,
)
from nymgate.cli.app import app
from tests.nymgate.users import cheap_hash, user

names = st.from_regex(r"[A-Za-z0-9._@-]{1,64}", fullmatch=True)
limits = st.none() | st.integers(1, 1 << 40)


@given(names, st.binary(max_size=20), st.none() | st.integers(1, 1000), limits, limits)
def test_a_line_is_read_as_it_was_written(name, password, streams, day, month):
    written = User(name, cheap_hash(password), Limits(streams, day, month))
    assert parse_line(format_line(written)) == written


@given(st.text(max_size=80))
def test_any_text_is_users_or_a_line_number(text):
    try:
        parse_users(text)
    except UsersFileInvalid as error:
        assert str(error).startswith("line ")  # noqa: PT017 - not every text raises


@pytest.mark.parametrize(
    "text",
    [
        *("$scrypt$ln=15,r=8,p=1$$", "$scrypt$ln=25,r=8,p=1$c2FsdHNhbHQ$" + "A" * 43, "plain", "$2b$10$abc"),
        *("$scrypt$ln=20,r=999,p=1$c2FsdHNhbHQ$" + "A" * 43, "$scrypt$ln=0,r=8,p=1$c2FsdHNhbHQ$" + "A" * 43),
        *("$scrypt$ln=15,r=8,p=1$c2FsdHNhbHQ$AAAA", "$scrypt$ln=15,r=8,p=1$c2FsdHNhbHQ$" + "A" * 41),
    ],
)
def test_hashes_that_are_none_or_cost_too_much_are_refused(text):
    with pytest.raises(ValueError):
        parse_hash(text)


def test_real_hashes_are_checked_and_do_not_show_themselves():
    hashed = hash_password(b"correct horse", b"0123456789abcdef")
    assert parse_hash(str(hashed)) == hashed
    assert is_right(hashed, b"correct horse")
    assert not is_right(hashed, b"correct horse ")
    assert "alice" not in repr(user("alice", "secret"))
    assert hashed.key not in repr(hashed).encode()


@pytest.mark.parametrize(
    "sent, name, token",
    [
        (b"alice", "alice", None),
        (b"alice+mail", "alice", "mail"),
        (b"alice+", "alice", ""),
        (b"a+b+c", "a", "b+c"),
    ],
)
def test_a_token_follows_the_name(sent, name, token):
    assert split_name(sent) == (name, token)


def test_the_same_user_twice_is_an_error():
    line = format_line(user("alice", "x"))
    with pytest.raises(UsersFileInvalid, match="line 3"):
        parse_users(f"{line}\n\n{line}\n")


class TestCommands:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "folder" / "users"

    @pytest.fixture
    def call(self, path, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))

        def call(*words, stdin="", code=0):
            done = CliRunner().invoke(app, ["users", *words, "--file", str(path)], input=stdin)
            assert done.exit_code == code, done.output
            assert "Traceback" not in done.output
            assert "sesame" not in done.output
            return done

        return call

    def test_add_list_replace_remove(self, call, path, tmp_path):
        call("add", "alice", "--streams", "3", "--per-day", "1GiB", stdin="open sesame\n")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        users = parse_users(path.read_text())
        assert is_right(users["alice"].password, b"open sesame")
        assert users["alice"].limits == Limits(3, 1 << 30, None)
        path.write_text("# people\n" + path.read_text())
        (tmp_path / "word").write_text("other sesame")
        call("add", "bob", "--password-file", str(tmp_path / "word"), "--per-month", "5MB")
        assert "bob" in call("list").output
        assert call("list", "--json").output.count("bytes_per_day") == 2
        call("add", "alice", stdin="x\n", code=2)
        call("add", "alice", "--replace", stdin="new sesame\n")
        users = parse_users(path.read_text())
        assert is_right(users["alice"].password, b"new sesame")
        assert users["alice"].limits == Limits()
        assert list(users) == ["alice", "bob"]
        call("remove", "alice")
        assert path.read_text().startswith("# people\nbob:")
        call("remove", "alice", code=2)
        assert "sesame" not in path.read_text()

    def test_passwords_on_the_command_line_are_refused(self, call, path):
        done = call("add", "alice", "open sesame", code=2)
        assert "--password-file" in done.output
        assert not path.exists()

    @pytest.mark.parametrize("name", ["a+b", "a:b", "", "a b", "ä"])
    def test_names_that_cannot_be(self, call, path, name):
        call("add", name, stdin="sesame\n", code=2)
        assert not path.exists()

    @pytest.mark.parametrize("stdin", ["", "\n", "x" * 256])
    def test_passwords_that_cannot_be(self, call, path, stdin):
        call("add", "alice", stdin=stdin, code=2)
        assert not path.exists()

    def test_a_broken_file_is_left_alone(self, call, path):
        path.parent.mkdir()
        path.write_text("nonsense\n")
        call("add", "alice", stdin="sesame\n", code=2)
        call("list", code=2)
        assert path.read_text() == "nonsense\n"
