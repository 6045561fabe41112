#!/usr/bin/env bats
# Long answers: content that is produced as its peer takes it, chunks, pieces, and resets in the middle.
load helper
unset BATS_NO_PARALLELIZE_WITHIN_FILE
teardown() { stop_server; }

@test "content is right to the byte, around the size of every buffer, plain and in chunks" {
  start_server --threads 1
  run_peers <<'PYTHON'
from long_answers import *
peer = connect(port)
stream = Stream(peer)
run_size, output_size, answer_content_limit, sendfile_size = 33 * 4096, 30720, 32768, 16384
sizes = {0, 1, 65535, 65536, 65537, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20}
for size in answer_content_limit, output_size, sendfile_size:
    sizes |= {size - 1, size, size + 1}
for size in 0, 1, 49, 50, 51:
    sizes |= {run_size - size, run_size + size, 2 * run_size - size}
for size in sorted(sizes):
    content = generated(size)
    for piece in None, 0, 1, 7, 1000, 65536:
        if piece == 1 and size > 2**20:
            continue
        query = b"s=%d" % size if piece is None else b"s=%d&k=1&p=%d" % (size, piece)
        # Another answer after each: this one ends where it should.
        peer.sendall(get(b"/x?" + query) + get(b"/x?" + query, b"HEAD") + OK)
        expected = content if piece is None else chunked(content, piece)
        head = stream.head()
        length = b"\r\nTransfer-Encoding: chunked\r\n" if piece is not None else b"\r\nContent-Length: %d\r\n" % size
        assert head.startswith(b"HTTP/1.1 200 \r\n") and length in head, (query, head)
        equal(stream.take(len(expected)), expected)
        assert re.sub(b"Date: .*", b"", stream.head()) == re.sub(b"Date: .*", b"", head), query
        stream.expect_ok()
PYTHON
}

@test "content is right at both ends of 1 GiB, and in a chunk whose size needs 63 bits" {
  start_server --threads 1
  run_peers <<'PYTHON'
from long_answers import *
mib = 2**20
peer = connect(port, timeout=30)
stream = Stream(peer)
peer.sendall(get(b"/x?s=1g") + OK)
assert b"\r\nContent-Length: %d\r\n" % 2**30 in stream.head()
equal(stream.take(mib), generated(mib))
stream.skip(2**30 - 2 * mib)
equal(stream.take(mib), generated(mib, 2**30 - mib))
stream.expect_ok()
peer.sendall(get(b"/x?s=9223372036854775807&k=1"))
assert b"\r\nTransfer-Encoding: chunked\r\n" in stream.head()
assert stream.take(18) == b"7fffffffffffffff\r\n"
equal(stream.take(mib), generated(mib))
abort(peer)
wait_until(lambda: counted(pid)[0]["open"] == 0)
PYTHON
}

@test "100 peers that read late get five long answers each, between short ones and in order" {
  start_server --threads 1
  run_peers <<'PYTHON'
from long_answers import *
size, count = 300_000, 100
content = generated(size)
streams = []
for n in range(count):
    peer = connect(port, receive_buffer=4096, timeout=30)
    target = b"/x?s=%d" % size + (b"", b"&k=1", b"&k=1&p=9000", b"&p=50000")[n % 4]
    peer.sendall(OK + b"".join(get(target) + number(n * 10 + answer) for answer in range(5)) + LAST)
    streams.append((n, Stream(peer), n % 4))
# All have more to send than they can: nobody has read anything.
wait_until(lambda: all(queues(port, stream.peer.getsockname()[1])[0] > 0 for _, stream, _ in streams))
expected = [content, chunked(content), chunked(content, 9000), content]
for n, stream, _ in streams:
    if n % 2:  # the others go on with a small one
        stream.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    stream.expect_ok()
for answer in range(5):
    for n, stream, kind in streams:
        assert stream.head().startswith(b"HTTP/1.1 200 \r\n")
        equal(stream.take(len(expected[kind])), expected[kind])
        head = stream.head()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
        equal(stream.take(len(b"%d" % (n * 10 + answer))), b"%d" % (n * 10 + answer))
for n, stream, _ in streams:
    stream.expect_ok()
    assert stream.until_end() == (b"", False)
PYTHON
}

