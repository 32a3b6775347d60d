"""Starts a program within the sandbox that a unit file asks for, as far as that needs no systemd.

`python -m tests.deploy.unit_sandbox UNIT SOCKET_NAME -- PROGRAM…`: system calls, address families, memory that is
written and then run, privileges and umask as the unit says. With a name, standard input is a listening socket, and the
program gets it the way systemd hands it over.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import socket
import subprocess
import sys
from pathlib import Path

FIRST_DESCRIPTOR = 3
PR_SET_NO_NEW_PRIVS = 38
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
SCMP_ACT_ALLOW = 0x7FFF0000
SCMP_CMP_EQ = 4


def settings(unit: Path) -> dict[str, list[str]]:
    """Every setting of [Service] with its values in their order; an empty value clears, as in systemd."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in unit.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section == "Service" and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
            if not value:
                found[name] = []
    return found


@functools.cache
def groups() -> dict[str, list[str]]:
    """Every group of system calls that systemd knows, with what it lists."""
    said = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter"], capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = {}
    for line in said.stdout.splitlines():
        word = line.strip()
        if line.startswith("@"):
            found[word] = []
        elif line.startswith("    ") and not word.startswith("#"):
            found[next(reversed(found))].append(word)
    return found


def members(name: str) -> set[str]:
    """The system calls of a group such as @system-service, groups within it resolved."""
    if not name.startswith("@"):
        return {name}
    return set().union(*(members(inner) for inner in groups()[name]))


def allowed_calls(values: list[str]) -> set[str]:
    allowed: set[str] = set()
    for value in values:
        named = set().union(*(members(word) for word in value.removeprefix("~").split()))
        allowed = allowed - named if value.startswith("~") else allowed | named
    # systemd itself always allows these, to be able to start the program and to end it.
    return allowed | {"execve", "exit", "exit_group", "rt_sigreturn", "getrlimit", "time", "clock_gettime"}


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    ]


def filter_calls(allowed: set[str], families: list[str]) -> None:
    """Everything else fails with EPERM; sockets of other families too."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(0x00050000 | errno.EPERM))
    for name in sorted(allowed - {"socket"}):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert library.seccomp_rule_add_exact(context, SCMP_ACT_ALLOW, number, 0) == 0, name
    number = library.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        comparison = Comparison(0, SCMP_CMP_EQ, int(getattr(socket, family)), 0)
        done = library.seccomp_rule_add_array(context, SCMP_ACT_ALLOW, number, 1, ctypes.byref(comparison))
        assert done == 0, family
    assert library.seccomp_load(context) == 0


def main() -> None:
    unit, names, _dashes, *program = sys.argv[1:]
    said = settings(Path(unit))
    allowed = allowed_calls(said["SystemCallFilter"])  # asks a program, so before there is a filter
    os.umask(int(said["UMask"][-1], 8))
    libc = ctypes.CDLL(None, use_errno=True)
    assert said["NoNewPrivileges"] == said["MemoryDenyWriteExecute"] == ["yes"]
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
        assert ctypes.get_errno() == errno.EINVAL, "only kernels before 6.3 may not know it"
    if names:
        os.dup2(0, FIRST_DESCRIPTOR, inheritable=True)
        os.environ |= {
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": names,
        }
    filter_calls(allowed, said["RestrictAddressFamilies"][-1].split())
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
