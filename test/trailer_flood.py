"""Connections that send chunked requests with as many trailer fields as there may be, as fast as they can.

usage: trailer_flood.py PORT COUNT PID       until that process has ended
"""
import selectors
import sys

from peers import *

TRAILERS = b"a:b\r\n" * (4090 // 5)
REQUESTS = (b"POST /baseline11?a=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + TRAILERS + b"\r\n") * 64

port, count, pid = map(int, sys.argv[1:])
selector = selectors.DefaultSelector()
for _ in range(count):
    peer = connect(port)
    peer.setblocking(False)
    selector.register(peer, selectors.EVENT_READ | selectors.EVENT_WRITE, [0])  # how much of REQUESTS is sent
view = memoryview(REQUESTS)
while os.path.exists(f"/proc/{pid}/fd"):
    for key, events in selector.select():
        if events & selectors.EVENT_READ:
            answers = key.fileobj.recv(1 << 20)
            assert answers and b" 400 " not in answers, answers[:200]
        if events & selectors.EVENT_WRITE:
            key.data[0] = (key.data[0] + key.fileobj.send(view[key.data[0]:])) % len(view)
