#!/usr/bin/env python3
"""Measures what a request costs: mote beside the floor (test/floor.cpp) and, if it is installed, nginx.

Each server runs with one worker on one CPU and the load on another, if there are two. The servers take turns within a
round, in reverse order in every other one, so that whatever else the machine does falls on all of them. Figures are
medians over the rounds with the lowest and the highest; a ratio is that of one round, to the floor in the same round.
CPU time is what the kernel counts for the server's threads (/proc/PID/task/*/schedstat), split into user and system as
/proc/PID/task/*/stat has it, in clock ticks. It includes making the connections, of which there are many for the
requests of a second at the higher counts.

Profiles: what test/requests.lua sends, as fast as it is answered (baseline, pipelined, short) or some 10,000 times a
second over 1,024 connections (fixed); 1,024 connections that have sent one request each and then nothing (idle); and
no connection at all (asleep). The last three are not about speed, but about what the server does unasked.

Prints tables as it goes; then writes all runs to JSON, and what a chart needs to chart.tsv beside it.

Environment: ROUNDS (8), SECONDS (1) a run, CONNECTIONS ("64 512 4096 16000"), PROFILES (all), JSON
(.bench/results.json), SERVER (./server: the mote to measure). QUICK=1: a rough look within a minute.
"""
import datetime
import json
import os
import pathlib
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
QUICK = os.environ.get("QUICK", "") not in ("", "0")
ROUNDS = int(os.environ.get("ROUNDS", "2" if QUICK else "8"))
SECONDS = int(os.environ.get("SECONDS", "1"))
CONNECTIONS = [int(count) for count in os.environ.get("CONNECTIONS", "512" if QUICK else "64 512 4096 16000").split()]
PROFILES = os.environ.get("PROFILES", "baseline pipelined short fixed idle asleep").split()
JSON = pathlib.Path(os.environ.get("JSON", ROOT / ".bench" / "results.json"))
SERVER = os.environ.get("SERVER", str(ROOT / "server"))
MANY = 10000  # connections from which on wrk needs seconds to make them, and only the baseline is measured
MANY_SECONDS = 5
STEADY_CONNECTIONS = 1024  # of the profiles fixed and idle
PIPELINED_REQUEST = b"GET /pipeline HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"
LAST_REQUEST = b"GET /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n"
FLOOR_FLAGS = ["-O2", "-std=c++20", "-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector",
               "-fno-asynchronous-unwind-tables", "-fno-pie", "-no-pie"]
NGINX_CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log stderr crit; 
events {{ worker_connections 20000; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port} backlog=65535; default_type text/plain;
    location = /baseline11 {{ return 200 "75"; }}
    location = /pipeline {{ return 200 "ok"; }}
  }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))  # free on all addresses, as the servers need it
        return probe.getsockname()[1]


def pinned(cpu):
    """The words before a command that keep it on one of our CPUs, if there are two."""
    cpus = sorted(os.sched_getaffinity(0))
    return ["taskset", "--cpu-list", str(cpus[cpu])] if len(cpus) > 1 else []


