#!/usr/bin/env bats
# An answer may be due later: never early, in its place among the other answers, and for nothing but one more wait.
load helper
unset BATS_NO_PARALLELIZE_WITHIN_FILE
teardown() { stop_server; }

# What these tests' peers share, for the Python programs that begin with it.
readonly delays='
import random, select
def delay(ms):
    """A request that is answered with this number, so many milliseconds later."""
    return b"GET /delay/%d HTTP/1.1\r\nHost: a\r\n\r\n" % ms
HOUR = delay(3600000)
def count_of(name):
    return counted(pid)[0][name]
def wait_until_delayed(count):
    wait_until(lambda: count_of("delayed") == count)
def closes(head):
    return b"\r\nConnection: close" in head
'

# Runs the Python program on standard input with `calls`, what strace has written of the worker's calls.
read_calls() {
  stop_server
  wait_until grep --quiet '+++ exited with 0 +++' "$trace"
  { echo "$calls" && cat; } | python3 - "$trace"
}
readonly calls='
import re, sys
traced, begun = [], {}
for line in open(sys.argv[1]):
    thread, text = line.split(None, 1)
    if "<unfinished ...>" in text:
        begun[thread] = text.split("<unfinished ...>")[0]
        continue
    if text.startswith("<... "):
        text = begun.pop(thread) + text.split("resumed>", 1)[1]
    if re.match(r"\w+\(", text):  # not the end of a thread
        traced.append((thread, text))
worker = next(thread for thread, text in traced if text.startswith("epoll_pwait("))
calls = [text for thread, text in traced if thread == worker]
'

@test "GET /delay/MS answers MS, and HEAD the same head" {
  start_server --threads 1
  exchange 'GET /delay/20 HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses 200
  assert_body 20
  assert_field 'Content-Type: text/plain'
  assert_field 'Content-Length: 2'
  refute_field Connection
  local found=${response%%$'\n\n'*}
  exchange 'HEAD /delay/20 HTTP/1.1\r\nHost: a\r\n\r\n'
  [[ $(sed '/^Date/d' <<<"$response") == $(sed '/^Date/d' <<<"$found") ]] || fail "GET: $found"
  exchange 'POST /delay/20 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n'
  assert_statuses 405
  assert_field 'Allow: GET, HEAD, OPTIONS'
}

@test "a delay is 0 to 3,600,000 milliseconds, and any other path behind /delay is a 404" {
  start_server
  check_rows <<'ROWS'
200 open  0      GET /delay/0 HTTP/1.1\r\nHost: a\r\n\r\n
200 open  1      GET /delay/1 HTTP/1.1\r\nHost: a\r\n\r\n
200 open  10     GET /delay/10?x HTTP/1.1\r\nHost: a\r\n\r\n
200 open  10     GET http://a/delay/10?t=3000 HTTP/1.1\r\nHost: a\r\n\r\n
200 open  ""     HEAD /delay/10 HTTP/1.1\r\nHost: a\r\n\r\n
200 close 10     GET /delay/10 HTTP/1.0\r\n\r\n
200 close 10     GET /delay/10 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n
200 open  10     GET /delay/10 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /
404 open  -      GET /delay/3600001 HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay/4294967297 HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay/18446744073709551617 HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay/ HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay?10 HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay/?10 HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay/x HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay/-1 HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay/+1 HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay/1x HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay/1.5 HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay/10/ HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay/10/10 HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /delay/10%20 HTTP/1.1\r\nHost: a\r\n\r\n
404 open  -      GET /Delay/10 HTTP/1.1\r\nHost: a\r\n\r\n
405 open  -      POST /delay/10 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n
405 open  -      DELETE /delay/10 HTTP/1.1\r\nHost: a\r\n\r\n
ROWS
}

