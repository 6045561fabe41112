#!/usr/bin/env bats
# More than fits: late readers, slow attacks, masses of connections, and resources that run out.
load helper
unset BATS_NO_PARALLELIZE_WITHIN_FILE
teardown() { stop_server; }

@test "200 peers that send 3,000 requests before they read get all answers" {
  start_server
  run_peers <<'PYTHON'
from concurrent.futures import ThreadPoolExecutor
def late_reader(name):
    peer = connect(port, receive_buffer=4096, timeout=60)
    stream = b"".join(number(name * 10000 + n) for n in range(3000))
    sender = threading.Thread(target=peer.sendall, args=(stream,))
    sender.start()
    sender.join(2)  # not longer: it may not end before the answers are read
    answers = Answers(peer)
    for n in range(3000):
        assert answers.next()[2] == b"%d" % (name * 10000 + n), "answers lost, repeated or out of order"
    sender.join()
    peer.sendall(LAST)
    assert answers.next()[0] == 200 and answers.next() is None
    return peer
probe = Probe(port)
late_reader(0).close()
with ThreadPoolExecutor(200) as pool:
    for peer in pool.map(late_reader, range(200)):
        peer.close()
probe.stop()
wait_until(lambda: descriptors(pid) < 20)
PYTHON
}

@test "the server answers at once during slow heads, slow content and slow reading, 1,000 connections each" {
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
while any(map(is_running, (${attacks[0]}, ${attacks[1]}, ${attacks[2]}))):
    most, held = max(most, memory_kib(pid)), max(held, descriptors(pid))
    time.sleep(0.1)
slowest = probe.stop()
print(f"# at most {most} KiB and {held} connections a worker; the slowest of {len(probe.times)} probes took {slowest * 1000:.0f} ms",
      file=open(3, "w"))
assert held > 500, "there was no attack"
assert slowest < 2, f"{slowest} s"
assert most < 40960, f"{most} KiB"  # two workers with 256 blocks of 64 to 96 KiB each, and the table
PYTHON
  wait "${attacks[@]}" || true # its status says whether it found the server slow, in its own terms
}

