#!/usr/bin/env python3
"""Measures what a request costs: mote beside the floor (test/floor.cpp), nginx, HAProxy, lighttpd and Node.

Each server runs with one worker on one CPU and the load on another, if there are two. The servers take turns within a
round, in reverse order in every other one, so that whatever else the machine does falls on all of them. Figures are
medians over the rounds with the lowest and the highest; a ratio is that of one round, to the floor in the same round.
CPU time is what the kernel counts for the server's threads (/proc/PID/task/*/schedstat), split into user and system as
/proc/PID/task/*/stat has it, in clock ticks. With wrk it includes making the connections, of which there are many for
the requests of a second at the higher counts.

Profiles, in this order:
  slices sizes
         CPU per request in slices of 50 ms that take turns, by test/slices.py: the ratios of the README. slices are
         its baseline, pipelined and short, of mote, nginx and the floor once more beside the floor.
  rate   10,000 requests/s over 1,024 connections by h2load: each connection sends GET /pipeline every 102.4 ms, and
         connections start evenly within the first 100 ms. All servers answer "ok": mote by its route, nginx and HAProxy
         from their configuration, lighttpd from a file, Node by four lines. Two seconds are measured, after two for
         warming up.
         A latency lasts from the moment when h2load sends the request, not when it is due. A connection that waits for
         an answer sends nothing; what it omits meanwhile shows only in latencies over 102.4 ms.
  baseline pipelined short
         what test/requests.lua sends by wrk, as fast as it is answered; from 4,096 connections on only the baseline; at
         16,000 without nginx. At 512 connections the baseline has another row, "open": mote with --no-sandbox.
  delay  GET /delay/10 over 512 and 15,000 connections. A connection is answered 100 times a second at most. The ratio
         is to the row "baseline": the baseline of the same server.
  idle   1,024 connections that have sent one request each and then nothing
  asleep no connection at all
The last two are about what the server does unasked; only mote and the floor have part in them. Counts for which there
are not enough descriptors (ulimit -Hn) are left out.

Prints tables as it goes; then writes all runs, their medians and the machine's description to JSON, and draws charts
(test/chart.py): those of the README in test/charts/, or beside JSON if any of the settings below is given or a server
is missing, for then the figures are others. Exit status 1 after one line that says why: a tool is missing, a server
does not do its part, or mote's threads ran while there was no connection. A run with errors is shown, and ends nothing.
One in which wrk has not made all its connections is repeated once; if it fails again, the row is left out, and the
status is 1.

Environment, all optional:
  ROUNDS       how often every server has its turn (5); 20 times as often in slices and sizes, twice as often in rate,
               no more than 3 times in idle and asleep
  SECONDS      length of a run in whole seconds, as wrk takes them (1); at 16,000 connections at least 4; twice in rate
  CONNECTIONS  counts for baseline, pipelined and short ("64 512 4096 16000")
  PROFILES     which ones ("slices sizes rate baseline pipelined short delay idle asleep")
  JSON         where the results go (.bench/results.json)
  SERVER       the mote to measure (./server)
  WORKERS      of mote, nginx and HAProxy (1); with more, the servers and the load share all CPUs
  WAIT         see test/slices.py
  QUICK=1      a rough look in two minutes: two rounds, 512 connections, if the above do not say otherwise; only as
               many of rate, and five times as many of slices and sizes; delay with 512 connections only
"""
import collections
import datetime
import json
import math
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import chart

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
QUICK = os.environ.get("QUICK", "") not in ("", "0")
ROUNDS = int(os.environ.get("ROUNDS", "2" if QUICK else "5"))
SECONDS = int(os.environ.get("SECONDS", "1"))
CONNECTIONS = [int(count) for count in os.environ.get("CONNECTIONS", "512" if QUICK else "64 512 4096 16000").split()]
ALL_PROFILES = "slices sizes rate baseline pipelined short delay idle asleep"
PROFILES = os.environ.get("PROFILES", ALL_PROFILES).split()
JSON = pathlib.Path(os.environ.get("JSON", ROOT / ".bench" / "results.json"))
SERVER = os.environ.get("SERVER", str(ROOT / "server"))
WORKERS = int(os.environ.get("WORKERS", "1"))
HAS_SETTINGS = any(map(os.environ.get, ("ROUNDS", "SECONDS", "CONNECTIONS", "PROFILES", "JSON", "SERVER", "WORKERS",
                                        "QUICK", "WAIT")))
