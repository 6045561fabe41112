#!/usr/bin/env bats
# The end: what is under way is finished, nothing that was accepted goes unanswered, and another server can take over.
load helper
unset BATS_NO_PARALLELIZE_WITHIN_FILE
wrk_pid=
teardown() {
  if [[ -n $wrk_pid ]]; then kill "$wrk_pid" || true; fi
  stop_server
  if [[ -n ${second_pid:-} ]]; then server_pid=$second_pid stop_server; fi
}

@test "without connections it ends at once" {
  local signal server_command=(env --default-signal=HUP) # the tests themselves may run under nohup
  for signal in TERM INT HUP; do
    start_server
    kill -"$signal" "$server_pid"
    await_end
  done
}

@test "SIGHUP drains, too" {
  local server_command=(env --default-signal=HUP)
  start_server --threads 1
  run_peers <<'PYTHON'
import signal
peer = connect(port)
peer.sendall(OK[:20])
wait_until_read(port, peer)
os.kill(pid, signal.SIGHUP)
time.sleep(0.1)
peer.sendall(OK[20:])
answers = Answers(peer)
status, head, _ = answers.next()
assert status == 200 and b"\r\nConnection: close" in head, head
assert answers.next() is None
PYTHON
  await_end
}

@test "SIGHUP does nothing if it is ignored, as under nohup" {
  local server_command=(nohup)
  start_server </dev/null
  kill -HUP "$server_pid"
  kill -USR1 "$server_pid" # the main thread would take SIGHUP first
  wait_until grep --quiet accepted "$server_log"
  exchange 'GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses 200
  refute_field Connection
}

@test "requests under way are answered, the last one of a connection with Connection: close" {
  start_server
  run_peers <<'PYTHON'
import signal
POST = b"POST /baseline11?n=40 HTTP/1.1\r\nHost: a\r\n"
streams = {
    "a head": (OK[:20], OK[20:], [b"ok"]),
    "content": (POST + b"Content-Length: 2\r\n\r\n1", b"5", [b"55"]),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n1", b"5\r\n0\r\n\r\n", [b"55"]),
    "a head behind requests": (OK + OK + OK[:9], OK[9:], [b"ok"] * 3),
    "nothing yet": (b"", OK, [b"ok"]),
    "several at once": (b"", OK * 20 + POST + b"Content-Length: 0\r\n\r\n", [b"ok"] * 20 + [b"40"]),
}
peers = {name: connect(port) for name in streams}
for name, (before, _, _) in streams.items():
    peers[name].sendall(before)
wait_until_read(port, *peers.values())
os.kill(pid, signal.SIGTERM)
time.sleep(0.1)
for name, (_, behind, expected) in streams.items():
    peers[name].sendall(behind)
    answers = Answers(peers[name])
    for n, content in enumerate(expected):
        status, head, found = answers.next()
        assert status == 200 and found == content, (name, n, head, found)
        assert (b"\r\nConnection: close" in head) == (n == len(expected) - 1), (name, n, head)
    assert answers.next() is None, name
    peers[name].close()
PYTHON
  await_end
}

@test "draining ends after 4 seconds" {
  natively 'descriptors are not private, so they cannot be counted'
  end_during_content
  sleep 3
  kill -0 "$server_pid" || fail "it has not waited"
  await_end 1.5
}

@test "held-up answers are still sent while draining" {
  start_server --threads 1
  run_peers <<'PYTHON'
import re, signal
peer = connect(port, receive_buffer=4096, timeout=30)
count = 0
while counted(pid)[0]["stalled"] == 0:
    peer.sendall(b"".join(map(number, range(count, count + 1000))))
    count += 1000
os.kill(pid, signal.SIGTERM)
time.sleep(0.3)
peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # now it reads as fast as it can
stream = bytearray()
while piece := peer.recv(1 << 20):
    stream += piece
sums = [int(value) for value in re.findall(rb"\r\n\r\n(\d+)", stream)]
assert sums == list(range(count)), f"{len(sums)} of {count} answers, perhaps repeated or out of order"
assert stream.count(b"Connection: close") == 1 == stream[-200:].count(b"Connection: close"), "closed in the midst of it"
PYTHON
  await_end
}

@test "the last answer says Connection: close, even after held-up output" {
  start_server --threads 1 --address "unix:$BATS_TEST_TMPDIR/socket" # which holds 200 KB, whoever reads
  run_peers <<PYTHON
import signal
count = 3500  # 160 KB of requests, 420 KB of answers
peer = socket.socket(socket.AF_UNIX)
peer.settimeout(10)
peer.connect("$BATS_TEST_TMPDIR/socket")
peer.sendall(b"".join(map(number, range(count))))
wait_until(lambda: counted(pid)[0]["stalled"] != 0)
os.kill(pid, signal.SIGTERM)
answers = Answers(peer)
for n in range(count):
    status, head, content = answers.next()
    assert content == b"%d" % n and (b"\r\nConnection: close" in head) == (n == count - 1), (n, head)
assert answers.next() is None
PYTHON
  await_end 3
}

