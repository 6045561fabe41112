"""Peers whose every byte, request, refusal and connection must be in what the server says on SIGUSR1.

usage: counted_requests.py PORT PID     of a server with one worker, whose standard error goes to $server_log
"""
import sys

from peers import *

port, pid = map(int, sys.argv[1:])
nothing = {"open": 0, "delayed": 0, "accepted": 0, "requests": 0, "bytes in": 0, "bytes out": 0, "4xx": 0, "5xx": 0,
           "expired": 0, "stalled": 0, "exhausted": 0}
sent = received = 0


def expect(numbers):
    """Waits for these counts: an answer can be here before its bytes are counted."""
    found = []

    def are_there():
        found[:] = counted(pid)
        return found == [numbers]
    try:
        wait_until(are_there)
    except AssertionError:
        raise AssertionError(f"{found} instead of {numbers}") from None


def ask(peer, data, statuses):
    global sent, received
    peer.sendall(data)
    sent += len(data)
    answers = Answers(peer)
    for status in statuses:
        answer = answers.next()
        assert answer[0] == status, answer
        received += len(answer[1]) + 4 + len(answer[2])


expect(nothing)
peers = [connect(port) for _ in range(3)]
post = b"POST /baseline11 HTTP/1.1\r\nHost: a\r\n"
ask(peers[0], OK * 16, [200] * 16)
ask(peers[0], post + b"Content-Length: 2\r\n\r\n2", [])
ask(peers[0], b"0", [200])
ask(peers[0], post + b"Transfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0\r\n\r\n", [200])
ask(peers[1], b"GET /pipeline HTTP/1.1\r\nHo", [])
wait_until(lambda: counted(pid)[0]["bytes in"] == sent)  # so that the head has come in two pieces
ask(peers[1], b"st: a\r\n\r\n", [200])
ask(peers[1], b"GET /none HTTP/1.1\r\nHost: a\r\n\r\nPUT /pipeline HTTP/1.1\r\nHost: a\r\n\r\n", [404, 405])
ask(peers[1], b"BREW / HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", [501, 200])
ask(peers[1], b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", [200])
ask(peers[2], OK + b"wrong\r\n\r\n", [200, 400])
expected = nothing | {"open": 3, "accepted": 3, "requests": 25, "bytes in": sent, "bytes out": received, "4xx": 3, "5xx": 1}
expect(expected)
peers[0].close()
abort(peers[1])
peers[2].close()
expect(expected | {"open": 0})