@test "an answer of the generator is delayed by its argument t, content first" {
  start_server --threads 1
  check_rows <<'ROWS'
200 open  ""      GET /?t=20 HTTP/1.1\r\nHost: a\r\n\r\n
200 open  .1234   GET /any?t=20&s=5 HTTP/1.1\r\nHost: a\r\n\r\n
200 open  .1234   GET /any?t=0&s=5 HTTP/1.1\r\nHost: a\r\n\r\n
503 open  .1      DELETE /any?t=10&s=2&r=503 HTTP/1.1\r\nHost: a\r\n\r\n
200 open  ""      HEAD /any?t=20&s=5 HTTP/1.1\r\nHost: a\r\n\r\n
200 close .1      GET /any?t=20&s=2 HTTP/1.0\r\n\r\n
200 close .1      GET /any?t=20&s=2&C=1 HTTP/1.1\r\nHost: a\r\n\r\n
200 open  ""      POST /?t=20 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /
200 open  .1      POST /?t=20&s=2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: y\r\n\r\n
200 open  .1      PUT /?t=20&s=2 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab
200 open  ""      HEAD /any?t=20&s=1g HTTP/1.1\r\nHost: a\r\n\r\n
400 open  bad_value:_t\n GET /?t=3600001 HTTP/1.1\r\nHost: a\r\n\r\n
200,400 close -   GET /?t=20 HTTP/1.1\r\nHost: a\r\n\r\nBAD\r\n\r\n
# nginx answers before it reads content that it does not need.
400 close -       POST /?t=20 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n
ROWS
  run_peers <<PYTHON
$delays
for query, late in ((b"t=50", 0.05), (b"t=0", 0), (b"t=80r", 0), (b"t=1m:0&s=0", 0), (b"t=50:100", 0.05),
                    (b"t=1000,t=40", 0.04)):
    peer = connect(port)
    peer.sendall(b"POST /?%b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n" % query)
    interim = peer.recv(100)
    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n", interim
    peer.sendall(b"x")
    wait_until_read(port, peer)
    assert count_of("delayed") == 0, "the delay has begun before the content was there"
    begin = time.monotonic()
    peer.sendall(b"y")
    assert Answers(peer).next()[0] == 200
    assert time.monotonic() - begin >= late, (query, time.monotonic() - begin)
PYTHON
}

