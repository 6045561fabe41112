#!/usr/bin/env bats
# Connections: persistence, pipelining and closing (RFC 9112 section 9), and what they cost in system calls.
load helper
setup_file() {
  start_server --threads 1 "${visible[@]}"
  export shared_server_pid=$server_pid
}
teardown_file() { stop_server; }

# A test that has started a server of its own ends it, even if it fails.
teardown() { if [[ $server_pid != "$shared_server_pid" ]]; then stop_server; fi; }

readonly host='Host: a\r\n' ok='GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n'

@test "pipelined requests are answered in order" {
  exchange "${ok}GET /baseline11?a=1 HTTP/1.1\r\n$host\r\n${ok}GET /nowhere HTTP/1.1\r\n$host\r\n$ok"
  assert_statuses '200 200 200 404 200'
}

@test "a connection that the server closes ends without a reset" {
  run -0 python3 - "$server_port" <<'PYTHON'
import socket, sys
for request in (b"GET /pipeline HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                b"GET /pipeline HTTP/1.0\r\n\r\n",
                b"GET /pipeline HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + b"x" * 1000000,
                b"BAD\r\n\r\n" + b"x" * 1000000):
    client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
    client.sendall(request)
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    assert answer.startswith(b"HTTP/1.1 ") and b"\r\nConnection: close\r\n" in answer, answer
    client.close()
PYTHON
}

@test "a peer that reads late gets every answer, in order" {
  run -0 timeout 60 python3 - "$server_port" <<'PYTHON'
import re, socket, sys, threading
count = 200000  # more than socket buffers hold
client = socket.socket()
client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
client.settimeout(30)
client.connect(("127.0.0.1", int(sys.argv[1])))
stream = b"".join(b"POST /baseline11?n=%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1" % n for n in range(count))
sender = threading.Thread(target=client.sendall, args=(stream,))
sender.start()
sender.join(1.0)  # by now nothing moves any more: the server holds answers back, and does not read on
assert sender.is_alive(), "the server took all requests while none of its answers was read"
answer = bytearray()
while not answer.endswith(b"\r\n\r\n%d" % count):
    piece = client.recv(65536)
    assert piece, "the stream ended early"
    answer += piece
sums = [int(value) for value in re.findall(rb"\r\n\r\n(\d+)", answer)]
assert sums == list(range(1, count + 1)), "answers lost, repeated or out of order"
PYTHON
}

@test "peers that come and go abruptly leave nothing behind" {
  run -0 python3 - "$server_port" "$server_pid" <<'PYTHON'
import os, pathlib, socket, struct, sys, time
port, pid = int(sys.argv[1]), sys.argv[2]
def descriptors():
    return max(len(os.listdir(task / "fd")) for task in pathlib.Path(f"/proc/{pid}/task").iterdir())
before = descriptors()
for start in (b"", b"G", b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /baseline11 HTTP/1.1\r\nHost: a\r\n"
              b"Content-Length: 9\r\n\r\n1", b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n" * 2000):
    for reset in (False, True):
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
        for client in clients:
            client.sendall(start)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for client in clients:
            client.close()
for _ in range(500):
    if descriptors() == before:
        break
    time.sleep(0.01)
assert descriptors() == before, (before, descriptors())
PYTHON
}

@test "a connection whose end arrives together with the request is closed" {
  local before
  before=$(find "/proc/$server_pid/task"/*/fd -type l | wc --lines)
  local _
  for _ in {1..100}; do exchange "$ok" && assert_statuses 200; done
  descriptors_are() { [[ $(find "/proc/$server_pid/task"/*/fd -type l | wc --lines) == "$1" ]]; }
  wait_until descriptors_are "$before"
}

@test "urgent data does not hide the bytes that follow it" {
  run -0 python3 - "$server_port" "$server_pid" <<'PYTHON'
import os, signal, socket, sys
port, pid = int(sys.argv[1]), int(sys.argv[2])
request = b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"
client = socket.create_connection(("127.0.0.1", port), timeout=10)
os.kill(pid, signal.SIGSTOP)  # all of it is to be there when the server looks
client.sendall(request)
client.send(b"x", socket.MSG_OOB)
client.sendall(request)
os.kill(pid, signal.SIGCONT)
answer = b""
while answer.count(b"HTTP/1.1 200 OK") < 2:
    answer += client.recv(4096)
PYTHON
}

