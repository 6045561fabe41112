"""Long answers as their peers see them.

usage: long_answers.py PORT COUNT TARGET
  COUNT peers read the content of TARGET and do not look at it, until standard input ends
"""
import select
import sys

from cases import generated
from peers import *


def get(target, method=b"GET", version=b"1.1"):
    return b"%s %s HTTP/%s\r\nHost: a\r\n\r\n" % (method, target, version)


def chunked(content, piece=0):
    """The content in chunks of that size, or in one."""
    piece = piece or len(content)
    cut = len(content) // piece * piece if piece else 0
    # All offsets of the content's pattern come round after 50 chunks.
    turn = min(50 * piece, cut)

    def chunks(begin, end):
        return b"".join(b"%x\r\n%s\r\n" % (min(piece, end - at), content[at:min(at + piece, end)])
                        for at in range(begin, end, piece or 1))
    whole = chunks(0, turn) * (cut // turn) + chunks(cut // turn * turn, cut) if turn else b""
    return whole + chunks(cut, len(content)) + b"0\r\n\r\n"


def discard(peer, size):
    """Takes up to so many bytes, which the kernel does not even copy (tcp(7), MSG_TRUNC). Returns how many."""
    return len(peer.recv(size, socket.MSG_TRUNC))


class Stream:
    """What comes in on a connection."""

    def __init__(self, peer):
        self.peer, self.held = peer, bytearray()

    def take(self, size):
        while len(self.held) < size:
            piece = self.peer.recv(min(max(size - len(self.held), 4096), 1 << 20))
            assert piece, f"the stream ended {size - len(self.held)} bytes early"
            self.held += piece
        taken = bytes(self.held[:size])
        del self.held[:size]
        return taken

    def head(self):
        while (end := self.held.find(b"\r\n\r\n")) < 0:
            piece = self.peer.recv(4096)
            assert piece, f"the stream ended inside a head: {self.held}"
            self.held += piece
        return self.take(end + 4)

    def skip(self, size):
        size -= len(self.take(min(size, len(self.held))))
        while size > 0:
            taken = discard(self.peer, min(size, 1 << 24))
            assert taken, f"the stream ended {size} bytes early"
            size -= taken

    def expect_ok(self):
        head = self.head()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
        assert self.take(2) == b"ok"

    def until_end(self):
        """The rest, and whether a reset ended it."""
        try:
            while piece := self.peer.recv(1 << 20):
                self.held += piece
            return bytes(self.held), False
        except ConnectionResetError:
            return bytes(self.held), True


def equal(found, expected):
    """Says where they differ, without printing all of it."""
    if found == expected:
        return
    at = next((at for at, (a, b) in enumerate(zip(found, expected)) if a != b), min(len(found), len(expected)))
    raise AssertionError(f"{len(found)} bytes for {len(expected)}; at {at} they differ: "
                         f"{found[at:at + 50]!r} for {expected[at:at + 50]!r}")


def main():
    port, count, target = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()
    peers = [connect(port) for _ in range(count)]
    epoll = select.epoll()
    for peer in peers:
        peer.sendall(get(target))
        epoll.register(peer, select.EPOLLIN)
    by_descriptor = {peer.fileno(): peer for peer in peers}
    epoll.register(0, select.EPOLLIN)
    while True:
        for descriptor, _ in epoll.poll():
            if descriptor == 0:
                return
            assert discard(by_descriptor[descriptor], 1 << 22), "an answer has ended"


if __name__ == "__main__":
    main()