OTHERS = {"nginx": "nginx-light", "haproxy": "haproxy", "lighttpd": "lighttpd", "node": "nodejs"}  # and their packages
CHARTS = JSON.parent if HAS_SETTINGS or not all(map(shutil.which, OTHERS)) else HERE / "charts"
SEVERAL = 1000  # connections from which on wrk sends only the baseline
MANY = 10000  # connections from which on wrk needs seconds to make them
MANY_SECONDS = 4
SPARE_DESCRIPTORS = 100  # what wrk and the servers need besides connections
WRK_SPARE_SECONDS = 60  # beyond its duration, until it counts as hung
UNASKED = ("idle", "asleep")  # profiles that wrk has no part in
UNASKED_ROUNDS = 3  # at most: what is counted in them hardly varies
STEADY_CONNECTIONS = 1024  # of the profiles rate and idle
RATE = 10000  # requests a second of all these connections
WARM_UP_SECONDS, RATE_SECONDS = 2, 2 * SECONDS  # Node compiles while it runs
RATE_ROUNDS, SLICES_ROUNDS = (ROUNDS, 5 * ROUNDS) if QUICK else (2 * ROUNDS, 20 * ROUNDS)
SLICES = {"slices": ("baseline pipelined short", "nginx floor"), "sizes": ("sizes", "")}  # profiles, other servers
SIZES = {"100": 100, "16k": 16 << 10, "64k": 64 << 10, "1m": 1 << 20}
RETURNED_SIZES = ("100", "16k")  # what HAProxy can answer by itself: it needs a buffer of that size for each connection
DELAY_CONNECTIONS = (512, 15000)
DELAY_MS = 10
PIPELINED_REQUEST = b"GET /pipeline HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"
LAST_REQUEST = b"GET /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n"
FLOOR_FLAGS = ["-O2", "-std=c++20", "-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector",
               "-fno-asynchronous-unwind-tables", "-fno-pie", "-no-pie"]