@test "a peer that has closed its side gets its answer, and so does one that the answer closes" {
  start_server --threads 1
  run_peers <<'PYTHON'
from long_answers import *
size = 5_000_000
for request in (get(b"/x?s=%d" % size), get(b"/x?s=%d&C=1" % size), get(b"/x?s=%d" % size, version=b"1.0"),
                get(b"/x?s=%d&k=1" % size, version=b"1.0"), get(b"/x?s=%d&b=7" % size), get(b"/x?s=%d&b=0" % size),
                get(b"/x?s=%d&t=5" % size), get(b"/x?s=%d&p=2500000&d=5" % size)):
    for is_half_closed in True, False:
        if not is_half_closed and b"1.0" not in request and not re.search(rb"[Cb]=", request):
            continue
        peer = connect(port, receive_buffer=4096)
        peer.sendall(request)
        if is_half_closed:
            peer.shutdown(socket.SHUT_WR)
        stream = Stream(peer)
        stream.head()
        wait_until(lambda: queues(port, peer.getsockname()[1])[0] > 0)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        found, is_reset = stream.until_end()
        assert not is_reset, request
        equal(found, generated(size))
        peer.close()
PYTHON
}

@test "a send that is interrupted or refused for now changes nothing" {
  natively 'the emulator makes calls of its own'
  local failure
  for failure in sendfile:error=EAGAIN:when=1+2 sendfile:error=EINTR:when=1+2 sendto:error=EAGAIN:when=1+2 \
    sendto:error=EINTR:when=1+2; do
    start_under_strace --trace="${failure%%:*}" --inject="$failure"
    run_peers <<'PYTHON'
from long_answers import *
peer = connect(port)
stream = Stream(peer)
size = 2_000_000
content = generated(size)
for query, expected in ((b"s=%d" % size, content), (b"s=%d&k=1&p=5000" % size, chunked(content, 5000)),
                        (b"s=%d&k=1&p=200000" % size, chunked(content, 200000)), (b"s=9&p=2", generated(9)),
                        (b"s=90000&p=30000&d=2", generated(90000)), (b"s=9&p=2&d=1&k=1", chunked(generated(9), 2))):
    peer.sendall(get(b"/x?" + query) + OK)
    stream.head()
    equal(stream.take(len(expected)), expected)
    stream.expect_ok()
peer.sendall(get(b"/x?s=900000&x=500000"))
found, is_reset = stream.until_end()
assert len(found) == 500000 and is_reset, len(found)
PYTHON
    stop_server
  done
}

@test "a send that fails ends the connection" {
  natively 'the emulator makes calls of its own'
  local failure
  for failure in sendfile:error=ECONNRESET:when=3 sendto:error=EPIPE:when=1; do
    start_under_strace --trace="${failure%%:*}" --inject="$failure"
    run_peers <<'PYTHON'
from long_answers import *
peer = connect(port)
peer.sendall(get(b"/x?s=2000000"))
assert len(Stream(peer).until_end()[0]) < 2000000
with connect(port) as peer:
    peer.sendall(LAST)
    Stream(peer).expect_ok()
wait_until(lambda: counted(pid)[0]["open"] == 0)
PYTHON
    stop_server
  done
}

@test "no send crosses the end of a piece, and chunks without pauses are sent together" {
  natively 'the emulator makes calls of its own'
  local trace=$BATS_TEST_TMPDIR/trace
  start_under_strace --output="$trace" --trace=sendto,sendfile
  trace=$trace run_peers <<'PYTHON'
from long_answers import *
trace = pathlib.Path(os.environ["trace"])
def sends(query):
    """The size of the head and of the content, and where in them the sends end."""
    before = len(trace.read_text().splitlines())
    with connect(port) as peer:
        peer.sendall(get(b"/x?C=1&" + query))
        answer = Stream(peer).until_end()[0]
    def ends():
        sizes = re.findall(r"(?m)^.*send(?:to|file)\(.* = (\d+)$", "\n".join(trace.read_text().splitlines()[before:]))
        return [sum(map(int, sizes[:n + 1])) for n in range(len(sizes))]
    wait_until(lambda: ends()[-1:] == [len(answer)])
    head = answer.index(b"\r\n\r\n") + 4
    return head, len(answer) - head, ends()
for size, piece in (10, 3), (5, 1), (9, 9), (9, 8), (40000, 20000), (60000, 10000), (50000, 16384), (50000, 16383), \
        (400000, 150000):
    for extra in b"", b"&R=1", b"&d=2":
        head, length, ends = sends(b"s=%d&p=%d%s" % (size, piece, extra))
        assert length == size
        pieces = {head + at for at in range(piece, size, piece)} | {head + size}
        assert pieces <= set(ends), (size, piece, extra, pieces - set(ends))
head, length, ends = sends(b"s=1000&p=3&k=1")
assert ends == [head + length], ends
head, length, ends = sends(b"s=1000&p=300&k=1&d=2")
assert len(ends) == 4, ends
head, length, ends = sends(b"s=5&x=1m")
assert ends == [head + length], ends
PYTHON
}

