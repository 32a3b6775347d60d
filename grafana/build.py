"""`python -m grafana.build [FOLDER]`: writes dashboards and rules, as Grafana and Prometheus read them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana import health, money, rules, traffic

FOLDER = Path(__file__).parent


def files() -> Iterator[tuple[str, str]]:
    """(path below the folder, text) of everything that is written by this code."""
    for dashboard in (money.build(), traffic.build(), health.build()):
        name = str(dashboard.uid).removeprefix("nymgate-")
        text = json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        yield f"dashboards/{name}.json", text + "\n"
    yield "rules/recording.yaml", rules.recording_yaml()
    yield "rules/alerts.yaml", rules.alerts_yaml()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, text in files():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
