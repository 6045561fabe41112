#!/usr/bin/env python3
"""Measures what a request costs: mote beside the floor (test/floor.cpp) and, if they are installed, nginx and HAProxy.

Each server runs with one worker on one CPU and the load on another, if there are two. The servers take turns within a
round, in reverse order in every other one, so that whatever else the machine does falls on all of them. Figures are
medians over the rounds with the lowest and the highest; a ratio is that of one round, to the floor in the same round.
CPU time is what the kernel counts for the server's threads (/proc/PID/task/*/schedstat), split into user and system as
/proc/PID/task/*/stat has it, in clock ticks. It includes making the connections, of which there are many for the
requests of a second at the higher counts.

At 512 connections there is a row more in the baseline, "open": mote with --no-sandbox.

Profiles:
  baseline, pipelined, short
         what test/requests.lua sends, as fast as it is answered; at 16,000 connections only the baseline, without nginx
  sizes  GET /?s=100, 16k, 64k and 1m over 64 connections. nginx sends files of these sizes by sendfile. HAProxy returns
         100 bytes and 16 KiB from its memory. The ratios are to nginx.
  delay  GET /delay/10 over 512 and 15,000 connections. A connection is answered 100 times a second at most. The ratio
         is to the row "baseline": the baseline of the same server.
  fixed  the baseline some 10,000 times a second over 1,024 connections
  idle   1,024 connections that have sent one request each and then nothing
  asleep no connection at all
The last three are not about speed, but about what the server does unasked; nginx has no part in idle and asleep. Counts
for which there are not enough descriptors (ulimit -Hn) are left out.

Prints tables as it goes; then writes all runs, their medians and the machine's description to JSON, and draws charts
(test/chart.py): those of the README in test/charts/, or beside JSON if any of the settings below is given or nginx is
missing, for then the figures are others. Exit status 1 after one line that says why: a tool or a server is missing or
does not do its part, or mote's threads ran while there was no connection. A run with errors is shown, and ends nothing.
One in which wrk has not made all its connections is repeated once; if it fails again, the row is left out, and the
status is 1.

Environment, all optional:
  ROUNDS       how often every server has its turn (10; at idle and asleep no more than 3)
  SECONDS      length of a run in whole seconds, as wrk takes them (1; at 16,000 connections at least 4)
  CONNECTIONS  counts for baseline, pipelined and short ("64 512 4096 16000")
  PROFILES     which ones ("baseline pipelined short sizes delay fixed idle asleep")
  JSON         where the results go (.bench/results.json)
  SERVER       the mote to measure (./server)
  WORKERS      of each server but the floor (1); with more, they and the load share all CPUs
  QUICK=1      a rough look in about a minute: two rounds, 512 connections, if the above do not say otherwise; two of
               the sizes, and delay with 512 connections only
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

import chart

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
QUICK = os.environ.get("QUICK", "") not in ("", "0")
ROUNDS = int(os.environ.get("ROUNDS", "2" if QUICK else "10"))
SECONDS = int(os.environ.get("SECONDS", "1"))
CONNECTIONS = [int(count) for count in os.environ.get("CONNECTIONS", "512" if QUICK else "64 512 4096 16000").split()]
ALL_PROFILES = "baseline pipelined short sizes delay fixed idle asleep"
PROFILES = os.environ.get("PROFILES", ALL_PROFILES).split()
JSON = pathlib.Path(os.environ.get("JSON", ROOT / ".bench" / "results.json"))
SERVER = os.environ.get("SERVER", str(ROOT / "server"))
WORKERS = int(os.environ.get("WORKERS", "1"))
HAS_SETTINGS = any(map(os.environ.get, ("ROUNDS", "SECONDS", "CONNECTIONS", "PROFILES", "JSON", "SERVER", "WORKERS",
                                        "QUICK")))
CHARTS = JSON.parent if HAS_SETTINGS or not shutil.which("nginx") else HERE / "charts"
MANY = 10000  # connections from which on wrk needs seconds to make them
MANY_SECONDS = 4
SPARE_DESCRIPTORS = 100  # what wrk and the servers need besides connections
WRK_SPARE_SECONDS = 60  # beyond its duration, until it counts as hung
UNASKED = ("idle", "asleep")  # profiles that wrk has no part in
UNASKED_ROUNDS = 3  # at most: what is counted in them hardly varies
STEADY_CONNECTIONS = 1024  # of the profiles fixed and idle
SIZES = {"100": 100, "16k": 16 << 10, "64k": 64 << 10, "1m": 1 << 20}
RETURNED_SIZES = ("100", "16k")  # what HAProxy can answer by itself: it needs a buffer of that size for each connection
SIZES_CONNECTIONS = 64
DELAY_CONNECTIONS = (512, 15000)
DELAY_MS = 10
SIZES_PROFILES = [f"s={size}" for size in (("100", "64k") if QUICK else SIZES)]
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
  maxconn 1000
defaults
  mode http
  timeout client 60s
frontend sizes
  bind 127.0.0.1:{port} backlog 65535
{rules}
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


def measure(server, sent, connections):
    """One run of wrk against `server`: what it and the kernel counted meanwhile."""
    before, switches_before, start = server.cpu(), server.switches(), time.monotonic()
    output = wrk(server.port, sent, connections)
    elapsed = time.monotonic() - start
    total, user, system = (after - start for after, start in zip(server.cpu(), before))
    fields = dict(pair.split("=") for pair in output.strip().splitlines()[-1].split())
    pairs = [map(int, pair.split(":")) for pair in fields.pop("latencies_us", "").split(",") if pair]
    result = {key: int(value) for key, value in fields.items()}
    if result["requests"] < connections:
        raise TooFew(f"{' '.join(sent)}, {connections} connections: {result['requests']} requests answered")
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
    try:
        for _ in range(connections):
            peers.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            peers[-1].sendall(PIPELINED_REQUEST)
        unanswered = sum(not peer.recv(4096) for peer in peers)
    except OSError as error:
        raise SystemExit(f"bench: {connections} idle connections: {error}") from None
    time.sleep(1.2)  # until a clock that runs only while there are connections has stopped
    before, switches_before, start = server.cpu()[0], server.switches(), time.monotonic()
    time.sleep(1 if QUICK else 2)
    elapsed = time.monotonic() - start
    result = {"rate": 0, "errors": unanswered, "cpu_share": (server.cpu()[0] - before) / 1e9 / elapsed,
              "switches": [(after - start) / elapsed for after, start in zip(server.switches(), switches_before)],
              "peak_kib": server.peak_memory()}
    for peer in peers:
        peer.close()
    return result


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


def make_files(folder):
    """Those that nginx and HAProxy answer with."""
    (folder / "files").mkdir()
    for name, size in SIZES.items():
        (folder / "files" / name).write_text("x" * size)


def servers_of(profile, connections, folder):
    """Name, command for a port, and what wrk sends, of each server that can be measured: ratios are to the first."""
    if profile in SIZES_PROFILES:
        size = profile.removeprefix("s=")
        if shutil.which("nginx"):
            yield "nginx", lambda port: nginx(port, folder), ("get", f"/{size}")
        yield "mote", mote, ("get", f"/?s={size}")
        if shutil.which("haproxy") and size in RETURNED_SIZES:
            yield "haproxy", lambda port: haproxy(port, folder), ("get", f"/{size}")
        return
    if profile == "delay":
        yield "baseline", mote, ("baseline",)
        yield "mote", mote, ("get", f"/delay/{DELAY_MS}")
        return
    request_bytes = len(PIPELINED_REQUEST) if profile == "pipelined" else 0
    floor = [str(folder / "floor"), str(request_bytes), str(len(LAST_REQUEST))]
    yield "floor", lambda port: [floor[0], str(port), *floor[1:]], (profile,)
    yield "mote", mote, (profile,)
    if profile == "baseline" and connections == 512:
        yield "open", lambda port: mote(port, "--no-sandbox"), (profile,)
    if shutil.which("nginx") and profile not in UNASKED and connections < MANY:
        yield "nginx", lambda port: nginx(port, folder), (profile,)


def run_once(profile, connections, command, sent):
    """A run against a server of its own."""
    port = free_port()
    server = Server(command(port), port)
    try:
        return watch(server, connections) if profile in UNASKED else measure(server, sent, connections)
    finally:
        server.stop()


def run(profile, connections, folder):
    """All rounds of a profile: the results by server, in the order of the rounds; None if there is no measuring it."""
    runs = {}
    servers = list(servers_of(profile, connections, folder))
    for number in range(min(ROUNDS, UNASKED_ROUNDS) if profile in UNASKED else ROUNDS):
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


def print_unasked(profile, connections, runs):
    for name, results in runs.items():
        share = spread(results, lambda result: result["cpu_share"] * 1e9)
        slept, taken = (spread(results, lambda result: result["switches"][kind]) for kind in (0, 1))
        ratios = [result["ratio"] for result in results if result["ratio"] is not None]
        ratio = f"{statistics.median(ratios):>5.2f} {min(ratios):>5.2f} {max(ratios):>5.2f}" if ratios else "    -"
        print(f"{profile:<9} {connections:>6} {name:<8} {spread(results, lambda result: result['rate'])[0]:>10.0f} "
              f"{share[0]:>11.0f} {share[1]:>10.0f} {share[2]:>10.0f} {slept[0]:>9.1f} {taken[0]:>9.1f} "
              f"{sum(result['errors'] for result in results):>6}  {ratio}", flush=True)


def first_line(*command):
    """What a program says of its version."""
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    return (output.stdout + output.stderr).partition("\n")[0].strip()


def describe_machine(folder):
    programs = {"floor": folder / "floor", "mote": SERVER, "nginx": shutil.which("nginx")}
    model = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 platform.machine())
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"), "cpu": model,
            "cpus": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "compiler": first_line("g++", "--version"),
            "wrk": first_line("wrk", "--version").removeprefix("wrk ").partition(" ")[0],
            "nginx": first_line("nginx", "-v").rpartition("/")[2] if shutil.which("nginx") else None,
            "haproxy": first_line("haproxy", "-v").split()[2] if shutil.which("haproxy") else None,
            "binary_bytes": {name: os.stat(program).st_size for name, program in programs.items() if program}}


def summary(results):
    """Medians, lowest and highest of every figure that all runs have."""
    keys = [key for key in results[0] if all(isinstance(result[key], (int, float)) for result in results)]
    figures = {name: {key: of(result[key] for result in results) for key in keys}
               for name, of in (("medians", statistics.median), ("lowest", min), ("highest", max))}
    figures["medians"]["switches"] = [statistics.median(kind)
                                      for kind in zip(*(result["switches"] for result in results))]
    return figures


def write_results(machine, measured):
    """`measured`: profile, connections and runs of each row of the tables."""
    rows = [{"profile": profile, "connections": connections, "server": name, **summary(runs_of_one),
             "rounds": runs_of_one} for profile, connections, runs in measured for name, runs_of_one in runs.items()]
    results = {"machine": machine, "rounds": ROUNDS, "seconds": SECONDS, "quick": QUICK, "rows": rows}
    JSON.parent.mkdir(parents=True, exist_ok=True)
    JSON.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nall runs: {JSON}")
    if chart.is_enough(results):
        chart.draw(results, CHARTS)
        print(f"charts: {CHARTS}")


def check_settings():
    """Raises SystemExit with one line if something is missing that no measurement can do without."""
    missing = [tool for tool in ("wrk", "taskset", "g++") if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"bench: missing: {' '.join(missing)} (apt-get install wrk util-linux g++)")
    if not os.access(SERVER, os.X_OK):
        raise SystemExit(f"bench: no server to measure at {SERVER} (./build.sh makes one)")
    unknown = set(PROFILES) - set(ALL_PROFILES.split())
    if unknown or not PROFILES:
        raise SystemExit(f"bench: unknown or no profiles: {' '.join(unknown)} (there are: {ALL_PROFILES})")
    if min(ROUNDS, SECONDS, WORKERS) < 1:
        raise SystemExit("bench: ROUNDS, SECONDS and WORKERS are at least 1")
    for program, package in ("nginx", "nginx-light"), ("haproxy", "haproxy"):
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
            if profile in PROFILES and (connections < MANY or profile == "baseline"):
                yield profile, connections
        if connections >= MANY:
            print(f"{connections} connections only on the baseline and without nginx: each run takes "
                  f"{max(SECONDS, MANY_SECONDS)} s")
    if "sizes" in PROFILES:
        yield from ((profile, SIZES_CONNECTIONS) for profile in SIZES_PROFILES)
    if "delay" in PROFILES:
        counts = DELAY_CONNECTIONS[:1] if QUICK else DELAY_CONNECTIONS
        yield from (("delay", count) for count in counts if fits(count, limit))


def measure_speed(folder, limit):
    print("profile    conns server   requests/s  p50 us   p99 us  CPU ns  (low  high)   user system     KiB errors  "
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
          "\nprofile    conns server   requests/s    CPU ns/s       (low      high)   slept/s   taken/s errors  "
          "ratio  (low  high)")
    for profile, connections in (("fixed", STEADY_CONNECTIONS), ("idle", STEADY_CONNECTIONS), ("asleep", 0)):
        if profile in PROFILES and fits(connections, limit):
            runs = run(profile, connections, folder)
            if runs:
                print_unasked(profile, connections, runs)
            yield profile, connections, runs


def main():
    check_settings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))  # by way of what stops the servers
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build_floor(folder)
        make_files(folder)
        machine = describe_machine(folder)
        print("\n".join(f"{key}: {value}" for key, value in machine.items()))
        print(f"\n{ROUNDS} rounds, {SECONDS} s a run; medians, lowest and highest"
              f"{'; QUICK: these figures are rough' if QUICK else ''}", flush=True)
        measured = []
        if {"baseline", "pipelined", "short", "sizes", "delay"} & set(PROFILES):
            measured += measure_speed(folder, limit)
        if {"fixed", *UNASKED} & set(PROFILES):
            measured += measure_unasked(folder, limit)
    left_out = [profile for profile, _, runs in measured if not runs]
    measured = [row for row in measured if row[2]]
    write_results(machine, measured)
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