@test "no piece comes before the pauses before it are over" {
  start_server --threads 1
  run_peers <<'PYTHON'
from concurrent.futures import ThreadPoolExecutor
from long_answers import *
def run(case):
    """Asks for content in pieces, and looks at when its bytes have come."""
    size, piece, extra = case
    pause, content = 0.06, generated(size)
    peer = connect(port)
    start = time.monotonic()
    peer.sendall(get(b"/x?s=%d&p=%d&d=60%s" % (size, piece, extra)) + OK)
    stream = Stream(peer)
    stream.head()
    is_chunked = b"k=1" in extra
    ends = []  # of the pieces, from the shortest part of the content on
    for at in [*range(piece, size, piece), size]:
        ends.append(len(chunked(content[:at], piece)) - 5 if is_chunked else at)
    total = len(chunked(content, piece)) if is_chunked else size
    ends[-1] = total
    while len(stream.held) < total:
        allowed = ends[min(int((time.monotonic() - start) / pause), len(ends) - 1)]
        if len(stream.held) > allowed:
            return f"{case}: {len(stream.held)} bytes after {time.monotonic() - start:.3f} s"
        bytes_now = peer.recv(min(1 << 20, total - len(stream.held)))
        assert bytes_now
        stream.held += bytes_now
    if time.monotonic() - start < pause * (len(ends) - 1):
        return f"{case}: whole after {time.monotonic() - start:.3f} s"
    if b"R=1" not in extra:
        equal(stream.take(total), chunked(content, piece) if is_chunked else content)
    else:
        stream.take(total)
    stream.expect_ok()
cases = [(size, piece, extra) for size, piece in ((4, 1), (10, 3), (20000, 10000), (50000, 20000), (40000, 16384),
                                                  (400000, 150000)) for extra in (b"", b"&k=1", b"&R=1", b"&k=1&R=1")]
with ThreadPoolExecutor(len(cases)) as pool:
    problems = [problem for problem in pool.map(run, cases) if problem]
assert not problems, "\n".join(problems)
# There is no pause where there is no next piece.
peer = connect(port)
stream = Stream(peer)
for query in b"s=5", b"s=5&k=1", b"s=5&p=5", b"s=5&p=0", b"s=0&p=1", b"s=0&k=1", b"s=40000", b"s=5&p=5&k=1&R=1":
    peer.sendall(get(b"/x?d=3600000&%s" % query) + OK)
    stream.head()
    content = generated(int(re.search(rb"s=(\d+)", query)[1]))
    stream.take(len(chunked(content)) if b"k=1" in query else len(content))
    stream.expect_ok()
peer.sendall(get(b"/x?d=3600000&s=99&p=1", b"HEAD") + OK)
stream.head()
stream.expect_ok()
PYTHON
}

@test "x resets the connection after exactly so many bytes" {
  start_server --threads 1
  run_peers <<'PYTHON'
from concurrent.futures import ThreadPoolExecutor
from long_answers import *
def answer_to(query):
    with connect(port) as peer:
        peer.sendall(get(b"/x?" + query))
        peer.shutdown(socket.SHUT_WR)
        return Stream(peer).until_end()[0]
cases = []
for query in b"s=100", b"s=0", b"s=100&k=1&p=7", b"s=100000", b"s=100000&k=1&p=1000", b"s=3m", b"s=3m&k=1", b"r=204":
    answer = answer_to(query)
    head = answer.index(b"\r\n\r\n") + 4
    for size in {0, 1, 50, head - 1, head, head + 1, head + 60, 40000, 2**20, len(answer) - 1, len(answer)}:
        if size <= len(answer):
            cases.append((query, size, answer))
for query in b"s=100&t=5", b"s=100&p=20&d=2", b"s=100&k=1&p=20&d=2":
    answer = answer_to(query)
    cases += [(query, size, answer) for size in (0, 50, len(answer) - 50, len(answer))]
def without_date(answer):
    return re.sub(rb"Date: [^\r]{29}", b"Date", answer)
def run(case):
    query, size, answer = case
    for before in b"", OK:
        for is_late in False, True:
            with connect(port) as peer:
                here = peer.getsockname()[1]
                peer.sendall(before + get(b"/x?%s&x=%d" % (query, size)) + OK)
                stream = Stream(peer)
                if is_late and size < 50000:  # all of it is here before it is read
                    wait_until(lambda: queues(port, here) is None)
                if before:
                    stream.expect_ok()
                found, is_reset = stream.until_end()
                assert is_reset and len(found) == size, (query, size, before, len(found), is_reset)
                equal(without_date(found), without_date(answer[:size]))
with ThreadPoolExecutor(8) as pool:
    list(pool.map(run, cases))
wait_until(lambda: counted(pid)[0]["open"] == 0)
assert counted(pid)[0]["delayed"] == 0
PYTHON
}

