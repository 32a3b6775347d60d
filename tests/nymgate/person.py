"""Somebody at a shell, with a home of their own and a paying local network: commands in this process or in others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from nym_localnet.background_io import BackgroundLocalnet
from nymgate.cli.app import app
from tests.nymgate.paid_world import LIMIT_SECONDS, NYM, new_phrase

NYMGATE = [sys.executable, "-c", "from nymgate.cli import main; main()"]


@dataclass(frozen=True)
class Said:
    """What a command has said, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


class Person:
    """`run` and `json` are the program in this process: the same code but for the interpreter's start."""

    def __init__(self, network: BackgroundLocalnet, home: Path) -> None:
        self.network, self.home, self.phrase = network, home, new_phrase()
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("NYMGATE_", "XDG_"))
        }
        where = str(network.net.data_dir / "localnet.toml")
        self.environ = kept | {"HOME": str(home), "NYMGATE_NETWORK": where}
        self.address = ""

    def run(self, *words: Any, stdin: str = "", **environ: str) -> Said:
        given: dict[str, str | None] = dict.fromkeys(set(os.environ) - set(self.environ))
        done = CliRunner().invoke(
            app, [str(word) for word in words], input=stdin, env=given | self.environ | environ
        )
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return self._checked(Said(done.exit_code, done.stdout, done.stderr), words)

    def process(self, *words: Any, stdin: str = "", **environ: str) -> Said:
        """A process of its own."""
        done = subprocess.run(
            [*NYMGATE, *map(str, words)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
            env=self.environ | environ,
        )
        return self._checked(Said(done.returncode, done.stdout, done.stderr), words)

    def _checked(self, said: Said, words: tuple[Any, ...]) -> Said:
        assert "-vv" in words or "Traceback" not in said.stdout + said.stderr, said.stderr
        # Words of a phrase are English and stand in texts ("that only", "you can"); three in its order do not.
        secret = self.phrase.split()
        for three in zip(secret, secret[1:], secret[2:], strict=False):
            assert " ".join(three) not in said.stdout + said.stderr
        return said

    def json(self, *words: Any, stdin: str = "", code: int = 0, **environ: str) -> Any:
        done = self.run(*words, "--json", stdin=stdin, **environ)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if code == 0 else json.loads(done.stderr.splitlines()[-1])["error"]

    def with_account(self, nym: int = 0) -> Person:
        """An account of this person's, with so much from the faucet."""
        self.address = self.json("account", "set", stdin=self.phrase)["address"]
        if nym:
            self.fund(nym)
        return self

    def fund(self, nym: int) -> None:
        url = self.network.net.payments.faucet_url
        body = json.dumps({"address": self.address, "amount": nym * NYM}).encode()
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=LIMIT_SECONDS) as answer:
            assert answer.status == 200
