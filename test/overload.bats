#!/usr/bin/env bats
# More than fits: late readers, slow attacks, masses of connections, and resources that run out.
load helper
unset BATS_NO_PARALLELIZE_WITHIN_FILE
setup_file() { build_server; }
teardown() { stop_server; }

@test "3,000 pipelined requests of a peer that reads only afterwards are all answered, for 200 such peers at once" {
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

@test "16,000 connections that come, are served, and go abruptly leave nothing behind, three times over" {
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

@test "a listener that cannot be watched again is tried until it can, though nobody is connected" {
  natively 'the calls are those of the emulator'
  # The worker's calls of epoll_ctl: two connections; the listener out, then three times in again: when the one and the
  # other connection close, and at the next tick of the clock.
  local server_command=(strace --daemonize --follow-forks --output="$BATS_TEST_TMPDIR/calls" --trace=epoll_ctl
    --inject=epoll_ctl:error=ENOSPC:when=4..6)
  start_server --threads 1 --no-sandbox
  run_peers <<'PYTHON'
import resource
limit = resource.prlimit(pid, resource.RLIMIT_NOFILE, (9, 9))  # room for two connections
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

@test "every send takes one byte, and the answers are whole" {
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

@test "system calls that are interrupted are made again" {
  local call
  for call in recvfrom sendto accept4 epoll_pwait; do
    start_under_strace --trace="$call" --inject="$call:error=EINTR:when=2+3"
    exchange_some
    stop_server
  done
}

@test "a send that is refused for now is made again when the socket is writable" {
  start_under_strace --trace=sendto --inject=sendto:error=EAGAIN:when=2+3
  exchange_some
  stop_server
}

@test "accept4 tries again after every error of a connection or of the network, and pauses after the others" {
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

@test "an error of accept4 that lasts costs a call a second" {
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

@test "a connection that breaks takes no other with it" {
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

@test "a connection that epoll cannot take is closed, and the next one is served" {
  start_under_strace --trace=epoll_ctl --inject=epoll_ctl:error=ENOMEM:when=4
  run_peers <<'PYTHON'
def is_served():
    peer = connect(port, timeout=5)  # shorter than the time that it would have
    peer.sendall(OK)
    try:
        return Answers(peer).next() is not None
    except ConnectionResetError:
        return False
# strace counts for each thread; the fourth call of the worker fails, of which there are three in the main thread.
assert [is_served() for _ in range(6)] == [True, True, True, False, True, True]
PYTHON
  stop_server
}