NGINX_CONFIGURATION = """
{workers} daemon off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 20000; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  sendfile on; tcp_nopush on; open_file_cache max=10; open_file_cache_valid 1h;
  server {{
    listen 127.0.0.1:{port} backlog=65535 reuseport; default_type text/plain; root {folder}/files;
    location = /baseline11 {{ return 200 "75"; }}
    location = /pipeline {{ return 200 "ok"; }}
    location = /1m {{ tcp_nopush off; }}
  }}
}}
"""  # tcp_nopush as is cheapest: with it 1 MiB takes up to three times as much, without it 16 KiB a sixth more
HAPROXY_CONFIGURATION = """
global
  nbthread {workers}
  tune.bufsize 32768
  maxconn 2000
defaults
  mode http
  timeout client 60s
frontend all
  bind 127.0.0.1:{port} backlog 65535
  http-request return status 200 content-type text/plain string ok if {{ path /pipeline }}
{rules}
"""
LIGHTTPD_CONFIGURATION = """
server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "{folder}/files"
server.max-connections = 2000
server.max-fds = 4096
server.listen-backlog = 65535
server.max-keep-alive-requests = 1000000000
server.max-keep-alive-idle = 60
mimetype.assign = ( "" => "text/plain" )
"""  # with server.max-worker its end would end this process, too: it signals its whole process group
NODE_PROGRAM = """
require("node:http").createServer((request, response) => {{
  response.writeHead(200, {{ "Content-Type": "text/plain", "Content-Length": 2 }});
  response.end("ok");
}}).listen({port}, "127.0.0.1", 65535);
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))  # free on all addresses, as the servers need it
        return probe.getsockname()[1]


def pinned(cpu):
    """The words before a command that keep it on one of our CPUs, if there are two."""
    cpus = sorted(os.sched_getaffinity(0))
    return ["taskset", "--cpu-list", str(cpus[cpu])] if len(cpus) > 1 and WORKERS == 1 else []


class Server:
    def __init__(self, command, port):
        self.port = port
        self.process = subprocess.Popen(pinned(0) + command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self.wait_until_it_listens(command[0])
        except BaseException:  # Ctrl-C, too, must not leave it behind
            self.stop()
            raise

    def wait_until_it_listens(self, name):
        for _ in range(200):
            if self.process.poll() is not None:
                raise SystemExit(f"bench: {name} ended with status {self.process.returncode} instead of serving")
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise SystemExit(f"bench: {name} does not listen on port {self.port}")

    def pids(self):
        """Its process and, of a server that has a process for each worker, those."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def tasks(self):
        return [task for pid in self.pids() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]

    def cpu(self):
        """Nanoseconds on a CPU, and clock ticks in user and in system mode, of all threads so far."""
        total = user = system = 0
        for task in self.tasks():
            total += int((task / "schedstat").read_text().split()[0])
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            user, system = user + int(fields[11]), system + int(fields[12])
        return total, user, system

    def switches(self):
        """How often its threads have gone to sleep, and how often another one took their CPU."""
        voluntary = involuntary = 0
        for task in self.tasks():
            fields = dict(line.split(":\t") for line in (task / "status").read_text().splitlines() if ":\t" in line)
            voluntary += int(fields["voluntary_ctxt_switches"])
            involuntary += int(fields["nonvoluntary_ctxt_switches"])
        return voluntary, involuntary

    def usage(self):
        return *self.cpu(), *self.switches(), time.monotonic()

    def used_since(self, before):
        return [after - start for after, start in zip(self.usage(), before)]

    def peak_memory(self):
        """KiB."""
        return sum(int(pathlib.Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])
                   for pid in self.pids())

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except BaseException:  # it does not end, or Ctrl-C came once more
            self.process.kill()
            self.process.wait()
            raise


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


