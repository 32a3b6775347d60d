"""The command `nymgate`, also as `python -m nymgate`: ended by Ctrl-C at any moment, it ends without a traceback.

Nothing that takes time is imported before that is seen to.
"""

import os
import signal
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130


def main() -> None:
    """Entry point."""
    # While modules are imported nothing is open yet. The exception that Ctrl-C raises by itself may be thrown there
    # into places that only print it and go on.
    wants_to_hear = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if wants_to_hear:
        signal.signal(signal.SIGINT, _leave)
    from nymgate.cli import main as command

    try:
        if wants_to_hear:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
