"""What is said about all this: structlog, text on a terminal and one JSON object a line elsewhere.

Two rules hold whatever the level. A value wrapped in ``Sensitive`` is replaced by its placeholder, unless it
is a destination and ``[log] destinations = true``. And the log of other packages (aiohttp, asyncio, our own
lower layers) goes through the same processors, so there is one format and one level.
"""

import logging
import sys
from collections import deque
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog

from nymgate.sections.log import Log
from nymgate.sensitive import Kind, Sensitive

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# Chatty neighbours: they get to say warnings. Those that keep data would write it into the log as well.
_QUIETER: Final = ("aiohttp.access", "asyncio", "aiosqlite", "alembic", "sqlalchemy")
_SERVER: Final = "aiohttp.server"
_NO_REQUEST: Final = "aiohttp.http_exceptions"
_DEPTH: Final = 6
RECENT_LINES: Final = 300
RECENT: Final[deque[dict[str, Any]]] = deque(maxlen=RECENT_LINES)
"""The last lines, for the control API and `nymgate debug-dump`: never with a destination, whatever `[log]` says."""


class Scrubber:
    """The processor that turns ``Sensitive`` into text, at any depth of the event."""

    def __init__(self, *, destinations: bool) -> None:
        self._destinations = destinations

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        for key, value in event.items():
            if value is not None and not isinstance(value, (str, int, float)):
                event[key] = self._shown(value, _DEPTH)
        return event

    def _shown(self, value: Any, depth: int) -> Any:
        if isinstance(value, Sensitive):
            reveal = self._destinations and value.kind is Kind.DESTINATION
            return str(value.reveal()) if reveal else str(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"<{len(value)} bytes>"  # keys and payloads are bytes; nothing readable is lost
        if depth and isinstance(value, Mapping):
            return {key: self._shown(item, depth - 1) for key, item in value.items()}
        if depth and isinstance(value, (list, tuple, set, frozenset)):
            return [self._shown(item, depth - 1) for item in value]
        return value


def remember(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The processor that keeps :data:`RECENT`."""
    record = event.get("_record")
    kept = {key: value for key, value in event.items() if not key.startswith("_") and key != "exc_info"}
    if record is not None:  # of another package: the template of its message, without what was put in
        kept |= {"event": str(record.msg), "logger": record.name}
    kept = dict(Scrubber(destinations=False)(None, "", kept))
    if error := event.get("exc_info"):
        error = sys.exc_info()[1] if error is True else error[1] if isinstance(error, tuple) else error
        kept["exception"] = type(error).__name__
    RECENT.append(kept)
    return event


def configure_from(settings: Log) -> None:
    """Set up logging as configured."""
    configure_logs(level=settings.level, style=settings.format, destinations=settings.destinations)


def configure_logs(
    *, level: str = "info", style: str = "auto", destinations: bool = False, stream: TextIO | None = None
) -> None:
    """Set up logging for the whole process. ``stream`` is standard error unless given."""
    stream = stream or sys.stderr
    as_text = style == "text" or (style == "auto" and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        remember,
        Scrubber(destinations=destinations),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # tests and `run` configure after modules made their loggers
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_final(as_text, stream))
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    for name in _QUIETER:
        logging.getLogger(name).setLevel(max(logging.WARNING, LEVELS[level]))
    logging.getLogger(_SERVER).addFilter(_not_the_askers_fault)
    logging.captureWarnings(True)


def _not_the_askers_fault(record: logging.LogRecord) -> bool:
    """Anybody may send what is no HTTP request, and hears so: that is no error of ours."""
    error = record.exc_info[1] if record.exc_info else None
    if type(error).__module__ != _NO_REQUEST:
        return True
    record.levelno, record.levelname, record.exc_info = logging.DEBUG, "DEBUG", None
    return logging.getLogger().isEnabledFor(logging.DEBUG)


def _final(as_text: bool, stream: TextIO) -> list[structlog.typing.Processor]:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if as_text:
        plain = structlog.dev.plain_traceback  # rich tracebacks print local variables: keys, destinations
        return [strip, structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    return [
        strip,
        structlog.processors.EventRenamer("event"),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
    ]
