"""Peers that send on and on, each in the hope that its connection never ends."""
from concurrent.futures import ThreadPoolExecutor

from peers import *

CHUNKED = b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def used(port):
    """A connection that is idle."""
    peer = connect(port)
    peer.sendall(OK)
    assert Answers(peer).next()[0] == 200
    return peer


def end_of_flood(peer, pieces, patience):
    """Sends the pieces, which a generator may make as slowly as it likes, until the stream ends. Returns the seconds
    that took, None if it does not end, and what was received."""
    start = time.monotonic()
    is_over = threading.Event()
    received = []
    ended_at = []

    def read():
        peer.settimeout(patience)
        try:
            while piece := peer.recv(65536):
                received.append(piece)
            ended_at.append(time.monotonic())
        except ConnectionError:
            ended_at.append(time.monotonic())
        except TimeoutError:
            pass
        is_over.set()
    reader = threading.Thread(target=read)
    reader.start()
    writer = peer.dup()
    writer.settimeout(patience + 1)
    try:
        for piece in pieces:
            if is_over.is_set():
                break
            writer.sendall(piece)
    except OSError:
        pass
    reader.join()
    writer.close()
    return ended_at[0] - start if ended_at else None, b"".join(received)


def endlessly(piece, pause=0):
    """The piece again and again, with a pause in s behind each."""
    while True:
        yield piece
        if pause:
            time.sleep(pause)


def in_turn(*steps):
    """Pieces and pauses behind them, again and again."""
    while True:
        for piece, pause in steps:
            yield piece
            time.sleep(pause)


def first(piece, pieces):
    yield piece
    yield from pieces


def expect_ends(rows):
    """Floods connections at the same time. Each row: a name, a connection, what floods it, its limit in s, how much later
    it may end, and the status of the answer. Without a status any end will do, an early one as well."""
    def run(row):
        _, peer, pieces, limit, margin, _ = row
        return end_of_flood(peer, pieces, limit + margin)
    with ThreadPoolExecutor(len(rows)) as pool:
        results = list(pool.map(run, rows))
    failures = []
    for (name, peer, _, limit, margin, status), (seconds, received) in zip(rows, results):
        what = "has not ended" if seconds is None else f"ended after {seconds:.1f} s"
        what = f"{name}: {what} (limit {limit} s), received {received[:12]}"
        print(what)
        if seconds is None or status is not None and (
                seconds < limit - 0.05 or not received.startswith(b"HTTP/1.1 %d " % status)):
            failures.append(what)
        peer.close()
    assert not failures, failures
