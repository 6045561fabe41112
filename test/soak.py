#!/usr/bin/env python3
"""Good, bad, slow, late, long and aborted traffic at once for a long time; then memory, descriptors and answers are
checked.

usage: soak.py [SECONDS]     (600 by default)

Starts ./server on a free port, with its default of one worker a CPU. Some of the peers run in threads, some as wrk.
Every answer that is to come is compared, in order; a refusal must be the right one, a peer that is slow or does not
read must be cut off, and a probe every 100 ms must be answered. In the end no connection may be left, no more memory in
use than the blocks take, and the server must end with status 0. Prints a line of figures now and then; the exit status
is 1 if anything was wrong.
"""
import atexit
import collections
import random
import select
import shutil
import signal
import subprocess
import sys

from peers import *

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 600
POST = b"POST /baseline11?n=%d HTTP/1.1\r\nHost: a\r\n"
REFUSED = {
    b"GET /pipeline HTTP/1.1\r\n\r\n": 400,
    b"GET  /pipeline HTTP/1.1\r\nHost: a\r\n\r\n": 400,
    b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx": 400,
    b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n": 413,
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n": 414,
    b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 17000: 431,
    b"FROBNICATE" * 4 + b" / HTTP/1.1\r\n": 501,
    b"GET / HTTP/2.0\r\n": 505,
}


def get(target):
    return b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target


def generated(size):
    """The content of a generated answer."""
    digits = b".123456789" * 5
    return (digits[:49] + b"\n") * (size // 50) + digits[:size % 50]


def some_request(draw):
    """A request and the content of its answer."""
    n, m = draw.randrange(10**9), draw.randrange(10**9)
    kind = draw.randrange(24)
    if kind == 0:
        return get(b"/delay/%d" % (n % 50)), b"%d" % (n % 50)
    if kind == 1:
        size = n % draw.choice((100, 10000, 100000))
        return get(b"/?s=%d&t=%d&p=%d" % (size, m % 20, m % 9000 + 1000)), generated(size)
    kind %= 4
    if kind == 0:
        return OK, b"ok"
    if kind == 1:
        return number(n), b"%d" % n
    content = b"%d" % m
    if kind == 2:
        return POST % n + b"Content-Length: %d\r\n\r\n" % len(content) + content, b"%d" % (n + m)
    cut = draw.randrange(1, len(content) + 1)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (content[:cut], content[cut:]) if piece)
    return POST % n + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", b"%d" % (n + m)


def good(port, draw):
    """Pipelined requests, cut anywhere; every answer is the right one."""
    with connect(port, source="127.0.0.2") as peer:
        answers = Answers(peer)
        for _ in range(draw.randrange(1, 20)):
            requests = [some_request(draw) for _ in range(draw.randrange(1, 30))]
            stream = b"".join(request for request, _ in requests)
            at = 0
            while at < len(stream):
                size = draw.choice((1, 7, 100, 5000))
                peer.sendall(stream[at:at + size])
                at += size
            for request, content in requests:
                found = answers.next()
                assert found and found[2] == content, (request, found and (found[0], found[2][:100]))


def late(port, draw):
    """Reads nothing before everything is sent, which is more than is taken at once."""
    with connect(port, receive_buffer=4096, source="127.0.0.3", timeout=60) as peer:
        count = 3000
        sender = threading.Thread(target=peer.sendall, args=(b"".join(map(number, range(count))),))
        sender.start()
        sender.join(draw.random())
        answers = Answers(peer)
        for n in range(count):
            assert answers.next()[2] == b"%d" % n, "a wrong answer"
        sender.join()


def bad(port, draw):
    """A good request, then one that is refused: the answer is right, and the connection ends."""
    request, status = draw.choice(list(REFUSED.items()))
    with connect(port, source="127.0.0.4") as peer:
        peer.sendall(OK + request + OK * draw.randrange(3))
        answers = Answers(peer)
        assert answers.next()[0] == 200
        found = answers.next()
        assert found[0] == status and b"Connection: close" in found[1], (request[:50], found)
        assert answers.next() is None


def aborted(port, draw):
    """Goes away anywhere in a request or its answer, with a reset or without."""
    peer = connect(port, source="127.0.0.5")
    stream = b"".join(some_request(draw)[0] for _ in range(draw.choice((1, 30))))
    peer.sendall(stream[:draw.randrange(len(stream) + 1)])
    if draw.randrange(2):
        time.sleep(draw.random() / 50)
    abort(peer) if draw.randrange(2) else peer.close()


def slow(port, draw):
    """Sends a byte a second: its request is answered with 408."""
    with connect(port, source="127.0.0.6", timeout=80) as peer:
        answers = Answers(peer)
        if draw.randrange(2):
            peer.sendall(OK)
            assert answers.next()[0] == 200
        start = time.monotonic()
        for byte in OK[:8]:
            peer.send(bytes([byte]))
            time.sleep(1)
        found = answers.next()
        assert found[0] == 408 and 9.9 < time.monotonic() - start < 13, (found, time.monotonic() - start)


def never_reads(port, draw):
    """Is reset, sooner or later."""
    peer = connect(port, receive_buffer=4096, source="127.0.0.7", timeout=60)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    start = time.monotonic()
    try:
        while time.monotonic() < start + 60:
            peer.send(OK * 100)
    except ConnectionError:
        return
    finally:
        peer.close()
    raise AssertionError("it was not cut off")


