#!/usr/bin/env bats
# How long a connection may take for what it is at. The server is built with shorter limits, so that they can be met.
load helper
unset BATS_NO_PARALLELIZE_WITHIN_FILE
setup_file() { build_variant "${short_limits[@]}"; }
setup() { start_server --threads 1; }
teardown() { stop_server; }

@test "a head that does not end in time gets a 408, however it comes" {
  run_peers <<'PYTHON'
from deadlines import *
def at_once():
    peer = connect(port); start = time.monotonic(); peer.sendall(OK[:-1])
    return end_of(peer, start)
def slowly():
    peer = connect(port); start = time.monotonic()
    return end_of(peer, start, trickle(b"GET /pipeline HTTP/1.1\r\nHost: "))
def after_an_answer():
    peer = connect(port); peer.sendall(OK); assert Answers(peer).next()[0] == 200
    time.sleep(1.5)
    start = time.monotonic(); peer.sendall(b"G")
    return end_of(peer, start)
def behind_a_request():
    peer = connect(port); start = time.monotonic(); peer.sendall(OK + b"POST")
    assert Answers(peer).next()[0] == 200
    return end_of(peer, start)
def of_head():
    peer = connect(port); start = time.monotonic(); peer.sendall(b"HEAD / HTTP/1.1\r\nHost:")
    return end_of(peer, start)
reason = b"\r\n\r\n408 Request Timeout\r\n"
expect((at_once, 1, 408, reason), (slowly, 1, 408, reason), (after_an_answer, 1, 408, reason),
       (behind_a_request, 1, 408, reason), (of_head, 1, 408, b"\r\n\r\n"))
PYTHON
}

@test "content that does not end in time gets a 408, with its own deadline" {
  run_peers <<'PYTHON'
from deadlines import *
def with_length():
    peer = connect(port); start = time.monotonic()
    peer.sendall(POST + b"Content-Length: 1000\r\n\r\n")
    return end_of(peer, start, trickle(b"1" * 200))
def chunked():
    peer = connect(port); start = time.monotonic()
    peer.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    return end_of(peer, start, trickle(b"1\r\n7\r\n" * 100))
def behind_content():
    peer = connect(port)
    peer.sendall(POST + b"Content-Length: 2\r\n\r\n1")
    time.sleep(1.5)
    start = time.monotonic()
    peer.sendall(b"2" + POST + b"Content-Length: 2\r\n\r\n1")
    assert Answers(peer).next()[2] == b"12"
    return end_of(peer, start)
reason = b"\r\n\r\n408 Request Timeout\r\n"
expect((with_length, 2, 408, reason), (chunked, 2, 408, reason), (behind_content, 2, 408, reason))
PYTHON
}

@test "an idle connection just closes" {
  run_peers <<'PYTHON'
from deadlines import *
def never_used():
    peer = connect(port)
    return end_of(peer, time.monotonic())
def only_empty_lines():
    peer = connect(port)
    return end_of(peer, time.monotonic(), lambda peer: peer.send(b"\r\n"))
def half_an_empty_line():
    peer = connect(port); start = time.monotonic(); peer.sendall(b"\r"); time.sleep(0.2); peer.sendall(b"\n")
    return end_of(peer, start)
def idle():
    peer = connect(port); peer.sendall(OK); assert Answers(peer).next()[0] == 200
    return end_of(peer, time.monotonic())
def idle_with_empty_lines():
    peer = connect(port); peer.sendall(OK); assert Answers(peer).next()[0] == 200
    return end_of(peer, time.monotonic(), lambda peer: peer.send(b"\r\n"))
def idle_after_content():
    peer = connect(port); peer.sendall(POST + b"Content-Length: 1\r\n\r\n"); time.sleep(1); peer.sendall(b"7\r\n")
    assert Answers(peer).next()[2] == b"7"
    return end_of(peer, time.monotonic())
def idle_after_pieces():
    peer = connect(port); peer.sendall(POST); time.sleep(0.5); peer.sendall(b"Content-Length: 1\r\n\r\n")
    time.sleep(1); peer.sendall(b"7")
    assert Answers(peer).next()[2] == b"7"
    return end_of(peer, time.monotonic())
expect((never_used, 1, None), (only_empty_lines, 1, None), (half_an_empty_line, 1, None), (idle, 3, None),
       (idle_with_empty_lines, 3, None), (idle_after_content, 3, None), (idle_after_pieces, 3, None))
PYTHON
}

@test "a connection in use stays open, and each part of a request has its own deadline" {
  run_peers <<'PYTHON'
from deadlines import *
peer = connect(port)
answers = Answers(peer)
for n in range(3):
    peer.sendall(POST[:9])
    time.sleep(0.7)
    peer.sendall(POST[9:] + b"Content-Length: 2\r\n\r\n")
    time.sleep(1.5)
    peer.sendall(b"%d\n" % n)
    assert answers.next()[2] == b"%d" % n
    time.sleep(2.5)  # shorter than idle_timeout_s, longer than the others
PYTHON
}

@test "a peer that keeps sending after the last answer is cut off" {
  run_peers <<'PYTHON'
from deadlines import *
def sends_on():
    peer = connect(port); start = time.monotonic(); peer.sendall(b"BAD\r\n\r\n")
    while time.monotonic() < start + 10:
        try:
            peer.send(b"x" * 10)
        except OSError:
            return time.monotonic() - start, b""
        time.sleep(0.05)
expect((sends_on, 1, None))
PYTHON
}

@test "the search for overdue connections touches only pages in use" {
  # A place of the table that was never looked at is a page that the kernel has not mapped.
  run_peers <<'PYTHON'
def faults():
    return sum(int((task / "stat").read_text().rsplit(")", 1)[1].split()[7])
               for task in pathlib.Path(f"/proc/{pid}/task").iterdir())
peers = [connect(port) for _ in range(10)]
before = faults()
start = cpu_seconds(pid)
for _ in range(4):
    time.sleep(0.6)
    for peer in peers:
        peer.sendall(OK)
        assert Answers(peer).next()[0] == 200
print(f"# {faults() - before} page faults, {(cpu_seconds(pid) - start) * 1e6:.0f} us of CPU", file=open(3, "w"))
assert faults() - before < 50, f"{faults() - before} page faults"
PYTHON
}

@test "a peer that has sent everything and never reads is cut off with a reset" {
  run_peers <<'PYTHON'
size = 100 * len(b"HTTP/1.1 200 OK\r\nServer: mote\r\nContent-Type: text/plain\r\n"
                 b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nok")
peer = connect(port, receive_buffer=4096)
here = peer.getsockname()[1]
def are_out(answers):
    """Whether the server is rid of all answers, and holds none back: each is in one socket or in the other."""
    end = time.monotonic() + 1  # an acknowledgement takes up to 0.2 s
    while queues(port, here)[0] + queues(here, port)[1] != answers:
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
answers = 0
while are_out(answers):
    peer.sendall(OK * 100)
    answers += size
assert queues(port, here)[1] == 0, "not everything has been received"
wait_until(lambda: queues(port, here) is None, seconds=4)
try:
    while peer.recv(65536):
        pass
    raise AssertionError("the stream ended as if it were whole")
except ConnectionResetError:
    pass
PYTHON
}

@test "the timeouts are 10, 30, 125, 20 and 2 seconds" {
  run -0 sed --quiet --regexp-extended 's/^constexpr uint8_t ([a-z]+)_timeout_s = ([0-9]+);.*/\1 \2/p' "$root/server.cpp"
  [[ ${lines[*]} == 'head 10 content 30 idle 125 send 20 linger 2' ]] || fail "$output"
}
