#!/usr/bin/env bats
# What the workers count, and say on SIGUSR1.
load helper
teardown() { stop_server; }

# The Python function that asks for the lines and returns a dictionary for each worker.
count=$(
  cat <<'PYTHON'
import re, signal
lines = 0
def counted(workers=1):
    global lines
    os.kill(pid, signal.SIGUSR1)
    log = pathlib.Path(os.environ["server_log"])
    lines += workers
    def said():
        return [line for line in log.read_text().splitlines(True) if line.endswith("exhausted\n")]
    wait_until(lambda: len(said()) == lines)
    return [{name: int(number) for number, name in re.findall(r"([0-9]+) ([a-z0-9 ]+)", line)} for line in said()[-workers:]]
PYTHON
)

@test "SIGUSR1 prints what has been done, to the byte, and the server goes on" {
  start_server --threads 1
  run_peers <<PYTHON
$count
nothing = {"open": 0, "accepted": 0, "requests": 0, "bytes in": 0, "bytes out": 0, "4xx": 0, "5xx": 0, "expired": 0,
           "stalled": 0, "exhausted": 0}
assert counted() == [nothing]
def expect(numbers):
    """An answer can be here before its bytes are counted."""
    found = []
    def are_there():
        found[:] = counted()
        return found == [numbers]
    try:
        wait_until(are_there)
    except AssertionError:
        raise AssertionError(f"{found} instead of {numbers}") from None
sent = received = 0
def ask(peer, data, statuses):
    global sent, received
    peer.sendall(data)
    sent += len(data)
    answers = Answers(peer)
    for status in statuses:
        answer = answers.next()
        assert answer[0] == status, answer
        received += len(answer[1]) + 4 + len(answer[2])
peers = [connect(port) for _ in range(3)]
post = b"POST /baseline11 HTTP/1.1\r\nHost: a\r\n"
ask(peers[0], OK * 16, [200] * 16)
ask(peers[0], post + b"Content-Length: 2\r\n\r\n2", [])
ask(peers[0], b"0", [200])
ask(peers[0], post + b"Transfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0\r\n\r\n", [200])
ask(peers[1], b"GET /pipeline HTTP/1.1\r\nHo", [])
time.sleep(0.1)
ask(peers[1], b"st: a\r\n\r\n", [200])
ask(peers[1], b"GET /none HTTP/1.1\r\nHost: a\r\n\r\nPUT /pipeline HTTP/1.1\r\nHost: a\r\n\r\n", [404, 405])
ask(peers[1], b"BREW / HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", [501, 404])
ask(peers[1], b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", [200])
ask(peers[2], OK + b"wrong\r\n\r\n", [200, 400])
expected = nothing | {"open": 3, "accepted": 3, "requests": 25, "bytes in": sent, "bytes out": received, "4xx": 4, "5xx": 1}
expect(expected)
peers[0].close()
abort(peers[1])
peers[2].close()
expect(expected | {"open": 0})
PYTHON
}

@test "each worker has a line of its own" {
  start_server --threads 5
  run_peers <<PYTHON
$count
for n in range(100):
    with connect(port) as peer:
        peer.sendall(LAST)
        assert Answers(peer).next()[0] == 200
wait_until(lambda: sum(worker["open"] for worker in counted(5)) == 0)
workers = counted(5)  # a connection is closed once all else is counted
assert sum(worker["requests"] for worker in workers) == sum(worker["accepted"] for worker in workers) == 100, workers
assert sum(worker["requests"] != 0 for worker in workers) >= 3, workers
PYTHON
}

@test "it counts connections whose time is over, sends that stall, and descriptors that run out" {
  natively 'the emulator has descriptors of its own'
  build_variant head_timeout_s=1 send_timeout_s=1
  start_server --threads 1 --no-sandbox # so that its limit can be changed
  run_peers <<PYTHON
$count
import resource
late = connect(port)
late.sendall(b"GET ")
assert Answers(late).next()[0] == 408
wait_until(lambda: counted()[0]["expired"] == 1)
slow = connect(port, receive_buffer=4096)
sent = 0
try:
    while True:
        slow.sendall(OK * 100)
except ConnectionError:
    pass
found = counted()[0]
assert found["stalled"] == 1 and found["expired"] == 2 and found["4xx"] == 1, found
# What it has held back was never sent.
assert found["bytes out"] < found["requests"] * 117, found
late.close()
wait_until(lambda: counted()[0]["open"] == 0)
assert counted()[0]["exhausted"] == 0
resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, 8))
peers = [connect(port) for _ in range(2)]
wait_until(lambda: counted()[0]["exhausted"] >= 1)
PYTHON
  unset server_program
}

@test "what is held back is counted once it is sent" {
  start_server --threads 1
  run_peers <<PYTHON
$count
peer = connect(port, receive_buffer=4096)
def send():
    for _ in range(3000):
        peer.sendall(OK * 10)
thread = threading.Thread(target=send)
thread.start()
wait_until(lambda: counted()[0]["stalled"] != 0)
answers = Answers(peer)
size = 0
for _ in range(30000):
    status, head, content = answers.next()
    size += len(head) + 4 + len(content)
thread.join()
expected = {"requests": 30000, "bytes in": 30000 * len(OK), "bytes out": size}
wait_until(lambda: expected.items() <= counted()[0].items())
PYTHON
}