def wrk(port, sent, connections):
    """What wrk prints after a run. `sent`: the arguments of requests.lua."""
    seconds = max(SECONDS, MANY_SECONDS) if connections >= MANY else SECONDS
    command = pinned(1) + ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
                           "--latency", "--script", str(HERE / "requests.lua"), f"http://127.0.0.1:{port}",
                           "--", *sent]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + WRK_SPARE_SECONDS)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"bench: wrk does not end: {' '.join(sent)}, {connections} connections") from None
    if done.returncode or "requests=" not in done.stdout:
        raise SystemExit(f"bench: wrk failed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    return done.stdout


class TooFew(Exception):
    """A run in which not even one request was answered on each connection: wrk had not made them all."""


def costs(used, requests):
    """What `requests` have cost, of what Server.used_since() returns."""
    total, user, system, slept, taken, elapsed = used
    share = user / (user + system) if user + system else 0
    each = total / requests
    return {"cpu_ns": each, "user_ns": each * share, "system_ns": each * (1 - share),
            "cpu_share": total / 1e9 / elapsed, "switches": [slept / elapsed, taken / elapsed]}


def figures_of_log(rows, begin_us, end_us):
    """Rate and latencies of the requests that h2load has sent in that time. Rows: when, status, latency in us."""
    latencies = [latency for sent, status, latency in rows if begin_us <= sent < end_us and status == 200]
    if not latencies:
        raise SystemExit("bench: h2load got no answers")
    counts = sorted(collections.Counter(latencies).items())
    return {"requests": len(latencies), "rate": len(latencies) * 1e6 / (end_us - begin_us),
            "mean_us": statistics.mean(latencies), "p50_us": percentile(counts, 50), "p99_us": percentile(counts, 99),
            "p999_us": percentile(counts, 99.9)}


def measure(server, sent, connections):
    """One run of wrk against `server`: what it and the kernel counted meanwhile."""
    before = server.usage()
    output = wrk(server.port, sent, connections)
    used = server.used_since(before)
    fields = dict(pair.split("=") for pair in output.strip().splitlines()[-1].split())
    pairs = [map(int, pair.split(":")) for pair in fields.pop("latencies_us", "").split(",") if pair]
    result = {key: int(value) for key, value in fields.items()}
    if result["requests"] < connections:
        raise TooFew(f"{' '.join(sent)}, {connections} connections: {result['requests']} requests answered")
    latencies = measured_latencies(pairs, result["duration_us"], result["requests"], connections)
    result["p50_us"], result["p99_us"] = percentile(latencies, 50), percentile(latencies, 99)
    result["rate"] = result["requests"] * 1e6 / result["duration_us"]
    result["errors"] = result["status_errors"] + result["socket_errors"] + result["timeouts"]
    return {**result, **costs(used, result["requests"]), "peak_kib": server.peak_memory()}


def measure_rate(server):
    """What h2load and the kernel counted in the RATE_SECONDS after the WARM_UP_SECONDS."""
    each = RATE / STEADY_CONNECTIONS
    count = math.ceil(each * (WARM_UP_SECONDS + RATE_SECONDS + 0.5)) * STEADY_CONNECTIONS
    with tempfile.NamedTemporaryFile() as log:
        command = pinned(1) + ["h2load", "--h1", "--clients", str(STEADY_CONNECTIONS), "--rate", "10", "--rate-period",
                               "1ms", "--rps", str(each), "--requests", str(count), "--log-file", log.name,
                               f"http://127.0.0.1:{server.port}/pipeline"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
            try:
                time.sleep(WARM_UP_SECONDS)
                before, begin_us = server.usage(), time.time() * 1e6
                time.sleep(RATE_SECONDS)
                used, end_us = server.used_since(before), time.time() * 1e6
                client.wait(timeout=WRK_SPARE_SECONDS)
            except subprocess.TimeoutExpired:
                raise SystemExit("bench: h2load does not end") from None
            finally:
                client.kill()
        rows = [tuple(map(int, line.split())) for line in log]
    result = figures_of_log(rows, begin_us, end_us)
    return {**result, **costs(used, result["requests"]), "peak_kib": server.peak_memory(),
            "errors": count - sum(status == 200 for _, status, _ in rows)}


def watch(server, connections):
    """What the server does in some seconds while nothing arrives on `connections` connections."""
    peers = []
    try:
        for _ in range(connections):
            peers.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            peers[-1].sendall(PIPELINED_REQUEST)
        unanswered = sum(not peer.recv(4096) for peer in peers)
    except OSError as error:
        raise SystemExit(f"bench: {connections} idle connections: {error}") from None
    time.sleep(1.2)  # until a clock that runs only while there are connections has stopped
    before = server.usage()
    time.sleep(1 if QUICK else 2)
    used = costs(server.used_since(before), 1)
    for peer in peers:
        peer.close()
    return {"errors": unanswered, "cpu_share": used["cpu_share"], "switches": used["switches"],
            "peak_kib": server.peak_memory()}


def mote(port, *options):
    return [SERVER, *options, "--threads", str(WORKERS), "--port", str(port)]


def nginx(port, folder):
    configuration = folder / f"nginx-{port}.conf"
    workers = "master_process off;" if WORKERS == 1 else f"worker_processes {WORKERS}; user root;"
    configuration.write_text(NGINX_CONFIGURATION.format(folder=folder, port=port, workers=workers))
    return ["nginx", "-p", str(folder), "-c", str(configuration), "-e", "stderr"]


def haproxy(port, folder):
    configuration = folder / f"haproxy-{port}.cfg"
    rules = "\n".join(f"  http-request return status 200 content-type text/plain file {folder}/files/{size} "
                      f"if {{ path /{size} }}" for size in RETURNED_SIZES)
    configuration.write_text(HAPROXY_CONFIGURATION.format(port=port, workers=WORKERS, rules=rules))
    return ["haproxy", "-db", "-f", str(configuration)]


def lighttpd(port, folder):
    configuration = folder / f"lighttpd-{port}.conf"
    configuration.write_text(LIGHTTPD_CONFIGURATION.format(folder=folder, port=port))
    return ["lighttpd", "-D", "-f", str(configuration)]


def node(port, _):
    return ["node", "--eval", NODE_PROGRAM.format(port=port)]


def make_files(folder):
    """Those that nginx, HAProxy and lighttpd answer with."""
    (folder / "files").mkdir()
    (folder / "files" / "pipeline").write_text("ok")
    for name, size in SIZES.items():
        (folder / "files" / name).write_text("x" * size)


def servers_of(profile, connections, folder):
    """Name, command for a port, and what wrk sends, of each server that can be measured: ratios are to the first."""
    if profile == "delay":
        yield "baseline", mote, ("baseline",)
        yield "mote", mote, ("get", f"/delay/{DELAY_MS}")
        return
    request_bytes = len(PIPELINED_REQUEST) if profile == "pipelined" else 0
    last_bytes = len(LAST_REQUEST) if profile == "short" else 0
    yield "floor", lambda port: [str(folder / "floor"), *map(str, (port, request_bytes, last_bytes))], (profile,)
    yield "mote", mote, (profile,)
    if profile == "baseline" and connections == 512:
        yield "open", lambda port: mote(port, "--no-sandbox"), (profile,)
    others = OTHERS if profile == "rate" else ["nginx"] if profile not in UNASKED and connections < MANY else []
    for name in others:
        if shutil.which(name):
            yield name, lambda port, name=name: globals()[name](port, folder), (profile,)


def run_once(profile, connections, command, sent):
    """A run against a server of its own."""
    port = free_port()
    server = Server(command(port), port)
    try:
        if profile == "rate":
            return measure_rate(server)
        return watch(server, connections) if profile in UNASKED else measure(server, sent, connections)
    finally:
        server.stop()


def run(profile, connections, folder):
    """All rounds of a profile: the results by server, in the order of the rounds; None if there is no measuring it."""
    runs = {}
    servers = list(servers_of(profile, connections, folder))
    rounds = min(ROUNDS, UNASKED_ROUNDS) if profile in UNASKED else RATE_ROUNDS if profile == "rate" else ROUNDS
    for number in range(rounds):
        for name, command, sent in reversed(servers) if number % 2 else servers:
            try:
                result = run_once(profile, connections, command, sent)
            except TooFew:  # a moment in which the machine did something else
                try:
                    result = run_once(profile, connections, command, sent)
                except TooFew as error:
                    print(f"{error}, twice: left out", flush=True)
                    return None
            runs.setdefault(name, []).append(result)
    for name, results in runs.items():
        for mine, first in zip(results, runs[servers[0][0]]):
            key = "cpu_ns" if "cpu_ns" in mine else "cpu_share"
            mine["ratio"] = mine[key] / first[key] if first[key] else None
            if profile == "rate":
                mine["p99_ratio"] = mine["p99_us"] / first["p99_us"]
    return {name: runs[name] for name, _, _ in servers}


def spread(results, value):
    """Median, lowest and highest of a value over the rounds."""
    values = [value(result) for result in results]
    return statistics.median(values), min(values), max(values)


def print_speed(profile, connections, runs):
    for name, results in runs.items():
        def median(key):
            return spread(results, lambda result: result[key])[0]
        cpu, ratio = (spread(results, lambda result: result[key]) for key in ("cpu_ns", "ratio"))
        print(f"{profile:<9} {connections:>6} {name:<8} {median('rate'):>10.0f} {median('p50_us'):>7.0f} "
              f"{median('p99_us'):>8.0f} {cpu[0]:>7.0f} {cpu[1]:>6.0f} {cpu[2]:>6.0f} {median('user_ns'):>6.0f} "
              f"{median('system_ns'):>6.0f} {max(result['peak_kib'] for result in results):>7} "
              f"{sum(result['errors'] for result in results):>6}  {ratio[0]:>5.2f} {ratio[1]:>5.2f} {ratio[2]:>5.2f}",
              flush=True)


def print_rate(profile, connections, runs):
    print("\nprofile    conns server   requests/s mean us  p50 us   p99 us (   low    high) p99.9 us  CPU ns  (low  "
          "high)     KiB errors  CPU ratio (low high)  p99 ratio (low high)")
    for name, results in runs.items():
        def of(key):
            return spread(results, lambda result: result[key])
        p99, cpu, ratio, p99_ratio = map(of, ("p99_us", "cpu_ns", "ratio", "p99_ratio"))
        print(f"{profile:<9} {connections:>6} {name:<8} {of('rate')[0]:>10.0f} {of('mean_us')[0]:>7.0f} "
              f"{of('p50_us')[0]:>7.0f} {p99[0]:>8.0f} {p99[1]:>7.0f} {p99[2]:>8.0f} {of('p999_us')[0]:>8.0f} "
              f"{cpu[0]:>7.0f} {cpu[1]:>6.0f} {cpu[2]:>6.0f} {of('peak_kib')[2]:>7} "
              f"{sum(result['errors'] for result in results):>6}  {ratio[0]:>9.2f} {ratio[1]:>5.2f} {ratio[2]:>5.2f} "
              f"{p99_ratio[0]:>10.2f} {p99_ratio[1]:>5.2f} {p99_ratio[2]:>5.2f}", flush=True)


def print_unasked(profile, connections, runs):
    for name, results in runs.items():
        share = spread(results, lambda result: result["cpu_share"] * 1e9)
        slept, taken = (spread(results, lambda result: result["switches"][kind]) for kind in (0, 1))
        ratios = [result["ratio"] for result in results if result["ratio"] is not None]
        ratio = f"{statistics.median(ratios):>5.2f} {min(ratios):>5.2f} {max(ratios):>5.2f}" if ratios else "    -"
        print(f"{profile:<9} {connections:>6} {name:<8} {share[0]:>8.0f} {share[1]:>10.0f} {share[2]:>10.0f} "
              f"{slept[0]:>9.1f} {taken[0]:>9.1f} {sum(result['errors'] for result in results):>6}  {ratio}",
              flush=True)


def first_line(*command):
    """What a program says of its version."""
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    return (output.stdout + output.stderr).partition("\n")[0].strip()


def versions():
    """Of all that is installed, in the order in which they are named."""
    commands = {"g++": ("g++", "--version"), "wrk": ("wrk", "--version"), "h2load": ("h2load", "--version"),
                "mote": (SERVER, "--version"), "nginx": ("nginx", "-v"), "haproxy": ("haproxy", "-v"),
                "lighttpd": ("lighttpd", "-v"), "node": ("node", "--version")}
    said = {"Linux": platform.release(),
            **{name: first_line(*command) for name, command in commands.items() if shutil.which(command[0])}}
    return {name: re.search(r"\d+(\.\d+)+", line)[0] for name, line in said.items()}


def bytes_with_libraries(program):
    """The size of a program and of the shared libraries that it is linked with."""
    output = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return sum(os.stat(file).st_size for file in [program, *re.findall(r"(/\S+) \(0x", output)])


def describe_machine(folder):
    programs = {"floor": folder / "floor", "mote": SERVER, **{name: shutil.which(name) for name in OTHERS}}
    model = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 platform.machine())
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"), "cpu": model,
            "cpus": len(os.sched_getaffinity(0)), "versions": versions(),
            "binary_bytes": {name: bytes_with_libraries(program) for name, program in programs.items() if program}}


