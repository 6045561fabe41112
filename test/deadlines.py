"""Connections whose time is over: scenarios that run at the same time, and when each of them ends.

A scenario is a function that returns the seconds until its connection ended, and what has come until then. A limit of n
seconds ends between n and n + 1 seconds, for the server's clock ticks once a second.
"""
from concurrent.futures import ThreadPoolExecutor

from peers import *

POST = b"POST /baseline11 HTTP/1.1\r\nHost: a\r\n"


def end_of(peer, start, sender=None):
    """Calls `sender` every 100 ms until the stream ends."""
    received = b""
    peer.settimeout(0.1)
    while True:
        try:
            piece = peer.recv(65536)
        except TimeoutError:
            assert time.monotonic() < start + 12, f"it is still open: {received!r}"
            if sender:
                try:
                    sender(peer)
                except OSError:
                    pass
            continue
        except ConnectionResetError:
            piece = b""
        if not piece:
            return time.monotonic() - start, received
        received += piece


def trickle(data):
    bytes_left = iter(data)
    return lambda peer: peer.send(bytes([next(bytes_left, 0x61)]))


def expect(*rows):
    """Each row: a scenario, its limit in seconds, the status of the answer or None if there is none, and how it ends."""
    with ThreadPoolExecutor(len(rows)) as pool:
        results = list(pool.map(lambda row: row[0](), rows))
    for (scenario, limit, status, *end), (seconds, received) in zip(rows, results):
        name = scenario.__name__
        assert limit - 0.05 <= seconds <= limit + 1.5, \
            f"{name}: ended after {seconds:.2f} s instead of {limit} to {limit + 1}"
        if status is None:
            assert received == b"", f"{name}: {received!r}"
        else:
            assert received.startswith(b"HTTP/1.1 %d " % status) and b"\r\nConnection: close\r\n" in received, \
                f"{name}: {received!r}"
            assert received.endswith(*end), f"{name}: {received!r}"