# bats test_tags=alone
@test "none of 10,000 answers at once is early" {
  start_server --threads 2
  ulimit -n "$(ulimit -H -n)"
  run_peers <<PYTHON
$delays
import resource
count = min(10000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
peers = [connect(port, source=f"127.0.0.{2 + n % 8}") for n in range(count)]
for peer in peers:
    peer.sendall(OK)
for peer in peers:
    assert peer.recv(4096).endswith(b"ok")
waiting, late_ms, wrong = {}, [], []
epoll = select.epoll()
def receive(seconds):
    for socket, _ in epoll.poll(seconds):
        peer, ms, begin = waiting.pop(socket)
        answer = peer.recv(4096)
        late_ms.append((time.monotonic() - begin) * 1000 - ms)
        if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"\r\n\r\n%d" % ms):
            wrong.append(answer)
chance = random.Random()
for n, peer in enumerate(peers):
    ms = chance.randint(0, 2000)
    request = delay(ms)
    epoll.register(peer, select.EPOLLIN)
    waiting[peer.fileno()] = peer, ms, time.monotonic()
    peer.send(request)
    if n % 16 == 0:
        receive(0)
most = sum(worker["delayed"] for worker in counted(pid, 2))
while waiting:
    before = len(waiting)
    receive(10)
    assert len(waiting) < before, f"{before} are not answered"
late_ms.sort()
shares = 0, 50, 90, 99, 99.9, 100
quantiles = ", ".join(f"{late_ms[int((count - 1) * share / 100)]:.2f} at {share} %" for share in shares)
print(f"# lateness ms: {quantiles}; {most} of {count} waited at once", file=open(3, "w"))
assert not wrong, wrong[:3]
assert late_ms[0] >= 0, f"{-late_ms[0]} ms early"
assert late_ms[count // 2] < 50, f"half of them are {late_ms[count // 2]} ms late or more"
assert most > count // 4, f"at most {most} at once"
assert sum(worker["delayed"] for worker in counted(pid, 2)) == 0
for peer in peers:
    abort(peer)
PYTHON
}

@test "no answer is early, whatever the system's clock says" {
  natively 'the emulator has no time namespace'
  local unshare=(unshare --time --fork)
  if ((EUID != 0)); then unshare+=(--user); fi
  "${unshare[@]}" --monotonic 1 true || skip 'this system does not let a test make a time namespace'
  "${unshare[@]}" --monotonic -1 true || skip 'this unshare cannot set a clock back (util-linux 2.39)'
  # The clocks of these servers pass a power of two while answers wait: another digit of the wheel's time begins there.
  timeout 60 python3 - "${MOTE_SERVER:-$built/server}" "${unshare[@]}" <<PYTHON
port = pid = 0
from peers import *
$delays
import subprocess, sys
chance, servers, waiting = random.Random(), [], []
for shift in 34, 40, 46, 52, 58:
    offset = int(2 ** shift / 1e9 - time.monotonic()) - 2
    command = sys.argv[2:] + ["--monotonic", str(offset), sys.argv[1], "--port", "0", "--threads", "1"]
    servers.append((subprocess.Popen(command, stderr=subprocess.PIPE, text=True), 2 ** shift / 1e9 - offset))
try:
    for server, moment in servers:
        port = int(re.search(r":(\d+)/ ", server.stderr.readline())[1])
        for n in range(200):
            ms, begin = chance.randint(0, 3500), time.monotonic()
            peer = connect(port)
            peer.sendall(delay(ms))
            waiting.append((begin + ms / 1000, peer, ms))
        assert -3 < time.monotonic() - moment < 0, "the moment is not near"
    for due, peer, ms in sorted(waiting, key=lambda answer: answer[0]):
        assert Answers(peer).next()[2] == b"%d" % ms
        late = time.monotonic() - due
        assert 0 <= late < 5, f"{ms} ms, {late} s late"
finally:
    for server, _ in servers:
        # Not by --kill-child: the kernel forgets that when the server gives up root.
        subprocess.run(["pkill", "-KILL", "--parent", str(server.pid)])
        server.wait(10)
PYTHON
}

@test "answers come in the order of the requests, and delays add up" {
  start_server --threads 1
  run_peers <<PYTHON
$delays
peer = connect(port)
answers = Answers(peer)
begin = time.monotonic()
peer.sendall(number(1) + delay(60) + number(2) + number(3) + delay(80) + delay(10) + number(4))
late = []
for content in b"1", b"60", b"2", b"3", b"80", b"10", b"4":
    status, head, found = answers.next()
    assert status == 200 and found == content and not closes(head), (content, head, found)
    late.append(time.monotonic() - begin)
assert late[1] >= 0.06 and late[4] >= 0.14 and late[5] >= 0.15, late
# Many in a row. Each delay begins when the answer before it is sent.
begin = time.monotonic()
peer.sendall(b"".join(delay(n % 7) + number(n) for n in range(100)) + LAST)
for n in range(100):
    assert answers.next()[2] == b"%d" % (n % 7) and answers.next()[2] == b"%d" % n
assert time.monotonic() - begin >= sum(n % 7 for n in range(100)) / 1000
assert closes(answers.next()[1]) and answers.next() is None
PYTHON
}

@test "a delay holds up nothing before it, nor other connections" {
  start_server --threads 1
  run_peers <<PYTHON
$delays
waits = connect(port)
waits.sendall(OK + number(1) + HOUR + OK)
answers = Answers(waits)
assert answers.next()[2] == b"ok" and answers.next()[2] == b"1"
wait_until_delayed(1)
other = connect(port)
for n in range(10):
    other.sendall(number(n))
    assert Answers(other).next()[2] == b"%d" % n
assert count_of("delayed") == 1 and count_of("requests") == 12
abort(waits)
PYTHON
}

@test "requests that arrive during a delay are answered after it" {
  start_server --threads 1
  run_peers <<PYTHON
$delays
POST = b"POST /baseline11?n=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
many = b"".join(map(number, range(2000)))  # more than the input buffer holds
streams = [(number(1) + delay(5)[:9], delay(5)[9:] + number(2) + POST + b"1"), (OK[:9],), (many,)]
peers = [connect(port) for _ in streams]
for peer in peers:
    peer.sendall(delay(1500))
wait_until_delayed(len(peers))
for peer, pieces in zip(peers, streams):
    for piece in pieces:
        peer.sendall(piece)
        time.sleep(0.01)
answers = [Answers(peer) for peer in peers]
assert [answer.next()[2] for answer in answers] == [b"1500"] * 3
assert [answers[0].next()[2] for _ in range(3)] == [b"1", b"5", b"2"]
peers[0].sendall(b"5")
assert answers[0].next()[2] == b"16"
peers[1].sendall(OK[9:] + LAST)
assert [answers[1].next()[2] for _ in range(2)] == [b"ok", b"ok"] and answers[1].next() is None
assert [answers[2].next()[2] for _ in range(2000)] == [b"%d" % n for n in range(2000)]
# They stay in the socket meanwhile.
peers[2].sendall(HOUR)
wait_until_delayed(1)
peers[2].sendall(OK)
time.sleep(0.1)
assert queues(port, peers[2].getsockname()[1])[1] == len(OK), "it has been received"
abort(peers[2])
PYTHON
}

# stream STATUSES BYTES: checks the answers to the bytes sent whole, and writes them to a file.
stream() {
  exchange "$2"
  assert_statuses "$1" "$2"
  streams=$((streams + 1))
  env printf "$2" >"$BATS_TEST_TMPDIR/stream$streams"
}

@test "delayed answers are the same however their requests are split" {
  build_variant block_count=1024 # enough for all connections that the program opens at once
  start_server --threads 1
  local streams=0 get='GET /baseline11?a=1 HTTP/1.1\r\nHost: a\r\n\r\n' host='HTTP/1.1\r\nHost: a\r\n'
  stream '200 200 200 200 200' "${get}GET /delay/40 $host\r\nGET /delay/0 $host\r\n\r\nHEAD /delay/1 $host\r\n$get"
  stream '200 200 200' "POST /?t=30&s=2 ${host}Content-Length: 3\r\n\r\nGETPOST /?t=2&s=3 ${host}\
Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /delay/4 HTTP/1.0\r\n\r\n"
  stream '200 400' "GET /delay/40 $host\r\nGET /delay/2 $host : b\r\n\r\n"
  run timeout 60 python3 "$root/test/fragmentation.py" "$server_port" "$BATS_TEST_TMPDIR"/stream*
  [[ $status == 0 && $(grep --count " 0 differ$" <<<"$output") == 6 ]] || fail "$output"
}

@test "a peer that has sent its end gets its answers" {
  start_server --threads 1
  run_peers <<PYTHON
$delays
rows = [(delay(1000), [b"1000"]), (OK + delay(1000), [b"ok", b"1000"]), (delay(1000) + OK[:9], [b"1000"]),
        (delay(1000) + number(1) + delay(50), [b"1000", b"1", b"50"])]
peers, begin = [], time.monotonic()
for is_late in False, True:
    for stream, contents in rows:
        peers.append((connect(port), contents, is_late))
        peers[-1][0].sendall(stream)
        if not is_late:
            peers[-1][0].shutdown(socket.SHUT_WR)
wait_until_delayed(8)
for peer, _, is_late in peers:
    if is_late:
        peer.shutdown(socket.SHUT_WR)
for peer, contents, _ in peers:
    answers = Answers(peer)
    assert [answers.next()[2] for _ in contents] == contents and answers.next() is None
    assert time.monotonic() - begin >= 1
wait_until(lambda: count_of("open") == 0)
assert count_of("requests") == 14 and count_of("delayed") == 0
PYTHON
}

@test "a connection that is reset during a delay is released at once, and affects no other" {
  start_server --threads 1
  run_peers <<PYTHON
$delays
before = descriptors(pid)
peers = [connect(port) for _ in range(200)]
for n, peer in enumerate(peers):
    peer.sendall(HOUR + OK * (n % 3))
wait_until_delayed(200)
for peer in peers:
    abort(peer)
wait_until(lambda: count_of("open") == count_of("delayed") == 0)
assert descriptors(pid) == before
# Every second one of many that are due at about the same time. Others get their descriptors.
def come(ms):
    peer, begin = connect(port), time.monotonic()
    peer.sendall(delay(ms))
    return peer, begin, ms
peers = [come(1000 + n % 8) for n in range(300)]
for peer, _, _ in peers[::2]:
    abort(peer)
wait_until(lambda: count_of("open") == 150)
idle = [connect(port) for _ in range(75)]
for peer in idle:
    peer.sendall(OK)
    assert Answers(peer).next()[2] == b"ok"
for peer, begin, ms in peers[1::2] + [come(1000 + n % 8) for n in range(75)]:
    assert Answers(peer).next()[2] == b"%d" % ms
    assert time.monotonic() - begin >= ms / 1000
for n, peer in enumerate(idle):  # no answer to an earlier peer has come
    peer.sendall(number(n))
    assert Answers(peer).next()[2] == b"%d" % n
assert count_of("delayed") == 0
PYTHON
}

@test "no timeout runs during a delay, and all of them do after it" {
  build_variant head_timeout_s=1 content_timeout_s=1 idle_timeout_s=1 send_timeout_s=1 linger_timeout_s=1
  start_server --threads 1
  run_peers <<PYTHON
$delays
from deadlines import *
def answer_of(stream, *late):
    """Sends this, the later pieces during the delay. Returns the connection, and when its answer was due."""
    peer = connect(port)
    begin = time.monotonic()
    peer.sendall(stream)
    for piece in late:
        time.sleep(0.2)
        peer.sendall(piece)
    answers = Answers(peer)
    assert answers.next()[0] == 200 and time.monotonic() - begin >= 3.5
    return peer, answers, begin + 3.5
def idle():
    peer, _, begin = answer_of(delay(3500))
    return end_of(peer, begin)
def used_again():
    peer, answers, _ = answer_of(POST_T + b"Content-Length: 1\r\n\r\n", b"x")
    time.sleep(0.5)
    begin = time.monotonic()
    peer.sendall(delay(1))
    assert answers.next()[2] == b"1"
    return end_of(peer, begin)
def with_more():
    peer, answers, begin = answer_of(delay(3500) + number(1))
    assert answers.next()[2] == b"1"
    return end_of(peer, begin)
def part_of_a_head():
    peer, _, begin = answer_of(delay(3500) + OK[:9])
    return end_of(peer, begin)
def late_part_of_a_head():
    peer, _, begin = answer_of(delay(3500), OK[:9])
    return end_of(peer, begin)
def part_of_content():
    peer, _, begin = answer_of(delay(3500) + POST + b"Content-Length: 2\r\n\r\n1")
    return end_of(peer, begin)
def last():
    peer, _, begin = answer_of(delay(3500)[:-2] + b"Connection: close\r\n\r\n")
    assert peer.recv(1) == b""
    while True:  # until it has not waited for our end any longer
        try:
            peer.send(b"x")
            time.sleep(0.05)
        except OSError:
            return time.monotonic() - begin, b""
POST_T = b"POST /?t=3500 HTTP/1.1\r\nHost: a\r\n"
reason = b"\r\n\r\n408 Request Timeout\r\n"
expect((idle, 1, None), (used_again, 1, None), (with_more, 1, None), (part_of_a_head, 1, 408, reason),
       (late_part_of_a_head, 1, 408, reason), (part_of_content, 1, 408, reason), (last, 1, None))
PYTHON
}

@test "while the server drains, delays of less than 4 seconds end, and their connections with them" {
  start_server --threads 1
  run_peers <<PYTHON
$delays
import signal
def asks(ms, *more):
    peer = connect(port)
    peer.sendall(delay(ms) + b"".join(more))
    return peer
begin = time.monotonic()
alone, with_more, with_empty_lines, late = asks(2000), asks(2000, number(1)), asks(2000, b"\r\n\r\n"), asks(2000)
wait_until_delayed(4)
os.kill(pid, signal.SIGTERM)
time.sleep(0.2)
late.sendall(number(2) + delay(5))
for peer, contents in ((alone, [b"2000"]), (with_empty_lines, [b"2000"]), (with_more, [b"2000", b"1"]),
                       (late, [b"2000", b"2", b"5"])):
    answers = Answers(peer)
    for n, content in enumerate(contents):
        status, head, found = answers.next()
        assert found == content and closes(head) == (n == len(contents) - 1), (contents, n, head, found)
    assert time.monotonic() - begin >= 2
    assert answers.next() is None
    peer.close()
PYTHON
  await_end 1 # although it would have two seconds more
}

@test "a delay that is longer than a drain is cut off after 4 seconds" {
  start_server --threads 1
  run_peers <<PYTHON
$delays
import signal
peers = [connect(port) for _ in range(3)]
for peer, stream in zip(peers, (HOUR, delay(6000), HOUR + OK)):
    peer.sendall(stream)
wait_until_delayed(3)
begin = time.monotonic()
os.kill(pid, signal.SIGTERM)
for peer in peers:
    try:
        assert peer.recv(1) == b""
    except ConnectionResetError:
        pass  # what is in the block or in the socket was not answered
    assert 3.9 < time.monotonic() - begin < 5.5, f"{time.monotonic() - begin} s"
PYTHON
  await_end 1
}

@test "16,000 waiting connections take less than 64 bytes each more than idle ones" {
  natively 'some of the memory is that of the emulator'
  start_server --threads 1
  ulimit -n "$(ulimit -H -n)"
  run_peers <<PYTHON
$delays
import resource
count = min(16000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
peers = []
for n in range(count):
    peers.append(connect(port, source=f"127.0.0.{2 + n % 8}"))
    peers[n].sendall(OK)
for peer in peers:
    assert peer.recv(4096).endswith(b"ok")
idle = memory_kib(pid)
for peer in peers:
    peer.sendall(delay(3000000 + count % 60000))
wait_until_delayed(count)
waiting = memory_kib(pid)
print(f"# idle {idle} KiB, waiting {waiting} KiB: {(waiting - idle) * 1024 / count:.1f} bytes each", file=open(3, "w"))
assert (waiting - idle) * 1024 < 64 * count
for peer in peers:
    abort(peer)
wait_until_delayed(0)
PYTHON
}

@test "when half of the blocks hold requests behind delayed ones, an answer is the last one, and nobody is harmed" {
  build_variant "${few_blocks[@]}"
  start_server --threads 1
  run_peers <<PYTHON
$delays
def asks(stream):
    """A connection that waits for an answer, or has one, with this behind the request."""
    peer = connect(port)
    peer.sendall(stream)
    wait_until_read(port, peer)
    return peer, Answers(peer)
def expect(peer, contents, ends):
    for n, content in enumerate(contents):
        status, head, found = peer[1].next()
        assert found == content and closes(head) == (ends and n == len(contents) - 1), (n, head, found)
    if ends:
        assert peer[1].next() is None
    else:
        peer[0].sendall(number(5))
        assert peer[1].next()[2] == b"5"
rich = [asks(HOUR + OK) for _ in range(2)]
wait_until_delayed(2)
poor = [asks(delay(100) + number(7)) for _ in range(3)]
frugal = [asks(delay(100)) for _ in range(3)] + [asks(delay(100) + b"\r\n" * n) for n in range(1, 4)]
frugal[0][0].sendall(b"\r\n\r\n")
# Held-up output still finds a block.
reader = connect(port, receive_buffer=4096)
sender = threading.Thread(target=reader.sendall, args=(b"".join(map(number, range(30000))),))
sender.start()
wait_until(lambda: count_of("stalled") != 0)
for peer in poor:
    expect(peer, [b"100"], True)
for peer in frugal:
    expect(peer, [b"100"], False)
answers = Answers(reader)
for n in range(30000):
    assert answers.next()[2] == b"%d" % n
sender.join()
assert count_of("delayed") == 2
# The blocks are free again when their connections are closed, and when the requests in them are answered.
for peer, _ in rich:
    abort(peer)
wait_until_delayed(0)
for _ in range(2):
    for peer in [asks(delay(300) + number(6)) for _ in range(2)]:
        expect(peer, [b"300", b"6"], False)
PYTHON
}

@test "a delayed answer costs one more wait and one look at the clock" {
  natively 'the emulator makes calls of its own'
  local trace=$BATS_TEST_TMPDIR/trace
  start_under_strace --output="$trace"
  run_peers <<PYTHON
$delays
peer = connect(port)
answers = Answers(peer)
for request in [OK, delay(20), delay(0), b"GET /?t=21 HTTP/1.1\r\nHost: a\r\n\r\n"] * 20:
    peer.sendall(request)
    assert answers.next()[0] == 200
time.sleep(1.2)  # longer than a tick
abort(peer)
PYTHON
  read_calls <<'PYTHON'
# The calls from each receive to the next one.
turns = {"/pipeline": [], "/delay/20": [], "/delay/0": [], "/?t=21": [], "": []}
turn = []
for text in calls:
    if text.startswith("recvfrom("):
        request = re.search(r'"GET (\S+) HTTP', text)
        turn = []
        turns[request[1] if request else ""].append(turn)
    turn.append(re.match(r"\w+", text)[0])
    if "CLOCK_MONOTONIC" in text:
        turn[-1] += " MONOTONIC"
    if turn[-1] == "epoll_pwait":
        assert ", -1, NULL, " in text, f"a wait for some time: {text}"
one = ["recvfrom", "sendto", "epoll_pwait"]
late = ["recvfrom", "clock_gettime MONOTONIC", "epoll_pwait2", "sendto", "epoll_pwait"]
for request, expected in ("/pipeline", one), ("/delay/0", one), ("/delay/20", late), ("/?t=21", late):
    # A tick of the server's clock is one more event, and does not belong here; nor does the end of the connection.
    found = [turn for turn in turns[request] if "timerfd_settime" not in turn and "close" not in turn]
    assert len(found) >= 10, turns[request]
    assert all(turn == expected for turn in found), (request, [turn for turn in found if turn != expected])
count = sum(text.startswith("epoll_pwait2(") for text in calls)
ticks = sum(text.startswith("timerfd_settime(") for text in calls)
assert 40 <= count <= 40 + ticks, f"{count} waits with a limit for 40 delays"
PYTHON
}

@test "without epoll_pwait2 a delay ends in time, too" {
  natively 'the calls are those of the emulator, which lacks this one, too'
  local error trace=$BATS_TEST_TMPDIR/trace
  for error in ENOSYS EPERM; do
    start_under_strace --output="$trace" --trace=epoll_pwait2,epoll_pwait --inject="epoll_pwait2:error=$error"
    run_peers <<PYTHON
$delays
peers = []
for n in range(50):
    peers.append((connect(port), n * 7 % 50 * 5, time.monotonic()))
    peers[-1][0].sendall(delay(peers[-1][1]))
for peer, ms, begin in sorted(peers, key=lambda peer: peer[1] / 1000 + peer[2]):
    assert Answers(peer).next()[2] == b"%d" % ms
    assert time.monotonic() - begin >= ms / 1000, f"{ms} ms: {time.monotonic() - begin}"
answers = Answers(peer)
for ms in range(1, 30):
    peer.sendall(delay(ms))
    assert answers.next()[2] == b"%d" % ms
PYTHON
    read_calls <<'PYTHON'
waits = []
for failed, call in zip(calls, calls[1:]):
    if failed.startswith("epoll_pwait2("):
        assert "INJECTED" in failed, failed
        waits.append(int(re.match(r"epoll_pwait\(.*, (-?\d+), NULL, \d+\)", call)[1]))
# A delay ends with a tick of the wheel, so a wait takes a part of a millisecond more, and is rounded up.
assert set(range(2, 31)) <= set(waits), waits
assert 50 <= len(waits) < 250, f"{len(waits)} waits"  # for 79 delays, and 50 requests that arrive during others
PYTHON
  done
}