@test "x after the end of the answer resets nothing, and the connection stays open" {
  start_server --threads 1
  run_peers <<'PYTHON'
from long_answers import *
peer = connect(port)
stream = Stream(peer)
for query, expected in ((b"s=100", generated(100)), (b"s=0", b""), (b"s=40000", generated(40000)),
                        (b"s=100&k=1&p=7", chunked(generated(100), 7)), (b"s=9&r=204", b""),
                        (b"s=9&p=3&d=1", generated(9))):
    peer.sendall(get(b"/x?%s" % query) + OK)
    head_size = len(stream.head())
    equal(stream.take(len(expected)), expected)
    stream.expect_ok()
    for more in 1, 1000, 2**40:
        peer.sendall(get(b"/x?%s&x=%d" % (query, head_size + len(expected) + more)) + OK)
        assert len(stream.head()) == head_size
        equal(stream.take(len(expected)), expected)
        stream.expect_ok()
peer.sendall(get(b"/x?s=1g&x=200", b"HEAD") + OK)
assert len(stream.head()) < 200
stream.expect_ok()
peer.sendall(get(b"/x?s=1g&x=50", b"HEAD") + OK)
found, is_reset = stream.until_end()
assert len(found) == 50 and is_reset, found
PYTHON
}

@test "a peer that reads nothing is reset when its time is over; one that reads slowly is not, nor one that pauses" {
  natively 'the emulator does not say what the peer has taken'
  build_variant "${short_limits[@]}"
  start_server --threads 1
  run_peers <<'PYTHON'
from concurrent.futures import ThreadPoolExecutor
from long_answers import *
def reads_nothing(query, receive_buffer=4096):
    peer = connect(port, receive_buffer=receive_buffer)
    here = peer.getsockname()[1]
    start = time.monotonic()
    peer.sendall(get(b"/x?" + query))
    wait_until(lambda: (queues(port, here) or [0])[0] > 0)  # it has sent what it could
    while queues(port, here):
        assert time.monotonic() < start + 9, f"{query} {receive_buffer}: it is still there"
        time.sleep(0.02)
    seconds = time.monotonic() - start
    found, is_reset = Stream(peer).until_end()
    # Its time begins once more if the first look finds that bytes on their way have arrived.
    assert 2 <= seconds <= 6.9, f"{query} {receive_buffer}: {seconds:.2f} s"
    assert is_reset, f"{query}: the stream ended as if it were whole"
def reads_slowly(query):
    peer = connect(port)
    peer.sendall(get(b"/x?" + query))
    stream = Stream(peer)
    stream.head()
    end, at = time.monotonic() + 5.5, 0
    while time.monotonic() < end:
        equal(stream.take(20000), generated(20000, at))
        at += 20000
        time.sleep(0.2)
    equal(stream.take(10_000_000 - at), generated(10_000_000 - at, at))
    peer.sendall(OK)
    stream.expect_ok()
def waits_for_pieces():
    peer = connect(port)
    peer.sendall(get(b"/x?s=20&p=10&d=4500") + OK)
    stream = Stream(peer)
    stream.head()
    equal(stream.take(20), generated(20))
    stream.expect_ok()
with ThreadPoolExecutor(12) as pool:
    runs = [pool.submit(reads_nothing, *case) for case in (
        (b"s=100m",), (b"s=100m", 100000), (b"s=100m&k=1&p=1000",), (b"s=100m&R=1",),
        (b"s=100m&x=50m",), (b"s=100m&x=100k",), (b"s=100k&x=100k",))]  # the last two are sent whole, and not received
    runs += [pool.submit(reads_slowly, b"s=10000000"), pool.submit(waits_for_pieces)]
    for one in runs:
        one.result()
wait_until(lambda: counted(pid)[0]["open"] == 0)
assert counted(pid)[0]["expired"] == 7, counted(pid)
PYTHON
}

