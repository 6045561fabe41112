"""Thousands of connections that send in the same moment, every second one a request and the others a part of a head, and
then nothing until the server ends them.

usage: masses.py PORT COUNT       says how long sending took, and stays until its input ends
"""
import sys

from peers import *

port, count = map(int, sys.argv[1:])
peers = [connect(port, source=f"127.0.0.{2 + n % 8}") for n in range(count)]
start = time.monotonic()
for n, peer in enumerate(peers):
    peer.send(OK[:n % 2 or None])
print(f"{time.monotonic() - start:.2f}", flush=True)
sys.stdin.read()
