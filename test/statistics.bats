#!/usr/bin/env bats
# What the workers count, and say on SIGUSR1.
load helper
unset BATS_NO_PARALLELIZE_WITHIN_FILE
teardown() { stop_server; }

@test "SIGUSR1 prints exact counts, and the server goes on" {
  start_server --threads 1
  run -0 timeout 60 python3 "$root/test/counted_requests.py" "$server_port" "$server_pid"
}

@test "each worker prints its own line" {
  start_server --threads 5
  run_peers <<'PYTHON'
for n in range(100):
    with connect(port) as peer:
        peer.sendall(LAST)
        assert Answers(peer).next()[0] == 200
wait_until(lambda: sum(worker["open"] for worker in counted(pid, 5)) == 0)
workers = counted(pid, 5)  # a connection is closed once all else is counted
assert sum(worker["requests"] for worker in workers) == sum(worker["accepted"] for worker in workers) == 100, workers
assert sum(worker["requests"] != 0 for worker in workers) >= 3, workers
PYTHON
  # The lines name their workers. A last one has the sums.
  local said
  said=$(tail --lines=6 "$server_log")
  for number in 1 2 3 4 5; do grep --quiet "^mote: worker $number: " <<<"$said" || fail "$said"; done
  [[ ${said##*$'\n'} == 'mote: all 5 workers: 0 open, 0 delayed, 100 accepted, 100 requests, '* ]] || fail "$said"
}

@test "an answer that waits is counted as delayed, and as a request when it is sent" {
  start_server --threads 1
  run_peers <<'PYTHON'
def expect(**numbers):
    try:
        wait_until(lambda: numbers.items() <= counted(pid)[0].items(), seconds=5)
    except AssertionError:
        raise AssertionError(f"{counted(pid)[0]} instead of {numbers}") from None
peers = [connect(port) for _ in range(3)]
for peer, ms, more in zip(peers, (1500, 3600000, 3600000), (b"", b"", OK)):
    peer.sendall(b"GET /delay/%d HTTP/1.1\r\nHost: a\r\n\r\n" % ms + more)
expect(**{"open": 3, "delayed": 3, "requests": 0, "bytes out": 0})
_, head, content = Answers(peers[0]).next()
expect(**{"open": 3, "delayed": 2, "requests": 1, "bytes out": len(head) + 4 + len(content)})
for peer in peers:
    abort(peer)
expect(open=0, delayed=0, requests=1, expired=0, stalled=0)
PYTHON
}

@test "expired connections, stalled sends and exhausted descriptors are counted" {
  natively 'the emulator has descriptors of its own'
  build_variant head_timeout_s=1 send_timeout_s=1
  start_server --threads 1 --no-sandbox # so that its limit can be changed
  run_peers <<'PYTHON'
import resource
late = connect(port)
late.sendall(b"GET ")
assert Answers(late).next()[0] == 408
wait_until(lambda: counted(pid)[0]["expired"] == 1)
slow = connect(port, receive_buffer=4096)
sent = 0
try:
    while True:
        slow.sendall(OK * 100)
except ConnectionError:
    pass
found = counted(pid)[0]
assert found["stalled"] == 1 and found["expired"] == 2 and found["4xx"] == 1, found
# What it has held back was never sent.
assert found["bytes out"] < found["requests"] * 117, found
late.close()
wait_until(lambda: counted(pid)[0]["open"] == 0)
assert counted(pid)[0]["exhausted"] == 0
resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, 8))
peers = [connect(port) for _ in range(2)]
wait_until(lambda: counted(pid)[0]["exhausted"] >= 1)
PYTHON
}

@test "held-up output is counted when it is sent" {
  start_server --threads 1
  run_peers <<'PYTHON'
peer = connect(port, receive_buffer=4096)
def send():
    for _ in range(3000):
        peer.sendall(OK * 10)
thread = threading.Thread(target=send)
thread.start()
wait_until(lambda: counted(pid)[0]["stalled"] != 0)
answers = Answers(peer)
size = 0
for _ in range(30000):
    status, head, content = answers.next()
    size += len(head) + 4 + len(content)
thread.join()
expected = {"requests": 30000, "bytes in": 30000 * len(OK), "bytes out": size}
wait_until(lambda: expected.items() <= counted(pid)[0].items())
PYTHON
}

@test "a full pipe as standard error blocks nothing; its lines are dropped" {
  natively 'the emulator has a thread of its own, which takes signals'
  timeout 60 python3 - "$BATS_TEST_TMPDIR/socket" "$built/server" <<'PYTHON'
import os, signal, subprocess, sys
from peers import *
path, program = sys.argv[1:]

def fill(pipe):
    # A description of its own: the server's must go on blocking.
    writer = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(writer, b"x")
    except BlockingIOError:
        os.close(writer)

def asks(pid, number):
    """Sends a signal, and returns once the main thread has taken it."""
    os.kill(pid, number)
    pending = lambda: int(pathlib.Path(f"/proc/{pid}/status").read_text().split("ShdPnd:")[1].split()[0], 16)
    wait_until(lambda: pending() == 0)

def is_answered():
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(10)
            peer.connect(path)
            peer.sendall(LAST)
            return Answers(peer).next()[0] == 200
    except (FileNotFoundError, ConnectionRefusedError):
        return False

for is_full_at_start in True, False:
    read, write = os.pipe()
    if is_full_at_start:
        fill(write)
    if os.path.exists(path):
        os.unlink(path)
    server = subprocess.Popen([program, "--threads", "2", "--address", "unix:" + path], stderr=write)
    if not is_full_at_start:
        assert b" unix:" in os.read(read, 4096)
        fill(write)
    wait_until(is_answered)
    asks(server.pid, signal.SIGUSR1)
    server.terminate()
    assert server.wait(10) == 0
    os.close(write)
    while piece := os.read(read, 1 << 16):
        assert not piece.strip(b"x"), piece
    os.close(read)
PYTHON
}