@test "a drain finishes long answers that have begun" {
  start_server --threads 1
  run_peers <<'PYTHON'
from long_answers import *
size = 30_000_000
content = generated(size)
kinds = [(b"s=%d" % size, content), (b"s=%d&k=1&p=10000" % size, chunked(content, 10000)),
         (b"s=9&p=3&d=100", content[:9])]
streams = []
for query, expected in kinds:
    peer = connect(port)
    peer.sendall(get(b"/x?" + query))
    streams.append((Stream(peer), expected))
    streams[-1][0].head()
os.kill(pid, signal.SIGTERM)
time.sleep(0.4)  # the listener is closed by now
for stream, expected in streams:
    equal(stream.take(len(expected)), expected)
    assert stream.until_end() == (b"", False)
PYTHON
  await_end 4
}

@test "100 long answers that are not read take less than 256 KiB" {
  natively 'the memory would be that of the emulator'
  start_server --threads 1
  run_peers <<'PYTHON'
from long_answers import *
with connect(port) as peer:
    peer.sendall(LAST)
    Stream(peer).expect_ok()
before = memory_kib(pid)  # with the memory that is shared with files
peers = []
for n in range(100):
    peer = connect(port, receive_buffer=4096)
    peer.sendall(get(b"/x?s=100m" + (b"", b"&k=1", b"&k=1&p=100", b"&R=1")[n % 4]))
    peers.append(peer)
wait_until(lambda: all(queues(port, peer.getsockname()[1])[0] > 100000 for peer in peers))
used = memory_kib(pid) - before
print(f"# {used} KiB", file=open(3, "w", closefd=False))
assert used < 256, used
for peer in peers:
    abort(peer)
wait_until(lambda: counted(pid)[0]["open"] == 0)
PYTHON
}

@test "a peer that resets or goes away is released at once, whatever it waits for" {
  natively 'the emulator has descriptors of its own'
  start_server --threads 1
  run_peers <<'PYTHON'
from long_answers import *
before = descriptors(pid)
for query in (b"s=100m", b"s=100m&k=1&p=7", b"s=100m&R=1", b"s=9&p=1&d=3600000", b"s=9&p=1&d=3600000&k=1",
              b"s=9&t=3600000", b"s=100m&x=50m", b"s=1m&x=200k"):
    for request in get(b"/x?" + query), get(b"/x?" + query) + OK:
        peers = [connect(port, receive_buffer=4096) for _ in range(5)]
        for peer in peers:
            peer.sendall(request)
        wait_until_read(port, *peers)
        for peer in peers:
            abort(peer)
        wait_until(lambda: descriptors(pid) == before, seconds=3)
found = counted(pid)[0]
assert found["open"] == found["delayed"] == found["expired"] == 0, found
# Without a reset it is noticed when more is sent.
peer = connect(port)
peer.sendall(get(b"/x?s=100m"))
Stream(peer).head()
peer.close()
wait_until(lambda: descriptors(pid) == before)
PYTHON
}

@test "random content of 1 MiB does not compress, and does not repeat itself" {
  start_server --threads 2
  run_peers <<'PYTHON'
import zlib
from long_answers import *
size, found = 2**20, set()
for turn in range(3):
    peer = connect(port)
    stream = Stream(peer)
    for query in b"R=1", b"R=1&k=1&p=5000", b"R=1&p=100000":
        peer.sendall(get(b"/x?s=%d&%s" % (size, query)) + OK)
        stream.head()
        if b"k=1" in query:
            content = b""
            while length := int(stream.take(6 if len(content) < size - size % 5000 else 5), 16):
                content += stream.take(length + 2)[:-2]
                if len(content) == size:
                    assert stream.take(5) == b"0\r\n\r\n"
                    break
        else:
            content = stream.take(size)
        stream.expect_ok()
        assert len(content) == size, (query, len(content))
        assert len(zlib.compress(content, 1)) >= size, (query, len(zlib.compress(content, 1)))
        assert all(abs(content.count(byte) - size / 256) < 6 * 64 for byte in range(256)), query
        found.add(content)
assert len(found) == 9
PYTHON
}

