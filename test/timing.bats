#!/usr/bin/env bats
# Milliseconds and CPU time. These tests run alone, when all others are done.
# bats file_tags=alone
load helper
setup_file() { build_server; }
teardown() {
  stop_server
  if [[ -n ${second_pid:-} ]]; then server_pid=$second_pid stop_server; fi
}

@test "an answer does not wait until the one before is acknowledged" {
  start_server --threads 1
  run -0 timeout 60 python3 - "$server_port" <<'PYTHON'
import socket, sys, time
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
request = b"GET /pipeline HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 15000 + b"\r\n\r\n"
slow = 0
for _ in range(50):
    start = time.monotonic()
    client.sendall(request * 3)  # more than one recv, and so more than one send
    answer = b""
    while answer.count(b"\r\n\r\nok") < 3:
        answer += client.recv(4096)
    slow += time.monotonic() - start > 0.03  # a delayed acknowledgement takes 40 ms
assert slow < 25, slow
PYTHON
}

@test "a server without connections does not wake up" {
  start_server --threads 1
  exchange 'GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses 200
  sleep 1.2 # the last tick of its clock
  local before
  before=$(cat "/proc/$server_pid/task"/*/schedstat)
  sleep 1.2
  [[ $(cat "/proc/$server_pid/task"/*/schedstat) == "$before" ]]
}

@test "a peer that never reads is cut off, gives its block back, and slows nobody down" {
  build_variant send_timeout_s=1
  start_server --threads 1
  run_peers <<'PYTHON'
from deadlines import *
probe = Probe(port)
def never_reads():
    peer = connect(port, receive_buffer=4096); start = time.monotonic()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    peer.settimeout(10)
    try:
        while time.monotonic() < start + 10:
            peer.send(OK * 100)
    except ConnectionError:
        return time.monotonic() - start
    raise AssertionError("it was not cut off")
for _ in range(2):  # more peers in all than there are blocks
    with ThreadPoolExecutor(150) as pool:
        for seconds in pool.map(lambda _: never_reads(), range(150)):
            assert 1 <= seconds <= 7, seconds
assert probe.stop() < 1, max(probe.times)
wait_until(lambda: descriptors(pid) < 20)
# The kernel keeps nothing for them either.
def left():
    return [columns for columns in tcp_sockets(port) if columns[3] not in ("0A", "06")]
wait_until(lambda: not left())
PYTHON
}

@test "under slow heads, slow content and slow reading by 1,000 connections each, the server answers at once" {
  start_server
  ulimit -n "$(ulimit -H -n)"
  local attack=(slowhttptest -c 1000 -r 1000 -l 4 -p 3 -u "http://127.0.0.1:$server_port/baseline11?a=1&b=2")
  local attacks=()
  "${attack[@]}" -H -i 1 >"$BATS_TEST_TMPDIR/head" 3>&- &
  attacks+=($!)
  "${attack[@]}" -B -i 1 -s 8192 >"$BATS_TEST_TMPDIR/content" 3>&- &
  attacks+=($!)
  "${attack[@]}" -X -k 100 -w 10 -y 20 -n 2 -z 8 >"$BATS_TEST_TMPDIR/reading" 3>&- &
  attacks+=($!)
  run_peers <<PYTHON
wait_until(lambda: descriptors(pid) > 100)
probe = Probe(port)
most, held = 0, 0
while any(os.path.exists(f"/proc/{attack}/fd") and os.listdir(f"/proc/{attack}/fd") for attack in (${attacks[0]}, ${attacks[1]}, ${attacks[2]})):
    most, held = max(most, memory_kib(pid)), max(held, descriptors(pid))
    time.sleep(0.1)
slowest = probe.stop()
print(f"# at most {most} KiB and {held} connections a worker; the slowest of {len(probe.times)} probes took {slowest * 1000:.0f} ms",
      file=open(3, "w"))
assert held > 500, "there was no attack"
assert slowest < 2, f"{slowest} s"
assert most < 40960, f"{most} KiB"  # two workers with 256 blocks of 64 KiB each, and the table
PYTHON
  wait "${attacks[@]}" || true # its status says whether it found the server slow, in its own terms
}

@test "a descriptor limit of 64: no CPU while it is reached, and everybody is served in the end" {
  local server_command=(prlimit --nofile=64:64)
  start_server --threads 1
  run_peers <<'PYTHON'
peers = [connect(port) for _ in range(100)]
for peer in peers:
    peer.sendall(OK)
for peer in peers[:50]:
    assert Answers(peer).next()[0] == 200
start = cpu_seconds(pid)
time.sleep(1)
used = cpu_seconds(pid) - start
assert used < 0.02, f"{used:.1%} of a core"
for peer in peers[:50]:
    peer.close()
for peer in peers[50:]:
    assert Answers(peer).next()[0] == 200
PYTHON
}

