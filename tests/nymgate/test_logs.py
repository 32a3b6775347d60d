"""The log never shows what is wrapped, in any form, at any depth."""

import asyncio
import copy
import io
import json
import logging
import pickle
import warnings

import pytest
import structlog

from nymgate.listener.handshake import Target
from nymgate.logs import configure_logs
from nymgate.sensitive import Kind, Sensitive, destination
from tests.nymgate.web_world import World

SECRET = "correct-horse-battery-staple"
PLACE = "hidden.example:443"


@pytest.fixture
def log_to():
    """Configure logging to a buffer."""

    def configure(**options):
        stream = io.StringIO()
        configure_logs(stream=stream, **options)
        return stream

    return configure


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: [v], lambda v: {"a": ({"b": v},)}, lambda v: {1: [v, {v}]}]
)
def test_wrapped_values_are_scrubbed_at_any_depth(log_to, style, wrap):
    stream = log_to(style=style, level="debug", destinations=False)
    log = structlog.get_logger("nymgate.test")
    log.debug("event", secret=wrap(Sensitive(SECRET)), target=wrap(destination(PLACE)))
    log.error("event", note=f"{Sensitive(SECRET)} {destination(PLACE)!r} {destination(PLACE):>30}")
    text = stream.getvalue()
    assert text.count("event") >= 2
    assert SECRET not in text
    assert PLACE not in text
    assert "<secret>" in text
    assert "<destination>" in text


def test_destinations_show_when_asked_for_and_secrets_never(log_to):
    stream = log_to(style="json", destinations=True)
    structlog.get_logger().info(
        "event", secret=Sensitive(SECRET), target=destination(PLACE), deep=[destination(PLACE)]
    )
    line = json.loads(stream.getvalue())
    assert line["target"] == PLACE
    assert line["deep"] == [PLACE]
    assert line["secret"] == "<secret>"


def test_exceptions_with_wrapped_values_are_scrubbed(log_to):
    stream = log_to(style="json")
    target = Target(*PLACE.split(":"))
    try:
        raise ValueError("cannot use", Sensitive(SECRET), target)
    except ValueError:
        structlog.get_logger().exception("event")
    text = stream.getvalue()
    assert "ValueError" in text
    assert SECRET not in text
    assert "hidden.example" not in text


def test_bytes_are_counted_not_shown(log_to):
    stream = log_to(style="json")
    structlog.get_logger().info("event", key=b"0123456789abcdef")
    assert json.loads(stream.getvalue())["key"] == "<16 bytes>"


def test_the_standard_library_goes_the_same_way(log_to):
    stream = log_to(style="json", level="info")
    logging.getLogger("nym_mixnet.client_io").warning("gateway %s lost", "abc")
    logging.getLogger("aiohttp.access").info("GET /")
    logging.getLogger("nym_mixnet").debug("not shown")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", UserWarning, stacklevel=1)
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["level"]) == ("gateway abc lost", "warning")
    assert "careful" in second["event"]


@pytest.mark.parametrize("nonsense", [b"GET / HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n", b"\x16\x03\x01\r\n"])
async def test_what_is_no_request_is_no_error_of_ours(log_to, nonsense):
    stream = log_to(style="json", level="info")
    async with World().page() as server, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(nonsense)
        assert (await reader.readline()).startswith(b"HTTP/1.")
        writer.close()
    logging.getLogger("aiohttp.server").error("of ours", exc_info=ValueError("value"))
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["of ours"]


def test_arguments_of_the_standard_library_are_scrubbed(log_to):
    stream = log_to(style="json")
    logging.getLogger("nym_exit").warning(
        "stream to %s: %r", destination(PLACE), Target("hidden.example", 443)
    )
    assert "hidden" not in stream.getvalue()


def test_the_level_holds(log_to):
    stream = log_to(style="text", level="warning")
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


def test_auto_is_json_when_nobody_watches(log_to):
    stream = log_to(style="auto")
    structlog.get_logger().info("event")
    assert json.loads(stream.getvalue())["event"] == "event"


@pytest.mark.parametrize("kind", list(Kind))
def test_no_way_of_printing_a_wrapped_value_shows_it(kind):
    value = Sensitive(SECRET, kind)
    shown = [
        str(value),
        repr(value),
        f"{value}",
        f"{value!r:>40}",
        "".join(map(format, [value])),
        repr([value]),
        repr({"k": value}),
    ]
    shown += [str(vars(value)) if hasattr(value, "__dict__") else "", repr(copy.deepcopy(value).reveal())]
    shown.append(pickle.dumps(value).decode("latin-1"))
    assert not any(SECRET in text for text in shown)
    assert value.reveal() == SECRET


def test_wrapped_values_compare_by_value():
    assert Sensitive("a") == Sensitive("a")
    assert Sensitive("a") != Sensitive("b")
    assert Sensitive("a") != "a"
    assert len({Sensitive("a"), Sensitive("a")}) == 1
