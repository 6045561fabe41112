#!/usr/bin/env bats
# Every connection ends within its deadline, whatever its peer does.
load helper
unset BATS_NO_PARALLELIZE_WITHIN_FILE
setup_file() { build_variant "${short_limits[@]}"; }
teardown() { stop_server; }

@test "input hidden by urgent data out of order is answered by the deadline" {
  natively 'what is urgent is left to the emulator'
  ((EUID == 0)) || skip 'only root can make a TUN device'
  [[ -c /dev/net/tun ]] || skip 'this system has no TUN devices'
  unshare --net true || skip 'this system does not let a test make a network namespace'
  run timeout 60 unshare --net python3 "$root/test/tun_peer.py" 1 2 3 "$server_program"
  [[ $status == 0 ]] || fail "$output"
}

@test "input hidden by a passed descriptor is answered by the deadline" {
  start_server --threads 1 --address "unix:$BATS_TEST_TMPDIR/socket"
  run_peers <<PYTHON
path = "$BATS_TEST_TMPDIR/socket"
POST = b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
# What comes with the descriptor, what comes behind it, the answers to both, and the limit at which all is over.
rows = {
    "between two requests": (OK, OK, 2, 3),
    "behind an empty line": (b"\r\n", OK, 1, 1),
    "inside the first head": (OK[:10], OK[10:], 1, 1),
    "inside the second head": (OK + OK[:10], OK[10:], 2, 1),
    "inside content": (POST + b"1", b"2" + OK, 2, 2),
    "behind content": (POST + b"12", OK, 2, 3),
}
os.kill(pid, signal.SIGSTOP)
peers = []
for before, behind, _, _ in rows.values():
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    socket.send_fds(peer, [before], [0])
    peer.sendmsg([behind])
    peers.append(peer)
os.kill(pid, signal.SIGCONT)
start = time.monotonic()
failures = []
for peer, (name, (_, _, count, limit)) in sorted(zip(peers, rows.items()), key=lambda row: row[1][1][3]):
    stream = b""
    has_ended = False
    while stream.count(b"HTTP/1.1 200") < count and not has_ended:
        peer.settimeout(max(0.01, start + limit + 3 - time.monotonic()))
        try:
            piece = peer.recv(65536)
            has_ended = piece == b""
            stream += piece
        except ConnectionError:
            has_ended = True
        except TimeoutError:
            failures.append(f"{name}: after {time.monotonic() - start:.1f} s neither an end nor more than {stream}")
            break
    print(f"{name}: {time.monotonic() - start:.1f} s, {stream.count(b'HTTP/1.1')} answers, ended: {has_ended}")
    if has_ended:
        failures.append(f"{name}: it has ended with {stream}")
assert not failures, failures
# Those that were answered have their idle time now.
wait_until(lambda: counted(pid)[0]["open"] == 0, start + 3 + 3 + 3 - time.monotonic())
PYTHON
}

@test "a flood of empty lines does not extend the deadline" {
  start_server --threads 1
  run_peers <<'PYTHON'
from floods import *
flood = b"\r\n" * 32768
expect_ends([("never used", connect(port), endlessly(flood), 1, 3, None),
             ("used", used(port), endlessly(flood), 3, 3, None)])
PYTHON
}

@test "halves of empty lines do not extend the deadline" {
  start_server --threads 1
  run_peers <<'PYTHON'
from floods import *
def halves():
    return in_turn((b"\r", 0.5), (b"\n", 0.05))
def halves_turned_around():
    return first(b"\r", in_turn((b"\n", 0.05), (b"\r", 0.5)))
def late_halves():  # one of them is there whenever the clock ticks
    return in_turn((b"\r", 0.85), (b"\n", 0.02))
def the_next_half_at_once():
    return first(b"\r", endlessly(b"\n\r", 0.3))
rows = []
for pieces in halves, halves_turned_around, late_halves, the_next_half_at_once:
    rows.append((f"{pieces.__name__}, never used", connect(port), pieces(), 1, 2, None))
    rows.append((f"{pieces.__name__}, used", used(port), pieces(), 3, 2, None))
expect_ends(rows)
PYTHON
}

@test "a request after half an empty line is answered, within its own deadline" {
  start_server --threads 1
  run_peers <<'PYTHON'
peer = connect(port)
answers = Answers(peer)
for pause in 1, 1, 2, 2:  # shorter than idle_timeout_s
    peer.sendall(OK)
    assert answers.next()[0] == 200
    peer.sendall(b"\r")
    time.sleep(pause)
    if pause == 1:
        peer.sendall(b"\n" + OK)
    else:
        peer.sendall(b"\n" + OK[:10])
        time.sleep(0.5)  # shorter than head_timeout_s
        peer.sendall(OK[10:])
    assert answers.next()[0] == 200
PYTHON
}

@test "a head or content without end gets a 408, however fast it comes" {
  start_server --threads 1
  run_peers <<'PYTHON'
from floods import *
def with_length():
    return b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 4294967295\r\n\r\n"
head = OK[:-2]
expect_ends([
    ("a head, slowly", connect(port), first(head, endlessly(b"a", 0.2)), 1, 3, 408),
    ("a head, a byte each millisecond", connect(port), first(head, endlessly(b"a", 0.001)), 1, 3, 408),
    ("a second head, in lines", used(port), first(head, in_turn((b"a: ", 0.01), (b"b\r\n", 0.01))), 1, 3, 408),
    ("content, slowly", connect(port), first(with_length(), endlessly(b"1", 0.2)), 2, 3, 408),
    ("content, 10 MB/s", connect(port), first(with_length(), endlessly(b"1" * 10000, 0.001)), 2, 3, 408),
    ("chunks, slowly", connect(port), first(CHUNKED, in_turn((b"1\r\n", 0.2), (b"1\r\n", 0.2))), 2, 3, 408)])
expect_ends([(f"chunks, as fast as they can ({begin.__name__})", begin(port), first(CHUNKED, endlessly(b"1\r\n1\r\n" * 8192)), 2, 3, 408)
             for begin in (connect, used)])
PYTHON
}

@test "SIGSTOP and SIGCONT do not extend the time to drain" {
  local server_program=$built/server # with more time for content than for the end
  start_server --threads 1
  run_peers <<'PYTHON'
import select
peer = connect(port)
peer.sendall(b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n1")
wait_until_read(port, peer)
os.kill(pid, signal.SIGTERM)
start = time.monotonic()
process = os.pidfd_open(pid)
while time.monotonic() < start + 6:
    os.kill(pid, signal.SIGSTOP)
    if select.select([process], [], [], 0.25)[0]:
        break
    os.kill(pid, signal.SIGCONT)
    if select.select([process], [], [], 0.25)[0]:
        break
else:
    raise AssertionError("it is still there after 6 s")
seconds = time.monotonic() - start
print(f"gone after {seconds:.1f} s")
assert seconds > 3.5, seconds
PYTHON
}