def quartile(values, number):
    values = list(values)
    return statistics.quantiles(values, n=4, method="inclusive")[number] if len(values) > 1 else values[0]


def summary(results):
    """Medians, quartiles, lowest and highest of every figure that all runs have."""
    keys = [key for key in results[0] if all(isinstance(result[key], (int, float)) for result in results)]
    figures = {name: {key: of(result[key] for result in results) for key in keys}
               for name, of in (("medians", statistics.median), ("lower", lambda values: quartile(values, 0)),
                                ("upper", lambda values: quartile(values, 2)), ("lowest", min), ("highest", max))}
    figures["medians"]["switches"] = [statistics.median(kind)
                                      for kind in zip(*(result["switches"] for result in results))]
    return figures


def write_results(machine, measured, slices):
    """`measured`: profile, connections and runs of each row of the tables; `slices`: what test/slices.py writes."""
    rows = [{"profile": profile, "connections": connections, "server": name, "runs": len(runs_of_one),
             **summary(runs_of_one), "rounds": runs_of_one}
            for profile, connections, runs in measured for name, runs_of_one in runs.items()]
    results = {"machine": machine, "rounds": ROUNDS, "seconds": SECONDS, "quick": QUICK, "rows": rows, "slices": slices}
    JSON.parent.mkdir(parents=True, exist_ok=True)
    JSON.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nall runs: {JSON}")
    if chart.is_enough(results):
        chart.draw(results, CHARTS)
        print(f"charts: {CHARTS}")


