#!/usr/bin/env bats
# Connections: persistence, pipelining and closing (RFC 9112 section 9), and what they cost in system calls.
load helper
setup_file() { start_server --threads 1; }
teardown_file() { stop_server; }

readonly host='Host: a\r\n' ok='GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n'

@test "pipelined requests are answered in order" {
  exchange "${ok}GET /baseline11?a=1 HTTP/1.1\r\n$host\r\n${ok}GET /nowhere HTTP/1.1\r\n$host\r\n$ok"
  assert_statuses '200 200 200 404 200'
}

@test "Connection: close ends the connection behind its answer" {
  local option
  for option in close Close 'keep-alive, close' ', ,CLOSE ,' 'x\r\nConnection: close'; do
    exchange "${ok}GET /pipeline HTTP/1.1\r\n${host}Connection: $option\r\n\r\n$ok"
    assert_statuses '200 200' "$option"
    assert_field 'Connection: close'
  done
}

@test "other connection options do not end it" {
  local option
  for option in keep-alive closed x-close 'clo se' Upgrade ''; do
    exchange "GET /pipeline HTTP/1.1\r\n${host}Connection: $option\r\n\r\n$ok"
    assert_statuses '200 200' "$option"
    refute_field Connection
  done
}

@test "HTTP/1.0 connections end unless they ask to be kept" {
  exchange "GET /pipeline HTTP/1.0\r\n\r\n$ok"
  assert_statuses 200
  assert_field 'Connection: close'
  exchange "GET /pipeline HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n$ok"
  assert_statuses '200 200'
  assert_field 'Connection: keep-alive'
  exchange "GET /pipeline HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n$ok"
  assert_statuses 200
  assert_field 'Connection: close'
}

@test "the server ends the connection, and the peer sees the end of the stream and no reset" {
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

@test "a peer that goes on sending behind a refusal is cut off at the limit" {
  run -0 python3 - "$server_port" <<'PYTHON'
import socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
client.sendall(b"BAD\r\n\r\n")
sent = 0
try:
    while sent < 64 << 20:
        sent += client.send(b"x" * 65536)
except (BrokenPipeError, ConnectionResetError):
    pass
assert 2 << 20 <= sent < 64 << 20, sent
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

@test "connections whose end arrives together with the request are closed, too" {
  local before
  before=$(find "/proc/$server_pid/task"/*/fd -type l | wc --lines)
  local _
  for _ in {1..100}; do exchange "$ok" && assert_statuses 200; done
  descriptors_are() { [[ $(find "/proc/$server_pid/task"/*/fd -type l | wc --lines) == "$1" ]]; }
  wait_until descriptors_are "$before"
}

@test "a descriptor limit that is reached stops accepting until a connection closes" {
  local server_command=(prlimit --nofile=40:40)
  start_server --threads 1
  run -0 timeout 60 python3 - "$server_port" "$server_pid" <<'PYTHON'
import pathlib, socket, sys, time
port, pid = int(sys.argv[1]), sys.argv[2]
request = b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"
clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(60)]
for client in clients:
    client.sendall(request)
for client in clients[:30]:
    assert client.recv(4096).startswith(b"HTTP/1.1 200"), "one of the first 30 was not served"
def cpu():
    return sum(int((task / "schedstat").read_text().split()[0])
               for task in pathlib.Path(f"/proc/{pid}/task").iterdir())
start = cpu()
time.sleep(1)
assert cpu() - start < 20_000_000, f"{cpu() - start} ns of CPU in a second of waiting"
for client in clients[:30]:
    client.close()
for client in clients[30:]:
    assert client.recv(4096).startswith(b"HTTP/1.1 200"), "one that had to wait was not served"
PYTHON
  stop_server
}

@test "accepting goes on after the system has run out of descriptors for a moment" {
  local server_command=(strace --daemonize --follow-forks --output=/dev/null --trace=accept4
    --inject=accept4:error=ENFILE:when=1)
  start_server --threads 1
  exchange "$ok"
  assert_statuses 200
  stop_server
}

@test "urgent data does not hide what comes behind it" {
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

@test "a request costs a recv and a send, a connection accept4, epoll_ctl and close" {
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
  # From the first accept4 on: before it the server only starts.
  count() { sed --quiet '/accept4(/,$p' "$trace" | grep --count "[0-9] $1(.*= [0-9]"; }
  [[ $(count recvfrom) == 1000 ]] || fail "recvfrom: $(count recvfrom)"
  [[ $(count sendto) == 1000 ]] || fail "sendto: $(count sendto)"
  [[ $(count accept4) == 10 ]] || fail "accept4: $(count accept4)"
  [[ $(count epoll_ctl) == 10 ]] || fail "epoll_ctl: $(count epoll_ctl)"
  [[ $(count close) == 10 ]] || fail "close: $(count close)"
  # Beside these it only waits, and looks at the clock once a second.
  local others
  others=$(sed --quiet '/accept4(/,$p' "$trace" | grep --perl-regexp --only-matching '^\d+ +\K\w+(?=\()' | sort --unique |
    grep --invert-match --line-regexp -e accept4 -e close -e epoll_ctl -e epoll_pwait -e recvfrom -e sendto \
      -e rt_sigtimedwait -e exit_group |
    xargs)
  [[ -z $others || $others == 'clock_gettime timerfd_settime' ]] || fail "other calls: $others"
}