@test "a full table leaves connections in the backlog until others close" {
  build_variant connection_limit=8
  start_server --threads 1
  run_peers <<'PYTHON'
peers = [connect(port) for _ in range(20)]
for peer in peers:
    peer.sendall(OK)
start = cpu_seconds(pid)
for peer in peers[:8]:
    assert Answers(peer).next()[0] == 200
peers[8].settimeout(1.2)  # longer than a tick
try:
    raise AssertionError(peers[8].recv(1))
except TimeoutError:
    pass
used = cpu_seconds(pid) - start
assert used < 0.03, f"{used} s of CPU"
for peer in peers:
    peer.settimeout(10)
for n, peer in enumerate(peers):
    if n >= 8:
        assert Answers(peer).next()[0] == 200
    abort(peer)
PYTHON
}

@test "handshakes that have begun have a quarter of a second to end, also without a connection" {
  start_server
  run_peers <<'PYTHON'
import select, signal
process = os.pidfd_open(pid)
begin = time.monotonic()
os.kill(pid, signal.SIGTERM)
assert select.select([process], [], [], 10)[0]
seconds = time.monotonic() - begin
assert 0.2 < seconds < 1, seconds
PYTHON
}

@test "idle connections close at once, and new ones are refused" {
  start_server
  run_peers <<'PYTHON'
import signal
used, unused = connect(port), connect(port)
used.sendall(OK)
assert Answers(used).next()[0] == 200
time.sleep(2.1)
os.kill(pid, signal.SIGTERM)
start = time.monotonic()
assert used.recv(1) == b"" and unused.recv(1) == b""
assert time.monotonic() - start < 0.1, time.monotonic() - start
PYTHON
  await_end
  run -0 python3 -c "import errno, socket; exit(socket.socket().connect_ex(('127.0.0.1', $server_port)) != errno.ECONNREFUSED)"
}

# A peer whose content does not end; the server is told to end when it is there.
end_during_content() {
  start_server --threads 1
  run_peers <<'PYTHON' &
peer = connect(port)
peer.sendall(b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
try:
    while peer.recv(100): pass
except ConnectionError:
    pass
PYTHON
  has_a_connection() { (($(find "/proc/$server_pid/task"/*/fd -lname 'socket:*' | wc --lines) == 2)); }
  wait_until has_a_connection
  kill "$server_pid"
}

@test "it does not wait longer than 4 seconds, and not at all after a second signal" {
  end_during_content
  sleep 3
  kill -0 "$server_pid" || fail "it has not waited"
  await_end 1.5

  end_during_content
  sleep 0.3
  kill -0 "$server_pid" || fail "it has not waited"
  kill "$server_pid"
  await_end 0.2
}

@test "a connection that begins while the old server drains goes to the new one, late but whole" {
  start_server --threads 1 --reuse-port
  "${server[@]}" --port "$server_port" --threads 1 --reuse-port 2>"$BATS_TEST_TMPDIR/second.log" 3>&- &
  second_pid=$!
  wait_until grep --quiet listening "$BATS_TEST_TMPDIR/second.log"
  run_peers <<'PYTHON'
from concurrent.futures import ThreadPoolExecutor
import signal
def begin(n):
    start = time.monotonic()
    peer = connect(port, source=f"127.0.0.{2 + n}") if n < 32 else socket.create_connection(("::1", port), timeout=15)
    seconds = time.monotonic() - start
    peer.sendall(OK)
    assert b"\r\nConnection: close" not in Answers(peer).next()[1], "the old server has answered"
    return seconds
count = 64 if HAS_IPV6 else 32
os.kill(pid, signal.SIGTERM)
time.sleep(0.02)
with ThreadPoolExecutor(count) as pool:
    seconds = list(pool.map(begin, range(count)))
for version in sorted(seconds[:32]), sorted(seconds[32:]):
    if version:
        assert version[0] < 0.5 < 0.9 < version[-1] < 2, version  # some had the old one first, and sent their SYN again
PYTHON
}

@test "at a path, a server that is stopped answers everybody whom it lets in" {
  local path=$BATS_TEST_TMPDIR/socket
  start_server --threads 2 --address "unix:$path"
  run -0 timeout 60 python3 "$root/test/askers.py" "$path" "$server_pid"
  await_end 2
}

@test "a connection at a listener that is handed over wakes one worker up" {
  timeout 60 python3 "$root/test/inherited_listener.py" a_connection_wakes_one_worker "${server[@]}"
}

@test "a server that finishes at a listener that is handed over leaves new connections to the next" {
  timeout 60 python3 "$root/test/inherited_listener.py" new_connections_go_to_the_new_server "${server[@]}"
}