def check_settings():
    """Raises SystemExit with one line if something is missing that no measurement can do without."""
    tools = ("wrk", "taskset", "g++", "ldd", *(["h2load"] if "rate" in PROFILES else []))
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"bench: missing: {' '.join(missing)} (apt-get install wrk util-linux g++ nghttp2-client)")
    if not os.access(SERVER, os.X_OK):
        raise SystemExit(f"bench: no server to measure at {SERVER} (./build.sh makes one)")
    unknown = set(PROFILES) - set(ALL_PROFILES.split())
    if unknown or not PROFILES:
        raise SystemExit(f"bench: unknown or no profiles: {' '.join(unknown)} (there are: {ALL_PROFILES})")
    if min(ROUNDS, SECONDS, WORKERS) < 1:
        raise SystemExit("bench: ROUNDS, SECONDS and WORKERS are at least 1")
    for program, package in OTHERS.items():
        if not shutil.which(program):
            print(f"bench: {program} is not installed (apt-get install {package}): no rows for it", file=sys.stderr)


def build_floor(folder):
    command = ["g++", *FLOOR_FLAGS, "-o", str(folder / "floor"), str(HERE / "floor.cpp")]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit("bench: test/floor.cpp does not compile")


def fits(connections, limit):
    """Whether there are descriptors for so many connections; says so if not."""
    if connections + SPARE_DESCRIPTORS <= limit:
        return True
    print(f"{connections} connections are left out: there are {limit} descriptors (ulimit -Hn)")
    return False


