"""Peers of a server at a path: one that reads late, some that abort, and some whose requests come byte by byte.

usage: unix_peers.py PATH
"""
import socket, sys, threading
from peers import LAST, Answers, abort, number

def connect():
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(15)
    peer.connect(sys.argv[1])
    return peer

# More than both sides' buffers hold, read when all of it has been sent, and then the end.
peer = connect()
peer.setblocking(False)
sent, stream = 0, b"".join(map(number, range(50_000))) + LAST
try:
    while sent < len(stream):
        sent += peer.send(stream[sent:])
except BlockingIOError:
    pass
assert 0 < sent < len(stream), sent
peer.settimeout(15)
answers = Answers(peer)
sender = threading.Thread(target=peer.sendall, args=(stream[sent:],))
sender.start()
for n in range(50_000):
    status, _, content = answers.next()
    assert (status, content) == (200, b"%d" % n), (n, status, content)
assert answers.next()[2] == b"ok" and answers.next() is None
sender.join()

for _ in range(50):
    abort(connect())
whole = b"POST /baseline11?a=20 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n22\r\n0\r\n\r\n"
peers = [connect() for _ in range(20)]
for byte in whole:
    for peer in peers:
        peer.sendall(bytes([byte]))
for peer in peers:
    peer.shutdown(socket.SHUT_WR)
    answers = Answers(peer)
    assert answers.next()[2] == b"42" and answers.next() is None