@test "three times 16,000 connections that are served and reset leave nothing behind" {
  natively 'some of the memory is that of the emulator'
  start_server
  ulimit -n "$(ulimit -H -n)"
  run_peers <<'PYTHON'
import resource
count = min(16000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
before = descriptors(pid)
after = []
for _ in range(3):
    peers = []
    for n in range(count):
        peers.append(connect(port, source=f"127.0.0.{2 + n % 4}"))
        peers[-1].sendall(OK)
    for peer in peers:
        assert peer.recv(4096).endswith(b"ok")
    for peer in peers:
        abort(peer)
    wait_until(lambda: descriptors(pid) == before)
    after.append(memory_kib(pid))
print(f"# {count} connections; afterwards {after} KiB", file=open(3, "w"))
assert after[1] <= after[0] + 8 and after[2] <= after[0] + 8, after
PYTHON
}

@test "a listener that cannot be watched is tried again, even without connections" {
  natively 'the calls are those of the emulator'
  # The worker's calls of epoll_ctl: three at its start; two connections; the listener out, then three times in again:
  # when the one and the other connection close, and at the next tick of the clock.
  local server_command=(strace --daemonize --follow-forks --output="$BATS_TEST_TMPDIR/calls" --trace=epoll_ctl
    --inject=epoll_ctl:error=ENOSPC:when=7..9)
  start_server --threads 1 --no-sandbox
  run_peers <<'PYTHON'
import resource
limit = resource.prlimit(pid, resource.RLIMIT_NOFILE, (10, 10))  # room for two connections
peers = [connect(port) for _ in range(3)]
for peer in peers[:2]:
    peer.sendall(OK)
    assert Answers(peer).next()[0] == 200
    peer.close()
peers[2].sendall(OK)
assert Answers(peers[2]).next()[0] == 200
PYTHON
  run -0 grep --count 'EPOLL_CTL_ADD.*ENOSPC.*INJECTED' "$BATS_TEST_TMPDIR/calls"
  [[ $output == 3 ]] || fail "$(<"$BATS_TEST_TMPDIR/calls")"
}

@test "64 workers start and serve in 512 MiB of address space, and fail with one line in 64 MiB" {
  natively 'the emulator has address space of its own'
  local server_command=(prlimit --as=$((512 << 20)))
  start_server --threads 64
  run_peers <<'PYTHON'
for turn in range(200):
    with connect(port) as peer:
        peer.sendall(OK[:9])
        wait_until_read(port, peer)
        peer.sendall(OK[9:] + LAST)
        answers = Answers(peer)
        assert answers.next()[0] == answers.next()[0] == 200
PYTHON
  run -1 prlimit --as=$((64 << 20)) "${server[@]}" --threads 64 --port 0
  [[ $output == 'mote: mmap: Cannot allocate memory (errno 12)' ]] || fail "$output"
}

@test "an established connection waits for at most 64 of a burst of new ones" {
  local trace=$BATS_TEST_TMPDIR/trace
  start_under_strace --output="$trace" --trace=accept4,epoll_pwait
  ulimit -n "$(ulimit -H -n)"
  run_peers <<'PYTHON'
def come(count):
    """Connections that all wait when the server looks; one that is established asks at the same time."""
    os.kill(pid, signal.SIGSTOP)
    peers = [connect(port, source=f"127.0.0.{2 + n % 4}") for n in range(count)]
    established.sendall(OK)
    os.kill(pid, signal.SIGCONT)
    assert answers.next()[0] == 200
    for peer in peers:
        peer.sendall(OK)
    for peer in peers:
        assert peer.recv(4096).endswith(b"ok")
backlog = int(open("/proc/sys/net/core/somaxconn").read())
established = connect(port)
answers = Answers(established)
come(1)
come(min(3000, backlog))
PYTHON
  stop_server
  run -0 awk '/accept4\(/ { if (++count > most) most = count } /epoll_pwait\(/ { count = 0 } END { print most }' "$trace"
  echo "# at most $output calls of accept4 between two of epoll_pwait" >&3
  ((output <= 64)) || fail "$output calls of accept4 in a row"
}

@test "no connection waits at a Unix socket while a worker has room" {
  build_variant connection_limit=8
  start_server --threads 2 --address "unix:$BATS_TEST_TMPDIR/socket"
  run_peers <<PYTHON
def count_of(name):
    return [worker[name] for worker in counted(pid, 2)]
def come():
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(1)
    peer.connect("$BATS_TEST_TMPDIR/socket")
    return peer
def is_answered(peer):
    peer.sendall(OK)
    try:
        return Answers(peer).next()[0] == 200
    except TimeoutError:
        return False
def worker_of(peer):
    before = count_of("requests")
    assert is_answered(peer)
    return int(count_of("requests")[1] > before[1])
late = []
def check(name, peers):
    numbers = [n for n, peer in enumerate(peers) if not is_answered(peer)]
    if numbers:
        late.append((name, numbers))
check("all at once", [come() for _ in range(16)])  # and away again
wait_until(lambda: sum(count_of("open")) == 0)
peers = []
for n in range(16):
    peers.append(come())
    check(f"one after the other, {n}", peers[-1:])
assert count_of("open") == [8, 8], count_of("open")
for turn in range(4):
    time.sleep(1.2)  # the clock has ticked: workers try again whether they can accept
    # One worker has room again, the other one is full.
    worker = turn % 2
    going = [peer for peer in peers if worker_of(peer) == worker][:4]
    for peer in going:
        peers.remove(peer)
        peer.close()
    wait_until(lambda: count_of("open")[worker] == 4)
    coming = []
    for n in range(4):
        coming.append(come())
        check(f"room at worker {worker}, {n}", coming[-1:])
    for peer in coming:  # one that was late
        peer.settimeout(10)
    wait_until(lambda: sum(count_of("open")) == 16)
    peers += coming
assert not late, f"not answered within 1 s: {late}"
PYTHON
}

@test "answers are whole when each send takes one byte" {
  build_edited 's/\(Sys::sendto, socket, address(data), \)long(size)/\11/'
  start_server --threads 1
  run_peers <<'PYTHON'
peer = connect(port)
answers = Answers(peer)
peer.sendall(b"".join(map(number, range(100))) + b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n2")
for n in range(100):
    assert answers.next()[2] == b"%d" % n
peer.sendall(b"0" + LAST)
assert answers.next()[2] == b"20" and answers.next()[2] == b"ok" and answers.next() is None
PYTHON
}

# Requests of several kinds, whole and cut, on connections of their own: all must be answered rightly.
exchange_some() {
  run_peers <<'PYTHON'
for turn in range(40):
    peer = connect(port)
    answers = Answers(peer)
    peer.sendall(number(turn) + b"POST /baseline11?n=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n2")
    assert answers.next()[2] == b"%d" % turn
    peer.sendall(b"0\r\n0\r\n\r\n" + OK * 3)
    assert [answers.next()[2] for _ in range(4)] == [b"21", b"ok", b"ok", b"ok"]
    peer.sendall(LAST)
    assert answers.next()[2] == b"ok" and answers.next() is None
PYTHON
}

@test "interrupted system calls are repeated" {
  local call
  for call in recvfrom sendto accept4 epoll_pwait; do
    start_under_strace --trace="$call" --inject="$call:error=EINTR:when=2+3"
    exchange_some
    run_peers <<<'assert counted(pid)[0]["exhausted"] == 0, "accepting has paused"'
    stop_server
  done
}

@test "a send that would block is repeated when the socket is writable" {
  start_under_strace --trace=sendto --inject=sendto:error=EAGAIN:when=2+3
  exchange_some
  stop_server
}

@test "accept4 is repeated after errors of a connection or the network, and pauses after others" {
  local error
  for error in ECONNABORTED ENETDOWN EPROTO ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH EOPNOTSUPP ENETUNREACH ETIMEDOUT \
    EMFILE ENFILE ENOBUFS ENOMEM EPERM EACCES; do
    start_under_strace --trace=accept4 --inject="accept4:error=$error:when=1"
    exchange "GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"
    assert_statuses 200 "$error"
    stop_server
  done
}

has_taken_its_signal() { grep --quiet '^ShdPnd:.0*$' "/proc/$server_pid/status"; }

@test "a lasting error of accept4 costs one call per second" {
  local error trace=$BATS_TEST_TMPDIR/trace
  for error in EMFILE ENOBUFS EPERM EACCES EIO; do
    start_under_strace --output="$trace" --trace=accept4 --inject="accept4:error=$error"
    run_peers <<'PYTHON'
peer = connect(port)
time.sleep(1.5)
PYTHON
    (($(grep --count accept4 "$trace") < 20)) || fail "$error: $(grep --count accept4 "$trace") calls"
    kill "$server_pid" # it waits for the queue to be empty, which it never is
    wait_until has_taken_its_signal
    stop_server
  done
}

@test "a broken connection affects no other" {
  start_under_strace --trace=sendto,recvfrom --inject=sendto:error=ECONNRESET:when=2+4 \
    --inject=recvfrom:error=ECONNRESET:when=3+4
  run_peers <<'PYTHON'
whole = broken = 0
for turn in range(60):
    peer = connect(port)
    peer.sendall(number(turn))
    try:
        answer = Answers(peer).next()
    except ConnectionError:
        answer = None
    whole, broken = whole + (answer is not None), broken + (answer is None)
    assert answer is None or answer[2] == b"%d" % turn
    peer.close()
assert whole > 20 and broken > 10, (whole, broken)
PYTHON
  stop_server
}

@test "a connection that epoll refuses is closed, and the next one is served" {
  start_under_strace --trace=epoll_ctl --inject=epoll_ctl:error=ENOMEM:when=7
  run_peers <<'PYTHON'
def is_served():
    peer = connect(port, timeout=5)  # shorter than the time that it would have
    peer.sendall(OK)
    try:
        return Answers(peer).next() is not None
    except ConnectionResetError:
        return False
# The seventh call fails. Three are those of the worker's start.
assert [is_served() for _ in range(6)] == [True, True, True, False, True, True]
PYTHON
  stop_server
}

# What the next three tests share: peers that hold a part of a head, and others that come beside them.
holders='
def hold(n):
    """A connection that has sent one byte of a head."""
    peer = connect(port, source=f"127.0.0.{16 + n % 8}")
    peer.sendall(b"G")
    return peer
def is_served(pause=0.05):
    """Whether a client whose head arrives in two parts is answered."""
    with connect(port, timeout=5) as peer:
        try:
            peer.sendall(OK[:20])
            time.sleep(pause)
            peer.sendall(OK[20:])
            answer = Answers(peer).next()
        except OSError:
            return False
        return answer is not None and answer[0] == 200
'

@test "10,000 connections with one byte of a head lock out nobody, and cost at most 4 KiB each" {
  natively 'some of the memory is that of the emulator'
  build_variant "${few_blocks[@]}"
  start_server --threads 1
  ulimit -n "$(ulimit -H -n)"
  run_peers <<PYTHON
$holders
import resource
count = min(10000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
assert is_served()
before = memory_kib(pid)
peers = [hold(n) for n in range(count)]
wait_until(lambda: counted(pid)[0]["bytes in"] >= len(OK) + count)
served = sum(is_served() for _ in range(50))
wait_until(lambda: counted(pid)[0]["open"] <= count)  # those that were served have been closed
grown = memory_kib(pid) - before
opened = counted(pid)[0]["open"]
print(f"# {served} of 50 served beside {opened} of {count} holders; {grown / count:.2f} KiB each", file=open(3, "w"))
assert served == 50, f"{served} of 50, {opened} of {count} connections are open"
assert opened == count, f"{opened} of {count} connections are open"
assert grown <= 4 * count, f"{grown / count} KiB each"
for peer in peers:  # what they wait for is still there
    peer.sendall(OK[1:])
assert all(peer.recv(4096).endswith(b"ok") for peer in peers)
PYTHON
}

@test "when the memory for partial heads runs out, the oldest ones go" {
  build_variant stash_count=8 head_timeout_s=100
  start_server --threads 1
  run_peers <<PYTHON
$holders
def answers_now(peer):
    """The statuses that have come until now, or None if it is still waiting."""
    peer.settimeout(0.05)
    try:
        answer = Answers(peer).next()
    except TimeoutError:
        return None
    assert answer is not None and answer[0] == 408 and b"\r\nConnection: close" in answer[1], answer
    return 408
peers = []
def come(first):
    peers.append(connect(port))
    peers[-1].sendall(first)
    wait_until_read(port, peers[-1])
def sent_away():
    """How many were sent away: the first ones, and nobody else."""
    statuses = [408 if peer in gone else answers_now(peer) for peer in peers]
    gone.update(peer for peer, status in zip(peers, statuses) if status)
    count = statuses.count(408)
    assert statuses == [408] * count + [None] * (len(peers) - count), statuses
    return count
gone = set()
for _ in range(12):  # more than there is memory for
    come(OK[:10])
full = sent_away()
assert 4 <= full <= 6, full
# Whoever has waited longest goes, even if it has sent more just now.
peers[full].sendall(OK[10:11])
come(OK[:10])
assert sent_away() == full + 1
for _ in range(10):
    assert is_served()
# The first of these has sent one more away, and given its place to the others.
assert sent_away() == full + 2
for peer in peers[full + 2:]:
    peer.settimeout(5)
    peer.sendall(OK[10:])
    assert Answers(peer).next()[0] == 200
for peer in gone:
    peer.settimeout(5)
    assert peer.recv(1) == b""
PYTHON
}

@test "peers that take all output blocks do not lock out partial heads" {
  build_variant "${few_blocks[@]}"
  start_server --threads 1 --address "unix:$BATS_TEST_TMPDIR/socket" # TCP takes a little more each 200 ms
  run_peers <<PYTHON
$holders
def connect(_, timeout=0.3):
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(timeout)
    peer.connect("$BATS_TEST_TMPDIR/socket")
    return peer
def stall():
    peer = connect(port)
    try:
        while True:
            peer.sendall(OK * 100)
    except TimeoutError:
        return peer
before = counted(pid)[0]["stalled"]
peers = [stall() for _ in range(4)]
wait_until(lambda: counted(pid)[0]["stalled"] >= before + 4)
served = sum(is_served() for _ in range(20))
wait_until(lambda: counted(pid)[0]["open"] <= 4)  # those that were served have been closed
opened = counted(pid)[0]["open"]
assert opened == 4, f"{opened} of 4 stalled connections are open"
assert served == 20, f"{served} of 20"
PYTHON
}

@test "a server at its descriptor limit uses no CPU, and serves everybody in the end" {
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
