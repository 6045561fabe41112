"""Peers that go on asking a server at a path, which is told to end meanwhile: nobody whom it lets in goes without an answer.

usage: askers.py PATH PID
"""
import os, signal, socket, sys, threading, time
from peers import LAST, Answers

answered, slowest = 0, []  # in s, of each asker
lock = threading.Lock()
def keep_asking():
    """New connections, one behind the other, until there are none any more."""
    global answered
    longest = 0
    while True:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(15)
        begin = time.monotonic()
        try:
            peer.connect(sys.argv[1])
        except ConnectionRefusedError:
            with lock:
                slowest.append(longest)
            return
        peer.sendall(LAST)
        assert Answers(peer).next()[2] == b"ok"
        longest = max(longest, time.monotonic() - begin)
        with lock:
            answered += 1
            if answered == 2000:
                os.kill(int(sys.argv[2]), signal.SIGTERM)

askers = [threading.Thread(target=keep_asking) for _ in range(8)]
for asker in askers:
    asker.start()
for asker in askers:
    asker.join()
assert len(slowest) == 8, slowest  # all are refused in the end, and nobody has met another end
assert 2000 <= answered < 2500, answered  # at once: in the quarter of a second that others have there would be thousands
assert min(slowest) < 0.12, slowest  # nor has everybody waited that long in the queue of a listener that goes on
