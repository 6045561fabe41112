#!/usr/bin/env bats
# What the workers count, and SIGUSR1, which has it printed.
load helper
setup_file() { build_server; }
teardown() { stop_server; }

# Has the statistics printed and expects this line of one worker, the last one of the log.
assert_statistics() {
  local expected="mote: $1"
  is_printed() { kill -USR1 "$server_pid" && [[ $(tail --lines=1 "$server_log") == "$expected" ]]; }
  wait_until is_printed || fail "$(tail --lines=1 "$server_log") instead of $expected"
}

@test "a worker counts connections, requests, bytes and refusals, and SIGUSR1 prints them" {
  start_server --threads 1
  assert_statistics '0 open, 0 accepted, 0 requests, 0 bytes in, 0 bytes out, 0 4xx, 0 5xx, 0 expired, 0 stalled, 0 exhausted'
  run_peers <<'PYTHON'
import os
out = 0
peer = connect(port)
for pieces in ([OK], [OK[:9], OK[9:20], OK[20:]], [OK * 2]):  # a partial head is received once, and counted once
    for piece in pieces:
        peer.sendall(piece)
        time.sleep(0.05)
    out += len(peer.recv(65536))
peer.sendall(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
out += len(peer.recv(65536))
peer.sendall(b"bad\r\n\r\n")
while got := peer.recv(65536):
    out += len(got)
size = 4 * len(OK) + len(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n") + len(b"bad\r\n\r\n")
open(os.environ["BATS_TEST_TMPDIR"] + "/expected", "w").write(
    f"0 open, 1 accepted, 5 requests, {size} bytes in, {out} bytes out, 1 4xx, 0 5xx, 0 expired, 0 stalled, 0 exhausted")
peer.close()
wait_until(lambda: descriptors(pid) < 20)
PYTHON
  assert_statistics "$(cat "$BATS_TEST_TMPDIR/expected")"
}

@test "statistics are a line a worker, and the server goes on" {
  start_server --threads 3
  kill -USR1 "$server_pid"
  are_printed() { [[ $(grep --count accepted "$server_log") == 3 ]]; }
  wait_until are_printed
  exchange 'GET /pipeline HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
  assert_statuses 200
}