class Server:
    def __init__(self, command, port):
        self.port = port
        self.process = subprocess.Popen(pinned(0) + command, stderr=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.01)
        raise SystemExit(f"bench: {command[0]} does not listen on port {port}")

    def cpu(self):
        """Nanoseconds on a CPU, and clock ticks in user and in system mode, of all threads so far."""
        total = user = system = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            user, system = user + int(fields[11]), system + int(fields[12])
        return total, user, system

    def switches(self):
        """How often its threads have gone to sleep, and how often another one took their CPU."""
        voluntary = involuntary = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            fields = dict(line.split(":\t") for line in (task / "status").read_text().splitlines() if ":\t" in line)
            voluntary += int(fields["voluntary_ctxt_switches"])
            involuntary += int(fields["nonvoluntary_ctxt_switches"])
        return voluntary, involuntary

    def peak_memory(self):
        """KiB."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def measured_latencies(pairs, duration_us, requests, connections):
    """The latencies in us that wrk measured, ascending, as [value, count].

    wrk adds to what it measured: for each latency the shorter ones that requests at a steady rate would have had in
    that time. With pipelining that rate is far from steady, and the figures mean nothing. Here the additions are taken
    out again, from the longest latency down: it can only have been measured.
    """
    interval = duration_us // (requests // connections)
    counts = dict(pairs)
    for value in sorted(counts, reverse=True):
        added_to = value - interval
        while counts[value] and value >= 2 * interval and added_to > interval:
            if added_to in counts:
                counts[added_to] -= counts[value]
            added_to -= interval
    return [[value, count] for value, count in sorted(counts.items()) if count > 0]


def percentile(latencies, percent):
    left = sum(count for _, count in latencies) * percent / 100
    for value, count in latencies:
        left -= count
        if left <= 0:
            return value
    return 0


def measure(server, profile, connections):
    """One run of wrk against `server`: what it and the kernel counted meanwhile."""
    seconds = max(SECONDS, MANY_SECONDS) if connections >= MANY else SECONDS
    before, switches_before, start = server.cpu(), server.switches(), time.monotonic()
    output = subprocess.run(
        pinned(1) + ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
                     "--latency", "--script", str(HERE / "requests.lua"), f"http://127.0.0.1:{server.port}",
                     "--", profile],
        check=True, capture_output=True, text=True).stdout
    elapsed = time.monotonic() - start
    total, user, system = (after - start for after, start in zip(server.cpu(), before))
    fields = dict(pair.split("=") for pair in output.strip().splitlines()[-1].split())
    pairs = [map(int, pair.split(":")) for pair in fields.pop("latencies_us", "").split(",") if pair]
    result = {key: int(value) for key, value in fields.items()}
    if result["requests"] < connections:
        raise SystemExit(f"bench: too few requests answered: {output}")
    latencies = measured_latencies(pairs, result["duration_us"], result["requests"], connections)
    result["p50_us"], result["p99_us"] = percentile(latencies, 50), percentile(latencies, 99)
    result["rate"] = result["requests"] * 1e6 / result["duration_us"]
    result["cpu_ns"] = total / result["requests"]
    share = user / (user + system) if user + system else 0
    result["user_ns"], result["system_ns"] = result["cpu_ns"] * share, result["cpu_ns"] * (1 - share)
    result["errors"] = result["status_errors"] + result["socket_errors"] + result["timeouts"]
    result["cpu_share"] = total / 1e9 / elapsed
    result["switches"] = [(after - start) / elapsed for after, start in zip(server.switches(), switches_before)]
    result["peak_kib"] = server.peak_memory()
    return result


def watch(server, connections):
    """What the server does in some seconds while nothing arrives on `connections` connections."""
    peers = []
    for _ in range(connections):
        peer = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        peer.sendall(PIPELINED_REQUEST)
        peers.append(peer)
    for peer in peers:
        peer.recv(4096)
    time.sleep(1.2)  # until a clock that runs only while there are connections has stopped
    before, switches_before, start = server.cpu()[0], server.switches(), time.monotonic()
    time.sleep(1 if QUICK else 2)
    elapsed = time.monotonic() - start
    result = {"rate": 0, "errors": 0, "cpu_share": (server.cpu()[0] - before) / 1e9 / elapsed,
              "switches": [(after - start) / elapsed for after, start in zip(server.switches(), switches_before)],
              "peak_kib": server.peak_memory()}
    for peer in peers:
        peer.close()
    return result


def commands(profile, folder):
    """Name and command, given a port, of each server that can be measured."""
    request_bytes = len(PIPELINED_REQUEST) if profile == "pipelined" else 0
    yield "floor", lambda port: [str(folder / "floor"), str(port), str(request_bytes), str(len(LAST_REQUEST))]
    yield "mote", lambda port: [SERVER, "--threads", "1", "--port", str(port)]
    if shutil.which("nginx"):
        def nginx(port):
            configuration = folder / f"nginx-{port}.conf"
            configuration.write_text(NGINX_CONFIGURATION.format(folder=folder, port=port))
            return ["nginx", "-p", str(folder), "-c", str(configuration), "-e", "stderr"]
        yield "nginx", nginx


def run(profile, connections, folder):
    """All rounds of a profile: the results by server, in the order of the rounds."""
    runs = {}
    for number in range(ROUNDS):
        servers = list(commands(profile, folder))
        for name, command in reversed(servers) if number % 2 else servers:
            port = free_port()
            server = Server(command(port), port)
            try:
                unasked = profile in ("idle", "asleep")
                result = watch(server, connections) if unasked else measure(server, profile, connections)
            finally:
                server.stop()
            runs.setdefault(name, []).append(result)
    for name, results in runs.items():
        for mine, floor in zip(results, runs["floor"]):
            key = "cpu_ns" if "cpu_ns" in mine else "cpu_share"
            mine["ratio"] = mine[key] / floor[key] if floor[key] else None
    return runs


def spread(results, value):
    """Median, lowest and highest of a value over the rounds."""
    values = [value(result) for result in results]
    return statistics.median(values), min(values), max(values)


def print_speed(profile, connections, runs):
    for name, results in runs.items():
        def median(key):
            return spread(results, lambda result: result[key])[0]
        cpu, ratio = (spread(results, lambda result: result[key]) for key in ("cpu_ns", "ratio"))
        print(f"{profile:<9} {connections:>6} {name:<6} {median('rate'):>10.0f} {median('p50_us'):>7.0f} "
              f"{median('p99_us'):>8.0f} {cpu[0]:>6.0f} {cpu[1]:>6.0f} {cpu[2]:>6.0f} {median('user_ns'):>6.0f} "
              f"{median('system_ns'):>6.0f} {max(result['peak_kib'] for result in results):>7} "
              f"{sum(result['errors'] for result in results):>6}  {ratio[0]:>5.2f} {ratio[1]:>5.2f} {ratio[2]:>5.2f}",
              flush=True)


def print_unasked(profile, connections, runs):
    for name, results in runs.items():
        share = spread(results, lambda result: result["cpu_share"] * 1e6)
        slept, taken = (spread(results, lambda result: result["switches"][kind]) for kind in (0, 1))
        ratios = [result["ratio"] for result in results if result["ratio"] is not None]
        ratio = f"{statistics.median(ratios):>5.2f} {min(ratios):>5.2f} {max(ratios):>5.2f}" if ratios else ""
        print(f"{profile:<9} {connections:>6} {name:<6} {spread(results, lambda result: result['rate'])[0]:>10.0f} "
              f"{share[0]:>7.0f} {share[1]:>7.0f} {share[2]:>7.0f} {slept[0]:>9.1f} {taken[0]:>9.1f} "
              f"{sum(result['errors'] for result in results):>6}  {ratio}", flush=True)


def first_line(*command):
    """What a program says of its version."""
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    return (output.stdout + output.stderr).partition("\n")[0].strip()


def describe_machine():
    model = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 platform.machine())
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"), "cpu": model,
            "cpus": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "compiler": first_line("g++", "--version"),
            "wrk": first_line("wrk", "--version"), "server_bytes": os.stat(SERVER).st_size,
            "nginx": first_line("nginx", "-v") if shutil.which("nginx") else None}


def write_results(machine, measured):
    """`measured`: profile, connections and runs of each row of the tables."""
    rows = [{"profile": profile, "connections": connections, "server": name, "rounds": results,
             "ratio": None if None in (result["ratio"] for result in results)
             else spread(results, lambda result: result["ratio"])}
            for profile, connections, runs in measured for name, results in runs.items()]
    JSON.parent.mkdir(parents=True, exist_ok=True)
    JSON.write_text(json.dumps({"machine": machine, "rounds": ROUNDS, "seconds": SECONDS, "quick": QUICK, "rows": rows},
                               indent=1) + "\n")
    with open(JSON.parent / "chart.tsv", "w") as chart:
        print("profile", "connections", "server", "requests_per_s", "cpu_ns", "peak_kib", "ratio", sep="\t", file=chart)
        for row in rows:
            if "cpu_ns" in row["rounds"][0]:
                figures = [statistics.median(result[key] for result in row["rounds"])
                           for key in ("rate", "cpu_ns", "peak_kib")]
                print(row["profile"], row["connections"], row["server"], *map(round, figures), f"{row['ratio'][0]:.3f}",
                      sep="\t", file=chart)


def main():
    missing = [tool for tool in ("wrk", "taskset", "g++") if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"bench: missing: {' '.join(missing)} (apt-get install wrk util-linux g++)")
    if not shutil.which("nginx"):
        print("bench: nginx is not installed (apt-get install nginx-light): no rows for it", file=sys.stderr)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    machine = describe_machine()
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print(f"{ROUNDS} rounds, {SECONDS} s a run{': a rough look' if QUICK else ''}; median, lowest, highest")
    measured = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run(["g++", *FLOOR_FLAGS, "-o", str(folder / "floor"), str(HERE / "floor.cpp")], check=True)
        print("profile    conns server requests/s  p50 us   p99 us CPU ns  (low  high)   user system     KiB errors  "
              "ratio  (low  high)")
        for connections in CONNECTIONS:
            for profile in ("baseline", "pipelined", "short"):
                if profile not in PROFILES or connections + 100 > limit:
                    continue
                if connections < MANY or profile == "baseline":
                    measured.append((profile, connections, run(profile, connections, folder)))
                    print_speed(*measured[-1])
        print("\nprofile    conns server requests/s  CPU ppm   (low    high)   slept/s   taken/s errors  "
              "ratio  (low  high)")
        for profile, connections in (("fixed", STEADY_CONNECTIONS), ("idle", STEADY_CONNECTIONS), ("asleep", 0)):
            if profile in PROFILES and connections + 100 <= limit:
                measured.append((profile, connections, run(profile, connections, folder)))
                print_unasked(*measured[-1])
    write_results(machine, measured)
    print(f"\nall runs: {JSON}; for a chart: {JSON.parent / 'chart.tsv'}")


if __name__ == "__main__":
    main()