def rows_of_speed(limit):
    """Profile and connections of each, as far as there are descriptors."""
    for connections in (count for count in CONNECTIONS if fits(count, limit)):
        for profile in ("baseline", "pipelined", "short"):
            if profile in PROFILES and (connections < SEVERAL or profile == "baseline"):
                yield profile, connections
    if "delay" in PROFILES:
        counts = DELAY_CONNECTIONS[:1] if QUICK else DELAY_CONNECTIONS
        yield from (("delay", count) for count in counts if fits(count, limit))


def measure_slices(profile, folder):
    """The rows of test/slices.py; none if the machine does too much else."""
    profiles, others = SLICES[profile]
    others = [name for name in others.split() if name == "floor" or shutil.which(name)]
    results = folder / "slices.json"
    settings = {"SERVER": " ".join(others), "MOTE": SERVER, "JSON": str(results), "READING": "copy",
                "ROUNDS": str(SLICES_ROUNDS)}
    print(flush=True)
    inherited = {name: value for name, value in os.environ.items() if name != "CONNECTIONS"}
    command = [sys.executable, HERE / "slices.py", *profiles.split()]
    with subprocess.Popen(command, env={**inherited, **settings}) as slices:
        try:
            status = slices.wait()
        finally:
            slices.terminate()  # unlike killing it this lets it stop its servers
    return json.loads(results.read_text()) if status == 0 else []


