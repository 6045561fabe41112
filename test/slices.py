#!/usr/bin/env python3
"""Measures what a request costs beside another server, in slices of 50 ms or more that take turns (test/slices.c).

usage: slices.py [PROFILE...]

All servers run at the same time, each with one worker, on one CPU, and the client on another, if there are two. Of the
CPU nanoseconds a request in each slice, divided by those of the profile's first server in the same round, it prints the
median, both quartiles and the standard error of the median; beside them the median itself, and how many rounds were
left out because one of the servers had to wait for its CPU.

  baseline, pipelined, short  as in test/requests.lua, beside the floor (test/floor.cpp)
  sizes     GET /?s=100, 16k, 64k and 1m, over 64 connections, beside nginx and HAProxy (see test/bench.py). Of s=100
            the ratios are to mote's baseline. Twice: with a client that copies the content, and with one that does not.
            Slices of 1m have 400 ms, and there are fewer of them: otherwise most connections would have one answer.
  s=16k     one of them, and so on
  delay     GET /delay/10, over 512 connections, beside mote's baseline
  lateness  no cost: how late the answers of /delay/1 to /delay/50 are over 8 connections, in quantiles

Two and a half minutes without arguments, which are the first three profiles; three to four with sizes.

Environment, all optional:
  SERVER       programs to measure as well as mote, called like it; "floor" is another floor, which shows how far the
               instrument itself is off, and "nginx" nginx. More than one: separated by spaces. Sizes and delay take
               programs like mote only
  MOTE         the mote to measure (./server)
  ROUNDS       slices of each server (200, or fewer with more than two servers); of 1m an eighth
  CONNECTIONS  the counts; instead of "64 512" and those above
  READING      "copy discard", of sizes
  WAIT         percent of a slice that a server may wait for its CPU (5); more, where the machine is never idle
  PROFILES     like the arguments
  WORKERS      see test/bench.py; no round is left out then
  JSON         where the results go as well: of each row the CPU time of a request, and its ratios to each of the
               others, as median and quartiles; not of lateness
"""
import json
import math
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

import bench

