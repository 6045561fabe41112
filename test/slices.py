#!/usr/bin/env python3
"""Measures what a request costs beside the floor (test/floor.cpp), in slices of 50 ms that take turns (test/slices.c).

All servers run at the same time, each with one worker, on one CPU, and the client on another, if there are two. Of the
CPU nanoseconds a request in each slice, divided by the floor's in the same round, it prints the median, both quartiles
and the standard error of the median; beside them the median itself, and how many rounds were left out because one of
the servers had to wait for its CPU. Two and a half minutes with the settings that are there without any below.

Environment, all optional:
  SERVER       programs to measure as well as ./server, called like it; "floor" is another floor, which shows how far
               the instrument itself is off. More than one: separated by spaces
  ROUNDS       slices of each server (200, or fewer with more than two servers)
  CONNECTIONS  "64 512"
  PROFILES     "baseline pipelined short"
"""
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

import bench

OTHERS = os.environ.get("SERVER", "").split()
ROUNDS = int(os.environ.get("ROUNDS", 400 // (2 + len(OTHERS))))
CONNECTIONS = [int(count) for count in os.environ.get("CONNECTIONS", "64 512").split()]
PROFILES = os.environ.get("PROFILES", "baseline pipelined short").split()


def command(program, profile, port, folder):
    if program == "floor":
        request_bytes = len(bench.PIPELINED_REQUEST) if profile == "pipelined" else 0
        return [str(folder / "floor"), str(port), str(request_bytes), str(len(bench.LAST_REQUEST))]
    return [program, "--threads", "1", "--port", str(port)]


def measure(programs, profile, connections, folder):
    """Costs by server, a list of numbers each; nan where a slice was disturbed."""
    servers = []
    try:
        for program in programs:
            port = bench.free_port()
            servers.append(bench.Server(command(program, profile, port, folder), port))
        addresses = [str(number) for server in servers for number in (server.port, server.process.pid)]
        client = [*bench.pinned(1), str(folder / "slices"), profile, str(connections), str(ROUNDS), *addresses]
        output = subprocess.run(client, stdout=subprocess.PIPE, text=True, check=False)
        if output.returncode:
            raise SystemExit(f"slices: the client failed: {profile}, {connections} connections")
    finally:
        for server in servers:
            server.stop()
    return list(zip(*([float(cost) for cost in line.split()] for line in output.stdout.splitlines())))


def ratios_of(costs, floor):
    """Their median, quartiles and the median's standard error, and how many there are."""
    ratios = [mine / its for mine, its in zip(costs, floor) if not math.isnan(mine / its)]
    if len(ratios) < max(2, ROUNDS / 4):
        raise SystemExit(f"slices: {len(ratios)} of {ROUNDS} rounds are left: this machine does too much else")
    low, median, high = statistics.quantiles(ratios, n=4)
    # The quartiles of a normal distribution are 1.349 standard deviations apart, and its median has 1.2533 times the
    # standard error of its mean.
    return median, low, high, 1.2533 * (high - low) / 1.349 / math.sqrt(len(ratios)), len(ratios)


def main():
    missing = [tool for tool in ("taskset", "g++", "gcc") if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"slices: missing: {' '.join(missing)} (apt-get install util-linux g++)")
    programs = ["floor", bench.ROOT / "server", *OTHERS]
    for program in programs:
        if program != "floor" and not os.access(program, os.X_OK):
            raise SystemExit(f"slices: no server to measure at {program} (./build.sh makes one)")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        bench.build_floor(folder)
        subprocess.run(["gcc", "-O2", "-o", folder / "slices", bench.HERE / "slices.c"], check=True)
        print("profile    conns  ns/request  ratio ± s.e.    quartiles      left out  server")
        for profile in PROFILES:
            for connections in CONNECTIONS:
                costs = measure(programs, profile, connections, folder)
                for program, mine in zip(programs, costs):
                    median, low, high, error, count = ratios_of(mine, costs[0])
                    cost = statistics.median(cost for cost in mine if not math.isnan(cost))
                    print(f"{profile:<9} {connections:>6} {cost:>11.0f}  {median:.3f} ± {error:.3f}  {low:.3f} to {high:.3f}"
                          f"  {ROUNDS - count:>8}  {program}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("slices: interrupted") from None
