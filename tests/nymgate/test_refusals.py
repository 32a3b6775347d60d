"""The one table of refusals: complete, and in step with the errors that are raised elsewhere."""

import ast
from pathlib import Path

import pytest

import nym_exit.errors
from nym_exit.errors import BadTarget, ExitError, MixnetDown, OpenError, StreamClosed, StreamError
from nymgate.errors import Reply, StreamRefused
from nymgate.listener.http_message import answer
from nymgate.refusals import REFUSALS, Refusal, refusal_of

SOURCES = sorted((Path(__file__).parents[2] / "proxy/nymgate").rglob("*.py"))
REFUSERS = ("handshake", "socks4", "socks5", "http_", "detect", "connection_io", "upstream_io")


def leaves(kind):
    below = kind.__subclasses__()
    return [kind, *(leaf for each in below for leaf in leaves(each))] if below else [kind]


def raised_while_streaming():
    kinds = {kind for root in (OpenError, StreamError) for kind in leaves(root)} | {BadTarget, MixnetDown}
    return sorted(
        (
            kind
            for kind in kinds - {OpenError, StreamError, StreamClosed}
            if kind.__module__ == "nym_exit.errors"
        ),
        key=lambda kind: kind.__name__,
    )


def test_there_is_something_to_compare():
    assert len(raised_while_streaming()) >= 10
    assert issubclass(nym_exit.errors.ExitRefused, ExitError)


@pytest.mark.parametrize("kind", raised_while_streaming(), ids=lambda kind: kind.__name__)
def test_errors_of_the_exit_client_map_as_the_table_says(kind):
    row = REFUSALS[kind.code]
    assert (row.reply, row.status, row.layer) == (kind.socks_reply, kind.http_status, kind.layer)


def named_codes():
    """Every E_... in a module that refuses streams."""
    for path in SOURCES:
        if path.name.startswith(REFUSERS):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and node.value.startswith("E_")
                ):
                    yield path.stem, node.value


ENDS = {
    "E_APPLICATION_GONE",
    "E_NO_REQUEST",
    "E_HANDSHAKE_TIMEOUT",
    "E_SHUTDOWN",
}  # nobody is there to be told


def test_every_refusal_in_the_source_is_in_the_table():
    named = {code for _module, code in named_codes()}
    assert len(named) > 20
    assert named - ENDS <= set(REFUSALS)


def test_streams_refused_by_the_upstream_map_as_the_table_says():
    (path,) = (path for path in SOURCES if path.name == "upstream_io.py")
    seen = 0
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "StreamRefused":
            given = {word.arg: word.value for word in node.keywords}
            reply = Reply[given["socks_reply"].attr]
            choice = given["code"]
            codes = [choice.body, choice.orelse] if isinstance(choice, ast.IfExp) else [choice]
            assert [REFUSALS[code.value].reply for code in codes] == [reply] * len(codes)
            seen += 1
    assert seen >= 3


def test_an_error_brings_its_own_words_and_layer():
    error = StreamRefused(
        "No way.", "Wait.", code="E_NO_WAY", layer="topology", socks_reply=Reply.NETWORK_UNREACHABLE
    )
    assert refusal_of(error) == Refusal(
        "E_NO_WAY", "topology", Reply.NETWORK_UNREACHABLE, 503, "destination_unavailable", "No way. Wait."
    )
    assert refusal_of(ZeroDivisionError()) is None


@pytest.mark.parametrize("row", REFUSALS.values(), ids=lambda row: row.code)
def test_every_row_is_fit_to_be_said(row):
    assert row.reply is not Reply.SUCCEEDED
    assert 400 <= row.status < 600
    assert row.text.endswith(".")
    assert "|" not in row.text, "it stands in a table of the documentation"
    head, _, body = answer(row).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % row.status)
    assert body == f"{row.code} ({row.layer}): {row.text}\n".encode()
    assert b"Content-Length: %d" % len(body) in head
    assert f'details="{row.code}"'.encode() in head
    assert answer(row, with_body=False) == head + b"\r\n\r\n"
