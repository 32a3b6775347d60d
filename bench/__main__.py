"""Runs the ``main`` of every ``bench_*.py`` here in turn, or of those named: ``python -m bench sphinx``."""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from pathlib import Path

PREFIX = "bench_"


def available() -> list[str]:
    """Names without the prefix, in alphabetical order."""
    return sorted(path.stem.removeprefix(PREFIX) for path in Path(__file__).parent.glob(f"{PREFIX}*.py"))


def run(name: str) -> bool:
    """Whether one benchmark ran to its end. One that fails does not keep the others from running."""
    print(f"\n== {name} ==", flush=True)
    started = time.monotonic()
    try:
        outcome = importlib.import_module(f"bench.{PREFIX}{name}").main()
    except Exception:
        traceback.print_exc()
        return False
    print(f"-- {name}: {time.monotonic() - started:.0f} s", flush=True)
    return not outcome


def main(names: list[str]) -> int:
    known = available()
    unknown = [name for name in names if name.removeprefix(PREFIX) not in known]
    if unknown:
        print(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    # A benchmark that reads arguments of its own must not take these for them.
    del sys.argv[1:]
    results = [run(name.removeprefix(PREFIX)) for name in names or known]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