def long_answers(port, draw):
    """Reads long answers, in chunks or not, fast or slowly."""
    with connect(port, receive_buffer=draw.choice((0, 4096)), source="127.0.0.8", timeout=60) as peer:
        answers = Answers(peer)
        for _ in range(draw.randrange(3)):
            size = draw.randrange(1 << 22)
            peer.sendall(get(b"/?s=%d" % size) + get(b"/delay/1"))
            time.sleep(draw.random() / 5)
            assert answers.next()[2] == generated(size), "a wrong answer"
            assert answers.next()[2] == b"1"
        size, piece = draw.randrange(1 << 20), draw.randrange(1 << 18) + 1000
        peer.sendall(get(b"/?k=1&C=1&s=%d&p=%d&d=%d" % (size, piece, draw.randrange(3))))
        stream = b""
        while received := peer.recv(65536):
            stream += received
        rest, content = stream.partition(b"\r\n\r\n")[2], b""
        while not rest.startswith(b"0\r\n"):
            digits, _, rest = rest.partition(b"\r\n")
            content, rest = content + rest[:int(digits, 16)], rest[int(digits, 16) + 2:]
        assert content == generated(size) and rest == b"0\r\n\r\n", "a wrong answer"


def reads_nothing(port, draw):
    """Asks for a long answer and does not read it: it is reset 20 s later."""
    with connect(port, receive_buffer=4096, source="127.0.0.10") as peer:
        peer.sendall(get(b"/?s=1g"))
        poll, start = select.poll(), time.monotonic()
        poll.register(peer, 0)  # errors only
        assert poll.poll(60000), "it was not cut off"
        assert time.monotonic() - start > 19, "it was cut off early"


def main():
    for program in HERE.parent / "server", "wrk":
        if not shutil.which(program):
            raise SystemExit(f"soak: no {program} (./build.sh makes the server; apt-get install wrk)")
    server = subprocess.Popen([HERE.parent / "server", "--port", "0"], stderr=subprocess.PIPE, text=True)
    atexit.register(server.kill)  # however this ends
    line = server.stderr.readline().strip()
    print(line, flush=True)
    port = int(re.search(r":([0-9]+)/ ", line)[1])
    pid, begin = server.pid, time.monotonic()
    counts, wrong, lock = collections.Counter(), [], threading.Lock()

    def repeat(kind, seed):
        draw = random.Random(seed)
        while time.monotonic() < begin + SECONDS and not wrong:
            try:
                kind(port, draw)
                with lock:
                    counts[kind.__name__] += 1
            except Exception as error:  # whatever it is, it counts
                with lock:
                    wrong.append(f"{kind.__name__}: {error!r}")

    crew = [good] * 8 + [late] * 2 + [bad] * 2 + [aborted] * 2 + [slow] * 20 + [never_reads] * 10 + \
        [long_answers] * 4 + [reads_nothing] * 10
    threads = [threading.Thread(target=repeat, args=(kind, index), daemon=True) for index, kind in enumerate(crew)]
    probe = Probe(port)
    for thread in threads:
        thread.start()
    loads = [subprocess.Popen(["wrk", "--threads", "1", "--connections", "100", "--duration", f"{SECONDS:.0f}s",
                               "--timeout", "10s", "--script", HERE / "requests.lua", f"http://127.0.0.1:{port}", "--",
                               *sent], stdout=subprocess.PIPE, text=True)
             for sent in (["baseline"], ["short"], ["get", "/delay/10"], ["get", "/?s=100kr&t=20r"])]
    most = 0
    reported = begin
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        most = max(most, memory_kib(pid))
        if time.monotonic() > reported + 30:
            reported = time.monotonic()
            print(f"{reported - begin:4.0f} s: {memory_kib(pid)} KiB, {descriptors(pid)} descriptors, {dict(counts)}",
                  flush=True)
    for load in loads:
        report = load.communicate()[0]
        values = dict(pair.split("=") for pair in report.split("requests=")[1].split() if "=" in pair)
        requests = report.split("requests=")[1].split()[0]
        print(f"wrk: {requests} requests, {values['socket_errors']} socket errors, {values['status_errors']} others than 2xx")
        if int(values["socket_errors"]) or int(values["status_errors"]):
            wrong.append(report.split("requests=")[0])
    try:
        slowest = probe.stop()
        wait_until(lambda: descriptors(pid) <= 8, seconds=70)  # standard streams, listener, epoll, timers, run
    except AssertionError as error:
        wrong.append(repr(error))
        slowest = 0
    print(f"at the end: {memory_kib(pid)} KiB of at most {most}, {descriptors(pid)} descriptors, "
          f"{cpu_seconds(pid):.0f} s of CPU, slowest probe of {len(probe.times)} {slowest * 1000:.0f} ms")
    if most > 40960:  # two workers with 256 blocks of 64 to 96 KiB each, and the table
        wrong.append(f"{most} KiB of memory")
    server.send_signal(signal.SIGTERM)
    status = server.wait(5)
    if status != 0:
        wrong.append(f"exit status {status}")
    print("\n".join(wrong) or "nothing was wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