def measure_rate_of_all(folder, limit):
    if fits(STEADY_CONNECTIONS, limit):
        runs = run("rate", STEADY_CONNECTIONS, folder)
        print_rate("rate", STEADY_CONNECTIONS, runs)
        yield "rate", STEADY_CONNECTIONS, runs


def measure_speed(folder, limit):
    print("\nprofile    conns server   requests/s  p50 us   p99 us  CPU ns  (low  high)   user system     KiB errors  "
          "ratio  (low  high)")
    for profile, connections in rows_of_speed(limit):
        runs = run(profile, connections, folder)
        if runs:
            print_speed(profile, connections, runs)
        if runs and profile == "delay":
            possible = connections * 1000 / DELAY_MS
            share = spread(runs["mote"], lambda result: result["rate"])[0] / possible
            print(f"{connections} connections allow {possible:,.0f} requests/s: this is {share:.0%} of it", flush=True)
        yield profile, connections, runs


def measure_unasked(folder, limit):
    print("\nslept, taken: voluntary and involuntary context switches"
          "\nprofile    conns server   CPU ns/s       (low      high)   slept/s   taken/s errors  "
          "ratio  (low  high)")
    for profile, connections in (("idle", STEADY_CONNECTIONS), ("asleep", 0)):
        if profile in PROFILES and fits(connections, limit):
            runs = run(profile, connections, folder)
            if runs:
                print_unasked(profile, connections, runs)
            yield profile, connections, runs


def raise_descriptor_limit():
    """To the hard limit, and returns that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def main():
    check_settings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))  # by way of what stops the servers
    limit = raise_descriptor_limit()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build_floor(folder)
        make_files(folder)
        machine = describe_machine(folder)
        print("\n".join(f"{key}: {value}" for key, value in machine.items()))
        print(f"\n{ROUNDS} rounds, {SECONDS} s a run; medians, lowest and highest"
              f"{'; QUICK: these figures are rough' if QUICK else ''}", flush=True)
        slices = {profile: measure_slices(profile, folder) for profile in SLICES if profile in PROFILES}
        measured = []
        if "rate" in PROFILES:
            measured += measure_rate_of_all(folder, limit)
        if {"baseline", "pipelined", "short", "delay"} & set(PROFILES):
            measured += measure_speed(folder, limit)
        if set(UNASKED) & set(PROFILES):
            measured += measure_unasked(folder, limit)
    left_out = [profile for profile, rows in slices.items() if not rows]
    left_out += [profile for profile, _, runs in measured if not runs]
    measured = [row for row in measured if row[2]]
    write_results(machine, measured, [row for rows in slices.values() for row in rows])
    for profile, _, runs in measured:
        if profile == "asleep" and any(sum(result["switches"]) for result in runs["mote"]):
            raise SystemExit("bench: mote ran while there was no connection")
    if left_out:
        raise SystemExit(f"bench: left out: {' '.join(left_out)}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")
