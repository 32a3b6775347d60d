"""The command `nymgate`. Commands import what they need when they run, so that `--help` is quick."""

from nymgate.cli.app import app, main

__all__ = ["app", "main"]