@test "a request costs recv and send; a connection costs accept4, epoll_ctl, shutdown and close" {
  natively 'the emulator makes calls of its own'
  local trace=$BATS_TEST_TMPDIR/trace
  local server_command=(strace --daemonize --follow-forks --output="$trace")
  start_server --threads 1
  run -0 python3 - "$server_port" <<'PYTHON'
import socket, sys
for _ in range(10):
    client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
    for _ in range(99):
        client.sendall(b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n" * 16)
        answer = b""
        while answer.count(b"HTTP/1.1 200 OK") < 16:
            answer += client.recv(65536)
    client.sendall(b"GET /pipeline HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    while client.recv(65536):
        pass
    client.close()
PYTHON
  stop_server
  wait_until grep --quiet '+++ exited with 0 +++' "$trace"
  # From the first accept4 on, for before it the server only starts, until it begins to end.
  sed --quiet '/IPV6_MINHOPCOUNT/q; /accept4(/,$p' "$trace" >"$trace.serving"
  count() { grep --count "^[0-9]* *$1(.*= [0-9]" "$trace.serving"; }
  [[ $(count recvfrom) == 1000 ]] || fail "recvfrom: $(count recvfrom)"
  [[ $(count sendto) == 1000 ]] || fail "sendto: $(count sendto)"
  [[ $(count accept4) == 10 ]] || fail "accept4: $(count accept4)"
  [[ $(count epoll_ctl) == 10 ]] || fail "epoll_ctl: $(count epoll_ctl)"
  [[ $(count shutdown) == 10 ]] || fail "shutdown: $(count shutdown)"
  [[ $(count close) == 10 ]] || fail "close: $(count close)"
  # Beside these it only waits, and looks at the clock once a second.
  local others
  others=$(grep --perl-regexp --only-matching '^\d+ +\K\w+(?=\()' "$trace.serving" | sort --unique |
    grep --invert-match --line-regexp -e accept4 -e close -e epoll_ctl -e epoll_pwait -e recvfrom -e sendto \
      -e shutdown -e rt_sigtimedwait |
    xargs)
  [[ -z $others || $others == 'clock_gettime timerfd_settime' ]] || fail "other calls: $others"
}

@test "input after a last request that just fills the buffer does not destroy the answers" {
  run -0 timeout 60 python3 - "$server_port" "$server_pid" <<'PYTHON'
import os, signal, socket, sys
port, pid = map(int, sys.argv[1:])
for count in (0, 900):  # 900 are more answers than the peer takes at once: the last request waits in a block
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # keeps the server's send buffer small
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(10)
    stream = b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n" * count
    last = b"GET /pipeline HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    stream += b"\r\n" * ((32768 - len(stream) - len(last) - 2) // 2 - 100)
    stream += last
    stream += b"X:" + b"x" * (32768 - len(stream) - 6) + b"\r\n\r\n"
    assert len(stream) == 32768, len(stream)
    os.kill(pid, signal.SIGSTOP)  # so that all of it has arrived before the first recv
    client.connect(("127.0.0.1", port))
    client.sendall(stream + b"x" * 10000)
    os.kill(pid, signal.SIGCONT)
    answer = b""
    while piece := client.recv(4096):
        answer += piece
    assert answer.count(b"HTTP/1.1 200 OK") == count + 1, (count, answer.count(b"HTTP/1.1 200 OK"))
    client.close()
PYTHON
}

@test "a peer that reads late sees the end of the stream after the last answer" {
  run -0 timeout 60 python3 - "$server_port" <<'PYTHON'
import socket, sys, time
clients = []
for count in range(10, 900, 10):  # in some of them the output that has to wait is the last
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # keeps the server's send buffer small
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(10)
    client.connect(("127.0.0.1", int(sys.argv[1])))
    client.sendall(b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n" * count +
                   b"GET /pipeline HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    clients.append((client, count))
time.sleep(0.2)
for client, count in clients:
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    assert answer.count(b"HTTP/1.1 200 OK") == count + 1, (count, answer.count(b"HTTP/1.1 200 OK"))
PYTHON
}

@test "partial heads are all served, and their memory is reused" {
  run_peers <<'PYTHON'
def wait_with(size):
    """Many peers of which a part of a head has come."""
    peers = [connect(port) for _ in range(300)]
    for peer in peers:
        peer.sendall(b"GET /pipe" + b"line HTTP/1.1\r\nHost: a\r\nX: " * (size > 9) + b"x" * (size - 9))
    wait_until_read(port, *peers)
    return peers
for peer in wait_with(9) + wait_with(9000):
    peer.close()
before = memory_kib(pid)
for size, rest in (9, b"line HTTP/1.1\r\nHost: a\r\n\r\n"), (9000, b"\r\n\r\n"):
    for peer in wait_with(size):
        peer.sendall(rest)
        assert Answers(peer).next()[0] == 200, size
        peer.close()
assert memory_kib(pid) <= before + 400, (before, memory_kib(pid))
PYTHON
}

@test "a connection inherits nothing from an earlier one with its descriptor" {
  local start
  for start in 'POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n1' \
    'POST /baseline11 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1'; do
    exchange "$start"
    [[ -z $response ]] || fail "an answer to half a request" "$start"
    exchange "$ok"
    assert_statuses 200 "$start"
  done
}

@test "a refusal has its content, even after a HEAD" {
  exchange "HEAD /pipeline HTTP/1.1\r\n${host}\r\nBAD\r\n\r\n"
  assert_statuses '200 400'
  assert_body '400 Bad Request'
}

@test "a refusal of the last byte received reaches a peer that keeps sending" {
  run_peers <<'PYTHON'
import select
for line in (b"Content-Length: x", b"Transfer-Encoding: chunked, chunked", b"Content-Length: 1\r\nContent-Length: 1"):
    peer = connect(port)
    peer.sendall(b"POST /baseline11 HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n")
    select.select([peer], [], [])  # answered, if not read; a server that has closed by now resets the connection
    for _ in range(3):
        peer.sendall(b"Content-Type: text/plain\r\n" * 10)
        time.sleep(0.01)
    peer.shutdown(socket.SHUT_WR)
    answers = Answers(peer)
    assert answers.next()[0] == 400 and answers.next() is None, line
PYTHON
}

@test "an answer to a vanished peer does not end the server" {
  run -0 python3 - "$server_port" "$server_pid" <<'PYTHON'
import os, signal, socket, struct, sys
port, pid = map(int, sys.argv[1:])
os.kill(pid, signal.SIGSTOP)  # so that it answers only after the reset
client = socket.create_connection(("127.0.0.1", port), timeout=10)
client.sendall(b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n")
client.shutdown(socket.SHUT_WR)
client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
client.close()
os.kill(pid, signal.SIGCONT)
PYTHON
  exchange "$ok"
  assert_statuses 200
}

@test "connections wait for a busy server, and are not refused" {
  run -0 python3 - "$server_port" "$server_pid" <<'PYTHON'
import os, signal, socket, sys
port, pid = map(int, sys.argv[1:])
os.kill(pid, signal.SIGSTOP)
try:
    clients = [socket.create_connection(("127.0.0.1", port), timeout=0.5) for _ in range(1000)]
finally:
    os.kill(pid, signal.SIGCONT)
for client in clients:
    client.settimeout(10)
    client.sendall(b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.recv(4096).startswith(b"HTTP/1.1 200")
PYTHON
}

@test "a connection that always has more input gives others a turn after each recv" {
  local trace=$BATS_TEST_TMPDIR/trace
  # From the second on, each receive seems to fill the input buffer, and takes nothing out of the socket.
  start_under_strace --output="$trace" '--trace=recvfrom,epoll_ctl,epoll_pwait' '--inject=recvfrom:retval=32768:when=2+'
  run_peers <<'PYTHON'
peer = connect(port)
peer.sendall(b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n")
wait_until_read(port, peer)
peer.sendall(b"x")
assert Answers(peer).next()[0] == 200
PYTHON
  stop_server
  wait_until grep --quiet '+++ exited with 0 +++' "$trace"
  run -0 grep --count 'epoll_ctl(.*EPOLL_CTL_MOD' "$trace"
  ((output >= 32)) || fail "$output interruptions of 32 receives"
}

@test "an interrupted call, and one that fails for a moment, is repeated" {
  local failure
  for failure in sendto:error=EAGAIN sendto:error=EINTR recvfrom:error=EINTR accept4:error=ECONNABORTED; do
    start_under_strace --inject="$failure:when=1"
    exchange "$ok"
    assert_statuses 200 "$failure"
    stop_server
  done
}