@test "a server at a path gives long answers, too" {
  local path=$BATS_TEST_TMPDIR/socket
  start_server --threads 2 --address "unix:$path"
  server_port=0 path=$path run_peers <<'PYTHON'
from long_answers import *
def connect():
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(15)
    peer.connect(os.environ["path"])
    return peer
size = 3_000_000
content = generated(size)
for query, expected in (b"s=%d" % size, content), (b"s=%d&k=1&p=1000" % size, chunked(content, 1000)), \
        (b"s=9&p=3&d=5", generated(9)):
    peers = [connect() for _ in range(5)]
    for peer in peers:
        peer.sendall(OK + get(b"/x?" + query) + OK + get(b"/x?t=1&" + query) + LAST)
    for stream in map(Stream, peers):
        stream.expect_ok()
        for _ in range(2):
            stream.head()
            equal(stream.take(len(expected)), expected)
            if _ == 0:
                stream.expect_ok()
        stream.expect_ok()
        assert stream.until_end() == (b"", False)
for reset_at in 0, 50, 100_000, 2_000_000:
    peer = connect()
    peer.sendall(get(b"/x?s=%d&x=%d" % (size, reset_at)))
    assert len(Stream(peer).until_end()[0]) == reset_at
for _ in range(20):
    peer = connect()
    peer.sendall(get(b"/x?s=100m"))
    peer.close()
wait_until(lambda: sum(worker["open"] for worker in counted(pid, 2)) == 0)
PYTHON
}

@test "what waits behind a long answer whose peer is gone is not answered to the next peer" {
  start_server --threads 1
  run_peers <<'PYTHON'
def get(target):
    return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target
for _ in range(100):
    gone = connect(port)
    gone.sendall(OK + get(b"/?s=40k") + get(b"/baseline11?n=4711"))
    gone.close()  # with unread answers: the server's next send fails
wait_until(lambda: counted(pid)[0]["open"] == 0)
with connect(port) as peer:
    peer.sendall(get(b"/?s=40k") + OK)
    answers = Answers(peer)
    assert len(answers.next()[2]) == 40960
    assert answers.next()[2] == b"ok"
PYTHON
}

# expect_short_delays LINES SECONDS: a line is COUNT TARGET. Beside so many peers that read this, 99 of 100 answers on
# another connection take less than 20 ms.
expect_short_delays() {
  start_server --threads 1
  run_peers <<PYTHON
import subprocess
from long_answers import *
for line in """$1""".split("\n"):
    count, target = line.split()
    load = subprocess.Popen(["python3", "$root/test/long_answers.py", str(port), count, target], stdin=subprocess.PIPE)
    try:
        wait_until(lambda: counted(pid)[0]["open"] == int(count))
        before = counted(pid)[0]["bytes out"]
        start, used = time.monotonic(), cpu_seconds(pid)
        for _ in range(3):  # the machine may be at something else
            times = times_of_answers(port, pid, $2, 0.004)
            if percentile(times) < 20:
                break
        seconds = time.monotonic() - start
        rate, used = (counted(pid)[0]["bytes out"] - before) / seconds / 1e6, (cpu_seconds(pid) - used) / seconds
        assert load.poll() is None, "the peers have ended"
    finally:
        load.stdin.close()
    load.wait()
    print(f"# beside {line}, {rate:.0f} MB/s, {used:.0%} of a core: 99 of 100 answers in {percentile(times):.1f} ms, "
          f"the slowest in {times[-1]:.1f} ms", file=open(3, "w", closefd=False))
    assert used > 0.05, f"{line}: the server used {used:.0%} of a core: no load"
    assert percentile(times) < 20, (line, percentile(times))
PYTHON
}

# bats test_tags=alone
@test "64 peers that read long answers delay others by less than 20 ms" {
  expect_short_delays '64 /x?s=1000g' 3
}

# bats test_tags=alone
@test "long answers in small pieces, in small chunks or of random bytes delay others by less than 20 ms" {
  expect_short_delays $'2 /x?s=1000g&p=1\n2 /x?s=1000g&p=1&k=1\n8 /x?s=1000g&R=1' 1
}
