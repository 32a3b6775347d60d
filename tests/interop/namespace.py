"""Runs a scenario of this folder in a network namespace that has only loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def unshare_command() -> list[str] | None:
    """How to enter a new network namespace here, or None where the system does not allow it."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return None
    flags = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
    command = ["unshare", *flags, "--kill-child"]
    probe = subprocess.run([*command, "--fork", "true"], capture_output=True, check=False)
    return [*command, "--fork"] if probe.returncode == 0 else None


def run_in_namespace(module: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run `python -m module arguments...` without any network but its own loopback."""
    command = unshare_command()
    assert command is not None, "network namespaces are not available"
    return subprocess.run(
        [
            *command,
            "sh",
            "-c",
            'ip link set lo up && exec "$@"',
            "sh",
            sys.executable,
            "-m",
            module,
            *arguments,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
