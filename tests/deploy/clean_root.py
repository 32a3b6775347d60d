"""Follows a Containerfile without a container engine: each stage is a folder, each RUN a command in a chroot of it.

What the base image would bring (a C library, a shell, Python) is this machine's, mounted read-only into the root; all
else is what the steps put there. Needs root, for `unshare --mount` and `chroot`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.containerfile import Stage

# How this machine gets to the package registry is its own business; nothing else of its environment comes along.
PASSED_ON = ("PIP_CERT", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT")
PASSED_ON += ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
PASSED_ON += ("http_proxy", "https_proxy", "no_proxy")
ETC = ("passwd", "group", "shadow", "gshadow", "hosts", "resolv.conf", "nsswitch.conf", "login.defs")
ETC += (
    "ssl",
    "ca-certificates",
    "pip.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "localtime",
)
SHIM = "/base/bin"


@dataclass(frozen=True, slots=True)
class Root:
    """The root folder of a stage."""

    folder: Path

    def path(self, inside: str) -> Path:
        return self.folder / inside.lstrip("/")

    def lay_out(self) -> None:
        """What every base image has."""
        self.folder.mkdir(mode=0o755, parents=True)
        for name in ("usr", "proc", "dev", "etc", "var", "root", "run"):
            self.path(name).mkdir()
        self.path("tmp").mkdir()
        self.path("tmp").chmod(0o1777)
        for name in ("bin", "sbin", "lib", "lib64", "lib32"):
            here = Path("/") / name
            if here.is_symlink():
                self.path(name).symlink_to(here.readlink())
            elif here.exists():
                self.path(name).mkdir()
        for name in ETC:
            here = Path("/etc") / name
            if here.is_dir():
                shutil.copytree(here, self.path("etc") / name, symlinks=True)
            elif here.exists():
                shutil.copy(here, self.path("etc") / name)
        self.path(SHIM).mkdir(parents=True)
        (self.path(SHIM) / "python").symlink_to(sys._base_executable)
        for mount in _mounts():
            self.path(mount).mkdir(parents=True, exist_ok=True)

    def command(self, words: list[str], *, folder: str, user: str = "", read_only: bool = False) -> list[str]:
        """What to start for `words` in this root; the process is the program itself in the end."""
        top = shlex.quote(str(self.folder))
        mount = program("mount")
        script = []
        if read_only:
            script += [f"{mount} --bind {top} {top}", f"{mount} -o remount,bind,ro {top}"]
            script += [
                f"{mount} --bind {top}{folder} {top}{folder}",
                f"{mount} -o remount,bind,rw {top}{folder}",
            ]
        for place in _mounts():
            inside = shlex.quote(str(self.path(place)))
            script.append(f"{mount} --rbind {shlex.quote(place)} {inside}")
            if place not in ("/dev", "/proc"):
                script.append(f"{mount} -o remount,bind,ro {inside}")
        wanted = words
        if user:
            number, _, group = user.partition(":")
            wanted = ["/usr/bin/setpriv", f"--reuid={number}", f"--regid={group}", "--clear-groups"]
            wanted += ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", *words]
        inner = f"cd {shlex.quote(folder)} && exec {shlex.join(wanted)}"
        script.append(f"exec {program('chroot')} {top} /bin/sh -c {shlex.quote(inner)}")
        return [
            program("unshare"),
            "--mount",
            "--propagation",
            "private",
            "/bin/sh",
            "-ec",
            "\n".join(script),
        ]


def program(name: str) -> str:
    """Where it is here; the environment that it gets is the image's."""
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin") or name


def _mounts() -> list[str]:
    found = ["/usr", "/dev", "/proc"]
    if not Path(sys.base_prefix).is_relative_to("/usr"):
        found.append(sys.base_prefix)
    found += [
        name for name in ("/bin", "/lib", "/lib64") if Path(name).exists() and not Path(name).is_symlink()
    ]
    return found


def build(stages: list[Stage], context: Path, place: Path) -> Root:
    """Follow all steps; the root of the last stage. AssertionError with what a failing step said."""
    roots: dict[str, Root] = {}
    root = Root(place)
    for number, stage in enumerate(stages):
        root = Root(place / f"stage{number}")
        root.lay_out()
        roots[stage.name or str(number)] = root
        _follow(stage, root, roots, context)
    return root


def _follow(stage: Stage, root: Root, roots: dict[str, Root], context: Path) -> None:
    folder = "/"
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment |= {"PATH": f"{SHIM}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    for step in stage.steps:
        if step.word == "WORKDIR":
            folder = step.rest
            root.path(folder).mkdir(parents=True, exist_ok=True)
        elif step.word == "COPY":
            _copy(step.rest, root, roots, context, folder)
        elif step.word == "ENV":
            pass  # of the image when it runs; no step of ours builds after it
        elif step.word == "RUN":
            command = root.command(["/bin/sh", "-c", step.rest], folder=folder)
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{step.rest}\n{done.stdout}\n{done.stderr}"


def _copy(rest: str, root: Root, roots: dict[str, Root], context: Path, folder: str) -> None:
    words = rest.split()
    source = context
    if words[0].startswith("--from="):
        source = roots[words.pop(0).removeprefix("--from=")].folder
    *names, target = words
    for name in names:
        here = source / name.lstrip("/")
        there = root.path(os.path.join(folder, target))
        if here.is_dir():
            shutil.copytree(
                here,
                there,
                symlinks=True,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("__pycache__") if source is context else None,
            )
        else:
            into = there / here.name if target.endswith("/") or len(names) > 1 else there
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, into)
