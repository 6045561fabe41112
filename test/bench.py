#!/usr/bin/env python3
"""Measures what a request costs: mote beside the floor (test/floor.cpp) and, if it is installed, nginx.

Each server runs with one worker on one CPU and wrk on another, if there are two. The servers take turns within a
round, in reverse order in every other one, so that whatever else the machine does falls on all of them; figures are
medians over the rounds, and the ratio is the median of the rounds' own ratios. CPU time is what the kernel counts for
the server's threads (/proc/PID/task/*/schedstat), split into user and system as /proc/PID/task/*/stat has it, in clock
ticks.

Environment: ROUNDS (6), SECONDS (1) a run, CONNECTIONS ("64 512"), PROFILES ("baseline pipelined short").
"""
import os
import pathlib
import platform
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
ROUNDS = int(os.environ.get("ROUNDS", "6"))
SECONDS = int(os.environ.get("SECONDS", "1"))
CONNECTIONS = [int(count) for count in os.environ.get("CONNECTIONS", "64 512").split()]
PROFILES = os.environ.get("PROFILES", "baseline pipelined short").split()
PIPELINED_REQUEST = b"GET /pipeline HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"
LAST_REQUEST = b"GET /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n"
FLOOR_FLAGS = ["-O2", "-std=c++20", "-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector",
               "-fno-asynchronous-unwind-tables", "-fno-pie", "-no-pie"]
NGINX_CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log stderr crit; worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
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
    before = server.cpu()
    output = subprocess.run(
        pinned(1) + ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{SECONDS}s",
                     "--latency", "--script", str(HERE / "requests.lua"), f"http://127.0.0.1:{server.port}",
                     "--", profile],
        check=True, capture_output=True, text=True).stdout
    total, user, system = (after - start for after, start in zip(server.cpu(), before))
    fields = dict(pair.split("=") for pair in output.strip().splitlines()[-1].split())
    pairs = [map(int, pair.split(":")) for pair in fields.pop("latencies_us", "").split(",") if pair]
    result = {key: int(value) for key, value in fields.items()}
    if result["requests"] < connections:
        raise SystemExit(f"bench: too few requests answered: {output}")
    latencies = measured_latencies(pairs, result["duration_us"], result["requests"], connections)
    result["p50_us"], result["p99_us"] = percentile(latencies, 50), percentile(latencies, 99)
    result["answers"] = sum(count for _, count in latencies)
    result["rate"] = result["requests"] * 1e6 / result["duration_us"]
    result["ns"] = total / result["requests"]
    result["user_share"] = user / (user + system) if user + system else 0
    result["errors"] = result["status_errors"] + result["socket_errors"] + result["timeouts"]
    return result


def commands(profile, folder):
    """Name and command, given a port, of each server that can be measured."""
    request_bytes = len(PIPELINED_REQUEST) if profile == "pipelined" else 0
    yield "floor", lambda port: [str(folder / "floor"), str(port), str(request_bytes), str(len(LAST_REQUEST))]
    yield "mote", lambda port: [str(ROOT / "server"), "--threads", "1", "--port", str(port)]
    if shutil.which("nginx"):
        def nginx(port):
            configuration = folder / f"nginx-{port}.conf"
            configuration.write_text(NGINX_CONFIGURATION.format(folder=folder, port=port))
            return ["nginx", "-p", str(folder), "-c", str(configuration), "-e", "stderr"]
        yield "nginx", nginx


def run(profile, connections, folder):
    rounds = {}
    memory = {}
    for number in range(ROUNDS):
        servers = list(commands(profile, folder))
        for name, command in reversed(servers) if number % 2 else servers:
            port = free_port()
            server = Server(command(port), port)
            try:
                rounds.setdefault(name, []).append(measure(server, profile, connections))
                memory[name] = max(memory.get(name, 0), server.peak_memory())
            finally:
                server.stop()
    for name, results in rounds.items():
        def median(key):
            return statistics.median(result[key] for result in results)
        ratio = statistics.median(mine["ns"] / floor["ns"] for mine, floor in zip(results, rounds["floor"]))
        share = median("user_share")
        print(f"{profile:<9} {connections:>5}  {name:<5} {median('rate'):>9.0f} {median('p50_us'):>7.0f} "
              f"{median('p99_us'):>7.0f} {median('ns'):>7.0f} {median('ns') * share:>6.0f} "
              f"{median('ns') * (1 - share):>7.0f} {memory[name]:>6} {sum(r['errors'] for r in results):>6} "
              f"{ratio:>6.2f}", flush=True)


def main():
    missing = [tool for tool in ("wrk", "taskset", "g++") if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"bench: missing: {' '.join(missing)} (apt-get install wrk util-linux g++)")
    if not shutil.which("nginx"):
        print("bench: nginx is not installed (apt-get install nginx-light): no column for it", file=sys.stderr)
    model = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 platform.machine())
    print(f"{model}, {len(os.sched_getaffinity(0))} CPUs, Linux {platform.release()}; medians of {ROUNDS} rounds, "
          f"{SECONDS} s a run, one worker")
    print("profile   conns  server requests/s p50 us p99 us  CPU ns   user  system    KiB errors  ratio")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run(["g++", *FLOOR_FLAGS, "-o", str(folder / "floor"), str(HERE / "floor.cpp")], check=True)
        for profile in PROFILES:
            for connections in CONNECTIONS:
                run(profile, connections, folder)


if __name__ == "__main__":
    main()
