"""What each traffic profile gives an application: nymgate on its localnet, or beside upstream's client on real nodes.

    python -m bench.bench_profiles                 nymgate on the localnet, every profile once
    python -m bench.bench_profiles --pairs 5       needs NYM_NODE_PROGRAM and NYM_SOCKS5_CLIENT_PROGRAM: both clients
                                                   in turn on the same real nodes, medians of pairs, as ratios

The second form runs in a network namespace with nothing but loopback. Upstream's client answers SOCKS success before
anything has left, so the pairs use our `early_success` as well; what waiting for the exit's word costs is printed
below each table. Replies are anonymous and loop-cover slots are left to cover in every row.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import load
from tests.interop.running import free_port, nymgate

ROOT = Path(__file__).resolve().parents[1]
AWAKE_SECONDS = 30.0
IDLE_CPU_SECONDS = 15.0
REFERENCE_FLAGS = {"standard": (), "fast": ("--fastmode",), "uncovered": ("--no-cover",)}
# What the ratio nymgate / reference must be; None: "not slower than its like".
TARGETS: dict[str, dict[str, tuple[str, float]]] = {
    "standard": {
        "small s": ("<=", 0.65),
        "20 at once s": ("<=", 0.4),
        "1 MB down B/s": (">=", 2.5),
        "long down B/s": (">=", 0.9),
        "up B/s": (">=", 1.15),
        "idle CPU": ("<=", 0.5),
    },
    "fast": {
        "small s": ("<=", 1.0),
        "20 at once s": ("<=", 1.0),
        "1 MB down B/s": (">=", 1.0),
        "long down B/s": (">=", 1.0),
        "up B/s": (">=", 1.0),
    },
    "uncovered": {
        "small s": ("<=", 1.0),
        "20 at once s": ("<=", 1.0),
        "1 MB down B/s": (">=", 1.0),
        "long down B/s": (">=", 1.0),
        "up B/s": (">=", 1.0),
        "CPU s/MB down": ("<=", 0.5),
    },
}


@dataclass(frozen=True)
class Sizes:
    long_download: int
    upload: int


SIZES = {
    "standard": Sizes(8_000_000, 2_000_000),
    "fast": Sizes(10_000_000, 4_000_000),
    "uncovered": Sizes(10_000_000, 4_000_000),
    "thrifty": Sizes(100_000, 20_000),
}


async def measure(proxy: int, server: int, pid: int, profile: str) -> dict[str, float]:
    """Everything about one running client; starts with half a minute awake and idle."""
    sizes, shaped = SIZES[profile], profile != "uncovered"
    result = load.Measurement()
    awake = AWAKE_SECONDS if shaped else 5.0
    idle = IDLE_CPU_SECONDS if shaped else 2.0
    await asyncio.sleep(awake - idle)
    await result.take("idle CPU", lambda: load.cpu_share(pid, idle))
    if profile == "thrifty":
        await result.take("small s", lambda: load.small_median(proxy, server, 3))
        return result.values
    await result.take("1 MB down B/s", lambda: load.download_rate(proxy, server, 1_000_000))
    await asyncio.sleep(5)
    await result.take("small s", lambda: load.small_median(proxy, server))
    await result.take("20 at once s", lambda: load.at_once_median(proxy, server))
    before = load.cpu_seconds(pid)
    await result.take("long down B/s", lambda: load.download_rate(proxy, server, sizes.long_download))
    result.values["CPU s/MB down"] = (load.cpu_seconds(pid) - before) / (sizes.long_download / 1e6)
    before = load.cpu_seconds(pid)
    await result.take("up B/s", lambda: load.upload_rate(proxy, server, sizes.upload))
    result.values["CPU s/MB up"] = (load.cpu_seconds(pid) - before) / (sizes.upload / 1e6)
    result.values["RSS MB"] = load.rss_megabytes(pid)
    return result.values


async def on_localnet(profiles: list[str]) -> dict[str, dict[str, float]]:
    """Measure nymgate alone on its own network."""
    from nym_localnet import Localnet, LocalnetOptions

    results: dict[str, dict[str, float]] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        net = await stack.enter_async_context(Localnet(LocalnetOptions(mode="processes")))
        server = await stack.enter_async_context(load.http_server())
        for profile in profiles:
            async with nymgate(
                folder / profile, nym_api=net.nym_api_url, exit_address=net.exit_address, profile=profile
            ) as (port, process):
                results[profile] = await measure(port, server, process.pid, profile)
                print(f"  {profile}: {_row(results[profile])}", flush=True)
    return results


async def beside_reference(profiles: list[str], pairs: int) -> None:
    """Interleaved pairs of both clients on the same real nodes (inside a namespace)."""
    from tests.interop import upstream

    program = Path(os.environ[upstream.SOCKS_CLIENT_VARIABLE])
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        node = Path(os.environ[upstream.NODE_VARIABLE])
        net = await stack.enter_async_context(upstream.UpstreamNetwork(node, folder / "net"))
        server = await stack.enter_async_context(load.http_server())
        for profile in profiles:
            ours: list[dict[str, float]] = []
            theirs: list[dict[str, float]] = []
            for pair in range(pairs):
                async with upstream.UpstreamSocksClient(
                    program,
                    folder / f"reference-{profile}-{pair}",
                    nym_api=net.nym_api_url,
                    provider=net.exit_address,
                    port=free_port(),
                    flags=REFERENCE_FLAGS[profile],
                ) as client:
                    assert client.process is not None
                    theirs.append(await measure(client.port, server, client.process.pid, profile))
                    print(f"  {profile} {pair} reference: {_row(theirs[-1])}", flush=True)
                async with nymgate(
                    folder / f"nymgate-{profile}-{pair}",
                    nym_api=net.nym_api_url,
                    exit_address=net.exit_address,
                    profile=profile,
                    early=True,
                ) as (port, process):
                    ours.append(await measure(port, server, process.pid, profile))
                    print(f"  {profile} {pair} nymgate:   {_row(ours[-1])}", flush=True)
            _print_ratios(profile, ours, theirs)
            async with nymgate(
                folder / f"awaited-{profile}",
                nym_api=net.nym_api_url,
                exit_address=net.exit_address,
                profile=profile,
            ) as (port, _):
                await asyncio.sleep(15)
                small = await load.small_median(port, server)
                many = await load.at_once_median(port, server)
                print(
                    f"  success awaited (our default): small {small:.3f} s, 20 at once {many:.3f} s\n",
                    flush=True,
                )


def _row(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {_number(value)}" for name, value in values.items())


def _number(value: float) -> str:
    return f"{value / 1000:.0f}k" if value >= 10_000 else f"{value:.3g}"


def _print_ratios(profile: str, ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> None:
    print(
        f"\n{profile}: medians of {len(ours)} interleaved pairs, anonymous replies, loop-cover slots left to cover"
    )
    print(f"  {'':16} {'nymgate':>10} {'reference':>10} {'ratio':>7}   wanted")
    for name in ours[0]:
        mine = statistics.median(run[name] for run in ours)
        other = statistics.median(run[name] for run in theirs)
        ratio = mine / other if other else math.nan
        wanted = TARGETS[profile].get(name)
        verdict = ""
        if wanted is not None:
            met = ratio <= wanted[1] if wanted[0] == "<=" else ratio >= wanted[1]
            verdict = f"{wanted[0]} {wanted[1]}  {'met' if met else 'MISSED'}"
        print(f"  {name:16} {_number(mine):>10} {_number(other):>10} {ratio:7.2f}   {verdict}")
    print(flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench_profiles", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=0, help="pairs beside the reference; 0: localnet only")
    parser.add_argument("--profiles", nargs="+", default=None)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside:
        asyncio.run(beside_reference(options.profiles, options.pairs))
        return 0
    if options.pairs:
        profiles = options.profiles or ["standard", "fast", "uncovered"]
        return _in_namespace(profiles, options.pairs)
    profiles = options.profiles or ["standard", "fast", "uncovered", "thrifty"]
    print("nymgate on its localnet (anonymous replies, loop-cover slots left to cover):")
    results = asyncio.run(on_localnet(profiles))
    print(json.dumps(results, indent=1))
    return 0


def _in_namespace(profiles: list[str], pairs: int) -> int:
    from tests.interop import namespace, upstream

    for variable in (upstream.NODE_VARIABLE, upstream.SOCKS_CLIENT_VARIABLE):
        if not shutil.which(os.environ.get(variable, "")):
            print(f"{variable} does not name a program: no comparison with the reference")
            return 0
    command = namespace.unshare_command()
    if command is None:
        print("network namespaces are not available here: no comparison with the reference")
        return 0
    inside = ["-m", "bench.bench_profiles", "--inside", "--pairs", str(pairs), "--profiles", *profiles]
    enter = [*command, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    return subprocess.run([*enter, sys.executable, *inside], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
