"""What is said."""

from typing import Literal

from nymgate.sections.types import Section, setting


class Log(Section):
    """What is said on standard error."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        "info",
        "The least important kind of message that is shown.",
        "debug, info, warning or error",
        flag="-v / -q",
    )
    format: Literal["auto", "text", "json"] = setting(
        "auto",
        "auto is text on a terminal and one JSON object a line otherwise.",
        "auto, text or json",
        flag="--json",
    )
    destinations: bool = setting(
        False,
        "Show where streams go. Off, no log line of any level names a destination.",
        "true or false",
    )
