"""What a packet of one byte costs a server, behind a part of a head of any size and content.

usage: slow_heads.py PORT PID        prints a line for each content and size, the worst one last
"""
import itertools
import sys

from peers import *

GET = b"GET /pipeline HTTP/1.1\r\n"
# What a head begins with, what it goes on with again and again, and how long it may become.
CONTENTS = (
    (GET + b"Connection: ", b"a,", 16384),
    (GET + b"Connection: ", b"close,", 16384),
    (GET + b"X: ", b"a", 16384),
    (GET + b"X:", b" ", 16384),
    (GET, b"a", 16384),
    (GET, b"a:b\r\n", 16384),
    (GET + b"Host: a\r\nContent-Length: ", b"0", 16384),
    (GET + b"Host: ", b"%41", 16384),
    (GET + b"Host: ", b"a", 16384),
    (GET + b"Transfer-Encoding: ", b",", 16384),
    (GET + b"Transfer-Encoding: ", b"a, ", 16384),
    (GET + b"Expect: ", b"a", 16384),
    (b"GET http://", b"%41", 7900),
    (b"GET http://", b"a", 7900),
    (b"GET /", b"%41", 7900),
    (b"GET /baseline11?", b"a=1&", 7900),
)
PLACES = 0, 7600, 8000, 16000
COUNT = 100  # packets
PHASE = 25  # of them in a row, then as many on a connection whose head has just begun
LIMIT_US = 25  # of a packet where one that does nothing costs USUAL_US
USUAL_US = 8


def send_slowly(port, pid, peer, data):
    """Sends packets of a byte. CPU seconds of the server meanwhile."""
    before = cpu_seconds(pid)
    next_at = time.monotonic()
    for byte in data:
        peer.send(bytes([byte]))
        next_at += 0.0005
        time.sleep(max(0, next_at - time.monotonic()))
    wait_until_read(port, peer)
    return cpu_seconds(pid) - before


def cost(port, pid, start, piece, place):
    """Microseconds of CPU a packet, and what a packet costs that finds nothing to do, measured in turn: where a machine does
    something else, too, both get dearer. None if such a head is refused before it ends."""
    stream = start + piece * (20000 // len(piece))
    place = max(place, len(start))
    with connect(port) as peer, connect(port) as control:
        for each in peer, control:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        control.sendall(GET + b"X: ")
        peer.sendall(stream[:place])
        wait_until_read(port, peer, control)
        used = used_by_control = 0
        for at in range(place, place + COUNT, PHASE):
            used_by_control += send_slowly(port, pid, control, b"a" * PHASE)
            used += send_slowly(port, pid, peer, stream[at:at + PHASE])
        peer.setblocking(False)
        try:
            peer.recv(1)
            return None
        except BlockingIOError:
            return used / COUNT * 1e6, used_by_control / COUNT * 1e6


def main():
    port, pid = map(int, sys.argv[1:])
    worst = 0, ""
    for (start, piece, limit), place in itertools.product(CONTENTS, PLACES):
        if max(place, len(start)) + COUNT > limit or place == 7600 and limit > 7900:
            continue
        name = f"{start + piece * 2}... behind {place} bytes"
        costs = []
        for _ in range(8):
            found = cost(port, pid, start, piece, place)
            if found is None:
                break
            costs.append(found[0] - found[1] + USUAL_US)
            if costs[-1] < LIMIT_US * 0.8:
                break
        if found is None:
            print(f"refused: {name}")
            continue
        print(f"{min(costs):5.1f} us: {name}")
        worst = max(worst, (min(costs), name))
    print(f"{worst[0]:.1f} us a packet at most, where one that finds nothing to do costs {USUAL_US}: {worst[1]}")
    sys.exit(worst[0] > LIMIT_US)


main()
