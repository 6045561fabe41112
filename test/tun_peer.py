"""A TCP peer that writes its packets itself: segments out of order, marked as urgent, and then silence.

It makes a TUN device in its network namespace, starts the server there, and tells how each of its connections ends.

usage: unshare --net tun_peer.py HEAD_LIMIT CONTENT_LIMIT IDLE_LIMIT COMMAND...    the server's limits in seconds
"""
import fcntl
import os
import pathlib
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from peers import OK, counted, wait_until

SERVER, PEER = socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2")
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
POST = b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"


def open_tun():
    """A device that is up and has the server's address."""
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"peer", 0x1001))  # TUNSETIFF: IFF_TUN and IFF_NO_PI
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        def set_address(request, address):
            fcntl.ioctl(any_socket, request, struct.pack("16sH2x4s16x", b"peer", socket.AF_INET, address))
        set_address(0x8916, SERVER)  # SIOCSIFADDR
        set_address(0x891c, socket.inet_aton("255.255.255.0"))  # SIOCSIFNETMASK
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH22x", b"peer", 1))  # SIOCSIFFLAGS: IFF_UP
    return tun


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Connection:
    """One that this program keeps itself. It acknowledges what comes, which is no event to the server."""

    FIRST = 1_000_000  # its first sequence number

    def __init__(self, tun, server_port, own_port):
        self.tun, self.ports = tun, (own_port, server_port)
        self.expected = 0  # the server's next byte
        self.received, self.next_offset, self.ended_at = b"", 0, None
        self.is_open = threading.Event()

    def begin(self):
        self._send(self.FIRST, SYN)
        assert self.is_open.wait(5), "no handshake"
        self._send(self.FIRST + 1, ACK)

    def send(self, offset, data, urgent_offset=None):
        """Sends bytes of the stream from `offset` on; the byte at `urgent_offset` is called urgent."""
        flags, pointer = PSH | ACK, 0
        if urgent_offset is not None:
            flags, pointer = flags | URG, urgent_offset - offset + 1  # Linux takes it as one that points behind the byte
        self.next_offset = max(self.next_offset, offset + len(data))
        self._send(self.FIRST + 1 + offset, flags, pointer, data)

    def _send(self, sequence, flags, urgent_pointer=0, data=b""):
        def segment(its_checksum):
            return struct.pack(">HHIIBBHHH", *self.ports, sequence, self.expected, 5 << 4, flags, 65535, its_checksum,
                               urgent_pointer) + data
        pseudo_header = PEER + SERVER + struct.pack(">HH", socket.IPPROTO_TCP, 20 + len(data))

        def header(its_checksum):
            return struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(data), 0, 0, 64, socket.IPPROTO_TCP, its_checksum) + \
                PEER + SERVER
        os.write(self.tun, header(checksum(header(0))) + segment(checksum(pseudo_header + segment(0))))

    def take(self, flags, sequence, data):
        """A segment has come."""
        if flags & SYN:
            self.expected = sequence + 1 & 0xffffffff
            self.is_open.set()
        elif sequence == self.expected:
            self.received += data
            self.expected = sequence + len(data) + (flags & FIN) & 0xffffffff
            if data or flags & FIN:
                self._send(self.FIRST + 1 + self.next_offset, ACK)
        if flags & (FIN | RST):
            self.ended_at = self.ended_at or time.monotonic()


def take_packets(tun, connections):
    """Hands each connection what comes for it, without end."""
    while True:
        select.select([tun], [], [])
        packet = os.read(tun, 65536)
        if packet[0] != 0x45 or packet[9] != socket.IPPROTO_TCP:
            continue
        segment = packet[20:int.from_bytes(packet[2:4], "big")]
        port, sequence, _, length, flags = struct.unpack_from(">HIIBB", segment, 2)
        if port in connections:
            connections[port].take(flags, sequence, segment[(length >> 4) * 4:])


def statuses(connection):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", connection.received)]


def main():
    head_limit, content_limit, idle_limit = map(int, sys.argv[1:4])
    # What arrives up to the urgent byte, what arrives behind it, the number of requests, and how long the server waits if
    # it takes what is before the mark for all.
    streams = {
        "the mark behind an empty line": (b"\r\n", OK, 1, head_limit),
        "the mark inside the first head": (b"\r\n" + OK[:10], OK[10:], 1, head_limit),
        "the mark between two requests": (b"\r\n" + OK, OK, 2, idle_limit),
        "the mark inside the second head": (b"\r\n" + OK + OK[:10], OK[10:], 2, head_limit),
        "the mark behind a head with content": (b"\r\n" + POST, b"12" + OK, 2, content_limit),
        "the mark inside content": (b"\r\n" + POST + b"1", b"2" + OK, 2, content_limit),
        "the mark behind content": (b"\r\n" + POST + b"12", OK, 2, idle_limit),
        "the mark at the last byte": (b"\r\n" + OK, b"", 1, idle_limit),
    }
    tun = open_tun()
    with tempfile.NamedTemporaryFile("r") as log:
        os.environ["server_log"] = log.name
        server = subprocess.Popen([*sys.argv[4:], "--port", "0", "--threads", "1"], stderr=log.file.fileno())
        try:
            def said():
                return pathlib.Path(log.name).read_text()
            wait_until(lambda: " http://" in said())
            server_port = int(said().rpartition(":")[2].split("/")[0])
            connections = {n: Connection(tun, server_port, n) for n in range(40000, 40000 + len(streams))}
            threading.Thread(target=take_packets, args=(tun, connections), daemon=True).start()
            for connection, (before, behind, *_) in zip(connections.values(), streams.values()):
                connection.begin()
                stream = before + b"!" + behind
                connection.send(2, stream[2:])
                connection.send(0, stream[:2], urgent_offset=len(before))
            start = time.monotonic()
            failures = []
            rows = sorted(zip(streams.items(), connections.values()), key=lambda row: row[0][1][3])
            for (name, (_, _, count, limit)), connection in rows:
                def is_answered():
                    return statuses(connection) == [200] * count
                while not connection.ended_at and not is_answered() and time.monotonic() < start + limit + 3:
                    time.sleep(0.01)
                end = "answered" if is_answered() else "ended" if connection.ended_at else "open"
                print(f"{name}: {end} after {time.monotonic() - start:.1f} s, {statuses(connection)}")
                if end != "answered":
                    failures.append(name)
            assert not failures, failures
            # An answer may have come as late as that, and has the connection start its idle time.
            wait_until(lambda: counted(server.pid)[0]["open"] == 0, start + 2 * idle_limit + 3 - time.monotonic())
            wait_until(lambda: all(connection.ended_at for connection in connections.values()))
        finally:
            server.kill()
            server.wait()


main()