@test "process 1 of a container ends on a signal" {
  local unshare=(unshare --pid --fork --kill-child)
  if ((EUID != 0)); then unshare+=(--user); fi
  "${unshare[@]}" true || skip "this system does not let a test make a PID namespace"
  local server_command=(env --default-signal=HUP "${unshare[@]}")
  start_server
  local signal
  for signal in TERM INT HUP; do
    if [[ $signal != TERM ]]; then start_server; fi
    kill -"$signal" "$(pgrep --parent "$server_pid")"
    await_end
  done
}

# Lets wrk send requests of a profile, and the server end meanwhile; wrk's report is in `output`.
end_under_load() {
  wrk --threads 1 --connections 64 --duration 30s --timeout 8s --script "$root/test/requests.lua" \
    "http://127.0.0.1:$server_port" -- "$1" >"$BATS_TEST_TMPDIR/wrk" 3>&- &
  wrk_pid=$!
  wait_until has_answered "$server_pid" "$server_log" 1000 # under load
  "${@:2}"
  kill "$server_pid"
  await_end 4
  if [[ -n ${second_pid:-} ]]; then wait_until has_answered "$second_pid" "$BATS_TEST_TMPDIR/second.log" 500; fi
  kill -INT "$wrk_pid"
  wait "$wrk_pid"
  wrk_pid=
  output=$(grep --invert-match latencies "$BATS_TEST_TMPDIR/wrk")
  [[ $output != *'Non-2xx'* ]] || fail "$output"
}

@test "draining under load answers every request of accepted connections" {
  local profile
  for profile in baseline pipelined short; do
    start_server
    end_under_load "$profile"
    # Refused new connections are all that may go wrong; they fail when wrk first writes to them.
    [[ $output != *'Socket errors'* || $output =~ 'connect '[0-9]+', read 0, write '[0-9]+', timeout 0' ]] ||
      fail "$profile: $output"
  done
}

# Starts another server on the same port; its process is second_pid.
start_successor() {
  "${server[@]}" --port "$server_port" --reuse-port 2>"$BATS_TEST_TMPDIR/second.log" 3>&- &
  second_pid=$!
  wait_until grep --quiet ' (.* worker' "$BATS_TEST_TMPDIR/second.log"
}

@test "with --reuse-port another server takes over under load, and nothing fails" {
  natively 'IP_MINTTL is not emulated, so a handshake that ends in the last queue may be reset'
  local profile
  for profile in baseline short; do
    start_server --reuse-port
    run_peers >"$BATS_TEST_TMPDIR/peers" 2>&1 <<'PYTHON' &
end = time.monotonic() + 2
count = 0
while time.monotonic() < end:
    with connect(port, source=f"127.0.0.{5 + count % 4}") as peer:
        peer.sendall(LAST)
        assert Answers(peer).next()[0] == 200
    count += 1
assert count > 100, count
PYTHON
    local peers_pid=$!
    end_under_load "$profile" start_successor
    [[ $output != *'Socket errors'* ]] || fail "$profile: $output"
    wait "$peers_pid" || fail "$(<"$BATS_TEST_TMPDIR/peers")"
    server_pid=$second_pid
    second_pid=
    stop_server
  done
}

@test "a server with --reuse-port joins one that was started without it" {
  start_server
  start_successor
  exchange "GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"
  assert_statuses 200
}

@test "requests that arrive together with the signal are answered" {
  # Every event reaches the server 300 ms late.
  start_under_strace --trace=epoll_pwait --inject=epoll_pwait:delay_exit=300000
  run_peers <<'PYTHON'
import signal
os.kill(pid, signal.SIGTERM)
time.sleep(0.1)
new, many = connect(port), connect(port)
# They fill an input buffer to its end: that is not the end of what has arrived.
many.sendall(b"".join(b"GET /baseline11?n=%05d HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaa\r\n\r\n" % n for n in range(3000)))
new.sendall(OK)
status, head, content = Answers(new).next()
assert status == 200 and b"\0" not in head and b"\r\nConnection: close" in head, head
answers = Answers(many)
for n in range(3000):
    status, head, content = answers.next()
    assert content == b"%d" % n and (n == 2999 or b"\r\nConnection: close" not in head), (n, head)
assert answers.next() is None
PYTHON
}

@test "a Unix listener that was shut down is not watched again" {
  build_variant connection_limit=8
  start_server --threads 1 --address "unix:$BATS_TEST_TMPDIR/socket"
  run_peers <<PYTHON
import select
def come():
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(10)
    peer.connect("$BATS_TEST_TMPDIR/socket")
    return peer
busy = come()
busy.sendall(b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
peers = [come() for _ in range(8)]  # the last one waits for a place
for peer in peers[:7]:
    peer.sendall(OK)
    assert Answers(peer).next()[0] == 200
wait_until(lambda: counted(pid)[0]["exhausted"] >= 1)
before = cpu_seconds(pid)
process = os.pidfd_open(pid)
os.kill(pid, signal.SIGTERM)
for peer in peers:
    peer.close()
    time.sleep(0.02)
time.sleep(1)
used = cpu_seconds(pid) - before
assert not select.select([process], [], [], 0)[0], "it has not waited for the content"
busy.sendall(b"7")
assert Answers(busy).next()[2] == b"17"
print(f"# {used * 1000:.1f} ms of CPU", file=open(3, "w"))
assert used < 0.05, f"{used} s"
PYTHON
  await_end 1
}