OTHERS = os.environ.get("SERVER", "").split()
ROUNDS = int(os.environ.get("ROUNDS", 400 // (2 + len(OTHERS))))
PROFILES = os.environ.get("PROFILES", "baseline pipelined short").split()
READING = os.environ.get("READING", "copy discard").split()
# Of a slice: to wake up so often takes 1 to 4 % with 512 connections.
WAIT_PERCENT = os.environ.get("WAIT", "5" if bench.WORKERS == 1 else "10000")
SIZES = [f"s={size}" for size in bench.SIZES]
ALL_PROFILES = ("baseline", "pipelined", "short", "sizes", *SIZES, "delay", "lateness")
CONNECTIONS = {**{size: "64" for size in SIZES}, "delay": "512", "lateness": "8"}  # of others: "64 512"
OURS = os.environ.get("MOTE", str(bench.ROOT / "server"))
JSON = os.environ.get("JSON")
SLICE_MS = {"s=1m": 400}  # of others: 50


def counts(profile):
    return [int(count) for count in os.environ.get("CONNECTIONS", CONNECTIONS.get(profile, "64 512")).split()]


def command(program, profile, port, folder):
    if program == "floor":
        request_bytes = len(bench.PIPELINED_REQUEST) if profile == "pipelined" else 0
        return [str(folder / "floor"), str(port), str(request_bytes), str(len(bench.LAST_REQUEST))]
    if program in ("nginx", "haproxy"):
        return getattr(bench, program)(port, folder)
    return [program, "--threads", str(bench.WORKERS), "--port", str(port)]


def measured(profile):
    """Program and what it is asked for, of each server. Ratios are to the first one."""
    if profile.startswith("s="):
        size, target = profile.removeprefix("s="), f"/?{profile}"
        nginx = [("nginx", f"/{size}")] if shutil.which("nginx") else []
        haproxy = [("haproxy", f"/{size}")] if shutil.which("haproxy") and size in bench.RETURNED_SIZES else []
        first = [(OURS, "baseline")] if size == "100" else []
        return [*first, *nginx, (OURS, target), *((other, target) for other in OTHERS), *haproxy]
    if profile == "delay":
        return [(OURS, "baseline"), *((program, profile) for program in (OURS, *OTHERS))]
    return [(program, profile) for program in ("floor", OURS, *OTHERS)]


def measure(pairs, reading, connections, ms, folder):
    """Costs by server, a list of numbers each; nan where a slice was disturbed."""
    servers = {}  # by program: one that is asked for two things runs once
    try:
        for program, profile in pairs:
            if program not in servers:
                port = bench.free_port()
                servers[program] = bench.Server(command(program, profile, port, folder), port)
        asked = [word for program, profile in pairs for word in (
            profile, str(servers[program].port), ",".join(map(str, servers[program].pids())))]
        rounds = max(2, ROUNDS * 50 // ms)
        client = [*bench.pinned(1), str(folder / "slices"), reading, *map(str, (connections, rounds, ms)), WAIT_PERCENT]
        output = subprocess.run(client + asked, stdout=subprocess.PIPE, text=True, check=False)
        if output.returncode:
            raise SystemExit(f"slices: the client failed: {pairs[-1][1]}, {connections} connections")
    finally:
        for server in servers.values():
            server.stop()
    return list(zip(*([float(cost) for cost in line.split()] for line in output.stdout.splitlines())))


def ratios_of(costs, first):
    """Their median, quartiles and the median's standard error, and how many there are."""
    ratios = [mine / its for mine, its in zip(costs, first) if not math.isnan(mine / its)]
    if len(ratios) < max(2, len(costs) / 4):
        raise SystemExit(f"slices: {len(ratios)} of {len(costs)} rounds are left: this machine does too much else")
    low, median, high = statistics.quantiles(ratios, n=4)
    # The quartiles of a normal distribution are 1.349 standard deviations apart, and its median has 1.2533 times the
    # standard error of its mean.
    return median, low, high, 1.2533 * (high - low) / 1.349 / math.sqrt(len(ratios)), len(ratios)


def names_of(pairs, profile):
    """What each is called in the results: by its program; the second floor "again", mote's baseline "baseline"."""
    names = []
    for program, asked in pairs:
        name = "mote" if program == OURS else pathlib.Path(program).name
        names.append("baseline" if asked == "baseline" != profile else "again" if name in names else name)
    return names


def print_costs(profile, reading, connections, folder):
    """Returns the rows of the results."""
    pairs = measured(profile)
    names = names_of(pairs, profile)
    costs = measure(pairs, reading, connections, SLICE_MS.get(profile, 50), folder)
    rows = []
    for (program, asked), name, mine in zip(pairs, names, costs):
        median, low, high, error, count = ratios_of(mine, costs[0])
        cost = statistics.median(cost for cost in mine if not math.isnan(cost))
        print(f"{profile:<9} {reading:<7} {connections:>6} {cost:>11.0f}  {median:.3f} ± {error:.3f}  {low:.3f} to "
              f"{high:.3f}  {len(mine) - count:>8}  {program} {asked}", flush=True)
        rows.append({"profile": profile, "reading": reading, "connections": connections, "server": name, "cpu_ns": cost,
                     "to": {other: ratios_of(mine, its)[:3] for other, its in zip(names, costs)}})
    return rows


def print_lateness(program, connections, folder):
    port = bench.free_port()
    server = bench.Server(command(program, "delay", port, folder), port)
    try:
        client = [*bench.pinned(1), str(folder / "slices"), "lateness", str(connections), str(10 * ROUNDS), str(port)]
        output = subprocess.run(client, stdout=subprocess.PIPE, text=True, check=True)
    finally:
        server.stop()
    late_us = sorted(map(float, output.stdout.split()))
    quantiles = [late_us[min(len(late_us) - 1, int(len(late_us) * share))] for share in (0.5, 0.9, 0.99, 0.999)]
    print(f"lateness  {connections:>6} connections, us: {late_us[0]:.0f} at least; "
          f"{', '.join(f'{value:.0f}' for value in quantiles)} in 50, 90, 99, 99.9 %; {late_us[-1]:.0f} at most"
          f"  {program}", flush=True)
    if late_us[0] < 0:
        raise SystemExit("slices: an answer came early")


def check(profiles):
    missing = [tool for tool in ("taskset", "g++", "gcc") if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"slices: missing: {' '.join(missing)} (apt-get install util-linux g++)")
    unknown = set(profiles) - set(ALL_PROFILES)
    if unknown:
        raise SystemExit(f"slices: unknown profiles: {' '.join(unknown)} (there are: {' '.join(ALL_PROFILES)})")
    for program in (OURS, *OTHERS):
        if not (program == "floor" or os.access(program, os.X_OK) or program == "nginx" and shutil.which(program)):
            raise SystemExit(f"slices: no server to measure at {program} (./build.sh makes one)")


def main():
    profiles = sys.argv[1:] or PROFILES
    check(profiles)
    bench.raise_descriptor_limit()  # 512 connections to each of several servers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("slices: terminated"))  # by way of what stops the servers
    profiles = [one for profile in profiles for one in (SIZES if profile == "sizes" else [profile])]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        bench.build_floor(folder)
        bench.make_files(folder)
        subprocess.run(["gcc", "-O2", "-o", folder / "slices", bench.HERE / "slices.c"], check=True)
        if set(profiles) != {"lateness"}:
            print("profile   reading  conns  ns/request  ratio ± s.e.    quartiles      left out  server")
        rows = []
        for profile in profiles:
            for connections in counts(profile):
                if profile == "lateness":
                    for program in (OURS, *OTHERS):
                        print_lateness(program, connections, folder)
                else:
                    for reading in READING if profile in SIZES else ["copy"]:
                        rows += print_costs(profile, reading, connections, folder)
    if JSON:
        pathlib.Path(JSON).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("slices: interrupted") from None
