#!/usr/bin/env python3
"""Measures what many workers cost, on however few CPUs.

usage: workers.py [THREADS...]      (1 2 64)

Starts ./server with so many workers, one server after the other. Prints a line for each:

  start       until it says where it listens, in ms
  memory      the peak of the process without a connection, and with 4,096, in KiB
  connect     the median of 4,096 calls of connect(2), in us: on loopback they include the choice of a listener
  of 512      the connections of the worker that has fewest, and of the one that has most
  of 4,096    the same
  end         from SIGTERM, with 4,096 idle connections, in ms
"""
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import bench
from peers import Answers, OK, connect, counted, memory_kib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def connect_and_ask(port):
    """A connection that has been answered once, and the microseconds that connecting took."""
    start = time.perf_counter()
    peer = connect(port)
    taken_us = (time.perf_counter() - start) * 1e6
    peer.sendall(OK)
    assert Answers(peer).next() is not None, "the server closed a connection"
    return peer, taken_us


def measure(threads, log):
    start = time.perf_counter()
    with open(log, "w") as stderr:
        server = subprocess.Popen([ROOT / "server", "--threads", str(threads), "--port", "0"], stderr=stderr)
    try:
        while "sandboxed" not in log.read_text():
            assert server.poll() is None, "the server did not start"
        start_ms = (time.perf_counter() - start) * 1000
        port = int(log.read_text().split("]:")[1].split("/")[0])
        idle_kib = memory_kib(server.pid, "VmHWM")
        peers, spread = [], []
        for count in 512, 4096:
            peers += [connect_and_ask(port) for _ in range(count - len(peers))]
            found = [worker["open"] for worker in counted(server.pid, threads)]
            spread.append(f"{min(found)} to {max(found)}")
        memory = f"{idle_kib}; {memory_kib(server.pid, 'VmHWM')}"
        connect_us = statistics.median(taken_us for _, taken_us in peers)
        time.sleep(2)  # after a second without a request a connection counts as idle
        start = time.perf_counter()
        server.send_signal(signal.SIGTERM)
        server.wait()
        end_ms = (time.perf_counter() - start) * 1000
    finally:
        server.kill()
    print(f"{threads:>7}  {start_ms:>5.1f}  {memory:>12}  {connect_us:>7.1f}  {spread[0]:>10}  {spread[1]:>12}  "
          f"{end_ms:>5.0f}", flush=True)


def main():
    bench.raise_descriptor_limit()
    print("threads  start        memory  connect      of 512      of 4,096    end")
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "log"
        os.environ["server_log"] = str(log)  # for counted()
        for threads in sys.argv[1:] or ("1", "2", "64"):
            measure(int(threads), log)


if __name__ == "__main__":
    main()
