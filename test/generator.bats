#!/usr/bin/env bats
# The generator: paths that no other route has are answered as their query describes. Beside it "/" and /echo.
load helper
setup_file() {
  start_server --threads 1
  export shared_server_pid=$server_pid
}
teardown_file() { stop_server; }

# A test that has started a server of its own ends it, even if it fails.
teardown() { if [[ ${server_pid:-} != "${shared_server_pid:-}" ]]; then stop_server; fi; }

@test "s is the size of the content, whose bytes follow from their offsets" {
  check_rows <<'ROWS'
200 open "" GET /x?s=0{TO}{END}
200 open . GET /x?s=1{TO}{END}
200 open .12345678 GET /x?s=9{TO}{END}
200 open .123456789.1 GET /x?s=12{TO}{END}
200 open .123456789.123456789.123456789.123456789.12345678 GET /x?s=49{TO}{END}
200 open .123456789.123456789.123456789.123456789.12345678\n GET /x?s=50{TO}{END}
200 open .123456789.123456789.123456789.123456789.12345678\n. GET /x?s=51{TO}{END}
200 open #100 GET /x?s=100{TO}{END}
200 open #1023 GET /x?s=1023{TO}{END}
200 open #5 GET /x?s=0000000000000000000000000000000005{TO}{END}
200 open #5 GET /?s=5{TO}{END}
200 open #5 GET //?s=5{TO}{END}
200 open #5 GET /a/b%20c.html;d?s=5{TO}{END}
200 open #5 GET /pipelines?s=5{TO}{END}
200 open #5 GET /echo/?s=5{TO}{END}
200 open #5 GET /delay?s=5{TO}{END}
200 open #5 GET http://a/x?s=5{TO}{END}
200,200,200 open #3 GET /x?s=1{TO}{END}GET /x?s=2{TO}{END}GET /x?s=3{TO}{END}
ROWS
}

@test "k, m and g after the digits are 2^10, 2^20 and 2^30" {
  check_rows <<'ROWS'
200 open "" GET /x?s=0g{TO}{END}
200 open #1024 GET /x?s=1k{TO}{END}
200 open #31744 GET /x?s=31k{TO}{END}
200 open #33792 GET /x?s=33k{TO}{END}
200 open #1048576 GET /x?s=1m{TO}{END}
200 open "" HEAD /x?s=1g{TO}{END}
ROWS
  # A HEAD tells what the number is, however large.
  run_peers <<'PYTHON'
peer = connect(port)
for value, number in ((b"1k", 2**10), (b"1m", 2**20), (b"1g", 2**30), (b"007g", 7 * 2**30),
                      (b"9007199254740991k", 2**63 - 2**10), (b"8796093022207m", 2**63 - 2**20),
                      (b"8589934591g", 2**63 - 2**30), (b"9223372036854775807", 2**63 - 1)):
    peer.sendall(b"HEAD /x?s=%s HTTP/1.1\r\nHost: a\r\n\r\n" % value)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv(4096)
    assert b"\r\nContent-Length: %d\r\n" % number in head, (value, head)
PYTHON
}

# A share of 0 % shows that a value is in range without its consequences.
@test "each argument takes the values from its least to its most, and no others" {
  check_rows <<'ROWS'
200 open "" GET /x?s=9223372036854775807:0{TO}{END}
400 open bad_value:_s\n GET /x?s=9223372036854775808:0{TO}{END}
400 open bad_value:_s\n GET /x?s=9223372036854775808{TO}{END}
400 open bad_value:_s\n GET /x?s=18446744073709551615{TO}{END}
400 open bad_value:_s\n GET /x?s=18446744073709551616{TO}{END}
400 open bad_value:_s\n GET /x?s=18446744073709551621{TO}{END}
400 open bad_value:_s\n GET /x?s=<9*40>{TO}{END}
400 open bad_value:_s\n GET /x?s=9007199254740992k{TO}{END}
400 open bad_value:_s\n GET /x?s=8796093022208m{TO}{END}
400 open bad_value:_s\n GET /x?s=8589934592g{TO}{END}
400 open bad_value:_s\n GET /x?s=17179869184g{TO}{END}
400 open bad_value:_s\n GET /x?s=9223372036854775808r{TO}{END}
200 open - GET /x?s=9223372036854775807r:0{TO}{END}
200 open "" GET /x?r=200{TO}{END}
599 open "" GET /x?r=599{TO}{END}
400 open bad_value:_r\n GET /x?r=199{TO}{END}
400 open bad_value:_r\n GET /x?r=600{TO}{END}
400 open bad_value:_r\n GET /x?r=0{TO}{END}
400 open bad_value:_r\n GET /x?r=0k{TO}{END}
400 open bad_value:_r\n GET /x?r=1k{TO}{END}
400 open bad_value:_r\n GET /x?r=100{TO}{END}
400 open bad_value:_r\n GET /x?r=65736{TO}{END}
400 open bad_value:_r\n GET /x?r=4294967496{TO}{END}
400 open bad_value:_r\n GET /x?r=199r{TO}{END}
200 open "" GET /x?r=200r{TO}{END}
200 open "" GET /x?t=0{TO}{END}
200 open "" GET /x?t=3600000:0{TO}{END}
200 open "" GET /x?t=3515k:0{TO}{END}
400 open bad_value:_t\n GET /x?t=3600001:0{TO}{END}
400 open bad_value:_t\n GET /x?t=3516k:0{TO}{END}
400 open bad_value:_t\n GET /x?t=4m:0{TO}{END}
400 open bad_value:_t\n GET /x?t=4294967296:0{TO}{END}
200 open "" GET /x?d=0{TO}{END}
200 open "" GET /x?d=3600000{TO}{END}
400 open bad_value:_d\n GET /x?d=3600001{TO}{END}
400 open bad_value:_d\n GET /x?d=4294967296{TO}{END}
200 open "" GET /x?c=0{TO}{END}
200 open "" GET /x?c=9223372036854775807{TO}{END}
400 open bad_value:_c\n GET /x?c=9223372036854775808{TO}{END}
200 open "" GET /x?C=0{TO}{END}
200 close "" GET /x?C=9223372036854775807{TO}{END}
400 open bad_value:_C\n GET /x?C=9223372036854775808{TO}{END}
200 open "" GET /x?K=0{TO}{END}
200 open "" GET /x?K=9223372036854775807{TO}{END}
400 open bad_value:_K\n GET /x?K=9223372036854775808{TO}{END}
200 open "" GET /x?k=0{TO}{END}
200 open 0{END} GET /x?k=9223372036854775807{TO}{END}
400 open bad_value:_k\n GET /x?k=9223372036854775808{TO}{END}
200 open #9 GET /x?s=9&p=0{TO}{END}
200 open #9 GET /x?s=9&p=9223372036854775807{TO}{END}
400 open bad_value:_p\n GET /x?p=9223372036854775808{TO}{END}
200 open #9 GET /x?s=9&R=0{TO}{END}
200 open - GET /x?s=9&R=9223372036854775807{TO}{END}
400 open bad_value:_R\n GET /x?R=9223372036854775808{TO}{END}
200 close "" GET /x?b=0{TO}{END}
200 close "" GET /x?b=9223372036854775807{TO}{END}
400 open bad_value:_b\n GET /x?b=9223372036854775808{TO}{END}
200 open "" GET /x?x=9223372036854775807{TO}{END}
400 open bad_value:_x\n GET /x?x=9223372036854775808{TO}{END}
ROWS
}

@test "a malformed value gets a 400 that names the argument" {
  local value rows=''
  for value in '' -1 +1 x k r kr :5 1x 1K 1M 1G 1b 1kk 1km 1kb 1rr 1rk 1R 1k1 1r1 0x10 1.5 1e3 '1%%20' '%%31' 1=1 = \
    1: 1k: 1r: 1:101 1:1000 1:4294967297 1:18446744073709551617 1:-1 1:+1 1:x 1:1x 1:1k 1:1r 1:1% 1:1:1 1::1 1:.5; do
    rows+="400 open bad_value:_s\\n GET /x?s=$value{TO}{END}"$'\n'
  done
  check_rows <<<"${rows//%%/%}"
  check_rows <<'ROWS'
400 open bad_value:_r\n GET /x?r={TO}{END}
400 open bad_value:_t\n GET /x?t=x{TO}{END}
400 open bad_value:_c\n GET /x?c={TO}{END}
400 open bad_value:_C\n GET /x?C=x{TO}{END}
400 open bad_value:_K\n GET /x?K=-0{TO}{END}
400 open bad_value:_k\n GET /x?k=x{TO}{END}
400 open bad_value:_p\n GET /x?p=x{TO}{END}
400 open bad_value:_d\n GET /x?d=x{TO}{END}
400 open bad_value:_R\n GET /x?R=x{TO}{END}
400 open bad_value:_b\n GET /x?b=x{TO}{END}
400 open bad_value:_x\n GET /x?x=x{TO}{END}
400 open bad_value:_s\n GET /?s=x{TO}{END}
400 open bad_value:_s\n GET /x?r=503&s=x&t=y{TO}{END}
400 open bad_value:_t\n GET /x?r=503&t=y&s=x{TO}{END}
400 open bad_value:_s\n GET /x?s=x&s=5{TO}{END}
400 open bad_value:_s\n GET /x?s=5&s={TO}{END}
400 open bad_value:_s\n GET /x?C=1&x=0&t=3600000&s=x{TO}{END}
400 open "" HEAD /x?s=x{TO}{END}
400 open bad_value:_s\n POST /x?s=x{TO}\r\nContent-Length: 2{END}20
400,200,400 open bad_value:_r\n GET /x?s=x{TO}{END}GET /x?s=1{TO}{END}GET /x?r=1{TO}{END}

# nginx has no such arguments: it answers with 404.
400 close bad_value:_s\n GET /x?s=x{TO}\r\nConnection: close{END}
ROWS
}

@test "arguments are separated by & ? , ; and /; the last of a name wins, and other names are ignored" {
  check_rows <<'ROWS'
503 open #5 GET /x?s=5&r=503{TO}{END}
503 open #5 GET /x?s=5?r=503{TO}{END}
503 open #5 GET /x?s=5,r=503{TO}{END}
503 open #5 GET /x?s=5;r=503{TO}{END}
503 open #5 GET /x?s=5/r=503{TO}{END}
503 open #5 GET /x?&?,;/s=5/;,?&&r=503&?,;/{TO}{END}
400 open bad_value:_s\n GET /x?s=5|r=503{TO}{END}
400 open bad_value:_s\n GET /x?s=5%26r=503{TO}{END}
400 open bad_value:_s\n GET /x?s=5+r=503{TO}{END}
200 open #3 GET /x?s=1&s=2&s=3{TO}{END}
200 open #1 GET /x?s=3&s=2&s=1{TO}{END}
200 open "" GET /x?s=3&r=503&r=200&s=0{TO}{END}
200 open #5 GET /x?a=1&s=5&z&=&=9&ss=9&s5&5=s&s&x&_=7{TO}{END}
200 open #5 GET /x?S=9&s=5&T=9&P=1&D=9&B=9&X=0&5=9{TO}{END}
200 open #5 GET /x?s=5&ss=x&xs=9&%73=9&s%3d9&s:9{TO}{END}
404 open - GET /x?S=5{TO}{END}
404 open - GET /x?T=5&P=5&D=5&B=5&X=5{TO}{END}
404 open - GET /x?s{TO}{END}
404 open - GET /x?s&t&r{TO}{END}
404 open - GET /x?ss=5{TO}{END}
404 open - GET /x?=5{TO}{END}
404 open - GET /x?%73=5{TO}{END}
404 open - GET /x?a=s:5{TO}{END}
404 open - GET /x?{TO}{END}
404 open - GET /x{TO}{END}
404 open - GET /x;s=5{TO}{END}
404 open - GET /s=5{TO}{END}
404 open - GET /x&s=5{TO}{END}
404 open - POST /x{TO}\r\nContent-Length: 3{END}s=5
ROWS
}

@test "an argument that applies to no request leaves the one before it, or the default" {
  check_rows <<'ROWS'
200 open #5 GET /x?s=5&s=7:0{TO}{END}
200 open #7 GET /x?s=5&s=7:100{TO}{END}
200 open #7 GET /x?s=5:0&s=7{TO}{END}
200 open #5 GET /x?s=3&s=5&s=7:0&s=9k:0{TO}{END}
200 open "" GET /x?s=5:0{TO}{END}
200 open #5 GET /x?s=5:100{TO}{END}
200 open #1024 GET /x?s=1k:100{TO}{END}
200 open "" GET /x?s=1kr:0{TO}{END}
200 open #5 GET /x?s=5&r=503:0{TO}{END}
503 open #5 GET /x?s=5&r=503:100{TO}{END}
404 open #5 GET /x?s=5&r=404&r=503:0{TO}{END}
200 open #5 GET /x?s=5&t=3600000:0&C=1:0&k=1:0&x=0:0&b=9:0{TO}{END}
200 open #5 GET /x?s=5&K=1:0{TO}{END}
ROWS
}

@test "every status from 200 to 599 is answered, with content unless it has none" {
  run_peers <<'PYTHON'
from cases import generated
peer = connect(port)
statuses = range(200, 600)
peer.sendall(b"".join(b"GET /x?r=%d&s=3 HTTP/1.1\r\nHost: a\r\n\r\n" % status for status in statuses) + LAST)
stream = b""
while piece := peer.recv(65536):
    stream += piece
for status in statuses:
    head, _, stream = stream.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 %d " % status, lines[0]
    length = {204: [], 205: [b"Content-Length: 0"]}.get(status, [b"Content-Length: 3"])
    assert [line for line in lines if line.startswith(b"Content-Length")] == length, lines
    if status not in (204, 205, 304):
        assert stream.startswith(b".12HTTP/1.1 "), (status, stream[:20])
        stream = stream[3:]
assert stream.startswith(b"HTTP/1.1 200 OK\r\n") and stream.endswith(b"\r\n\r\nok"), stream
PYTHON
  check_rows <<'ROWS'
204 open "" GET /x?r=204&s=5{TO}{END}
204 open "" GET /x?r=204&s=5&k=1{TO}{END}
205 open "" GET /x?r=205&s=5&k=1{TO}{END}
304 open "" GET /x?r=304&s=5&k=1{TO}{END}
304 open "" GET /x?r=304&s=1g{TO}{END}
204 open "" GET /x?r=204&s=1g&p=1&d=9&R=1{TO}{END}
204 close "" GET /x?r=204&s=5&b=3{TO}{END}
304 close "" GET /x?r=304&s=5 HTTP/1.0{END}
204 open "" HEAD /x?r=204&s=5{TO}{END}
204 open "" POST /x?r=204&s=5{TO}\r\nContent-Length: 2{END}20
ROWS
}

@test "an answer has the field lines that its arguments ask for, and no others" {
  run_peers <<'PYTHON'
def field_lines(query, version, request_fields):
    answer = answer_to(port, b"GET /x?%s HTTP/%s\r\nHost: a\r\n%s\r\n" % (query, version, request_fields))
    status_line, *lines = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert status_line == b"HTTP/1.1 200 ", answer
    dates = [line for line in lines if line.startswith(b"Date: ")]
    assert len(dates) == 1 and len(set(lines)) == len(lines), answer
    return set(lines) - {*dates, b"Server: mote", b"Content-Type: text/plain"}
size = b"Content-Length: 5"
close, keep_alive, chunked = b"Connection: close", b"Connection: keep-alive", b"Transfer-Encoding: chunked"
uncached = b"Cache-Control: no-cache"
for query, version, request_fields, *expected in (
        (b"s=5", b"1.1", b"", size),
        (b"s=5", b"1.0", b"", size, close),
        (b"s=5", b"1.0", b"Connection: keep-alive\r\n", size, keep_alive),
        (b"s=5", b"1.1", b"Connection: close\r\n", size, close),
        (b"s=5&c=0", b"1.1", b"", size, uncached),
        (b"s=5&c=1", b"1.1", b"", size),
        (b"s=5&c=0&c=7", b"1.1", b"", size),
        (b"s=5&C=0", b"1.1", b"", size),
        (b"s=5&C=1", b"1.1", b"", size, close),
        (b"s=5&C=2", b"1.0", b"Connection: keep-alive\r\n", size, close),
        (b"s=5&K=1", b"1.1", b"", size),
        (b"s=5&K=1", b"1.1", b"Connection: close\r\n", size),
        (b"s=5&K=1", b"1.0", b"", size, keep_alive),
        (b"s=5&K=2", b"1.0", b"Connection: close\r\n", size, keep_alive),
        (b"s=5&K=0", b"1.0", b"", size, close),
        (b"s=5&K=1&C=1", b"1.1", b"", size, close),
        (b"s=5&C=1&K=1", b"1.0", b"", size, close),
        (b"s=5&k=1", b"1.1", b"", chunked),
        (b"s=5&k=2&c=0&C=1", b"1.1", b"", chunked, uncached, close),
        (b"s=5&k=1", b"1.0", b"Connection: keep-alive\r\n", close),
        (b"s=5&k=1&K=1", b"1.0", b"", close),
        (b"s=5&k=0", b"1.0", b"Connection: keep-alive\r\n", size, keep_alive),
        (b"s=5&k=1&b=9", b"1.1", b"", chunked, close),
        (b"s=5&b=9", b"1.1", b"", b"Content-Length: 9", close),
        (b"s=5&b=2", b"1.1", b"", b"Content-Length: 2", close),
        (b"s=5&b=5", b"1.1", b"", size, close),
        (b"s=5&b=0", b"1.1", b"", close),
        (b"s=5&b=0", b"1.0", b"Connection: keep-alive\r\n", close),
        (b"s=5&b=9&K=1", b"1.1", b"", b"Content-Length: 9", close),
        (b"s=5&p=2", b"1.1", b"", size),
        (b"s=5&R=1", b"1.1", b"", size),
        (b"s=5&x=1m", b"1.1", b"", size)):
    found = field_lines(query, version, request_fields)
    assert found == set(expected), (query, version, request_fields, found)
PYTHON
}

@test "an answer's arguments say whether the connection goes on" {
  check_rows <<'ROWS'
200 close #5 GET /x?s=5&C=1{TO}{END}
200 close #5 GET /x?s=5&C=1{TO}\r\nConnection: keep-alive{END}
200 close #40000 GET /x?s=40000&C=1{TO}{END}
200 close #5 GET /x?s=5&K=0 HTTP/1.0{END}
200 close #5 GET /x?s=5&K=1&C=1 HTTP/1.0{END}
200 close #5 GET /x?s=5&k=1 HTTP/1.0{END}
200 close #5 GET /x?s=5&k=1&K=1 HTTP/1.0\r\nConnection: keep-alive{END}
200 close #40000 GET /x?s=40000&k=1&K=1 HTTP/1.0{END}
200 close #5 GET /x?s=5&b=9{TO}{END}
200 close #5 GET /x?s=5&b=2{TO}{END}
200 close #5 GET /x?s=5&b=0&K=1{TO}{END}
200 close #40000 GET /x?s=40000&b=2{TO}{END}
200 close #40000 GET /x?s=40000&b=0{TO}{END}
200 close "" GET /x?b=5{TO}{END}
200 close "" HEAD /x?s=5&b=9{TO}{END}
200 close #5 GET /x?s=5&C=1{TO}{END}GET /x?s=6{TO}{END}
200,503 close #5 GET /x?s=7{TO}{END}GET /x?s=5&C=1&r=503{TO}{END}

# nginx has no K, and closes these connections.
200 open #5 GET /x?s=5&K=1{TO}\r\nConnection: close{END}
200 open #40000 GET /x?s=40000&K=1{TO}\r\nConnection: close{END}
200 open #5 GET /x?s=5&K=1 HTTP/1.0{END}
200 open #40000 GET /x?s=40000&K=1 HTTP/1.0{END}
200 open #5 GET /x?s=5&K=1 HTTP/1.0\r\nConnection: close{END}
ROWS
}

@test "k sends chunks, p says of which size" {
  check_rows <<'ROWS'
200 open 0{END} GET /x?k=1{TO}{END}
200 open 0{END} GET /x?k=1&p=5{TO}{END}
200 open 5\r\n.1234\r\n0{END} GET /x?s=5&k=1{TO}{END}
200 open 5\r\n.1234\r\n0{END} GET /x?s=5&k=1&p=5{TO}{END}
200 open 5\r\n.1234\r\n0{END} GET /x?s=5&k=1&p=6{TO}{END}
200 open 4\r\n.123\r\n1\r\n4\r\n0{END} GET /x?s=5&k=1&p=4{TO}{END}
200 open 2\r\n.1\r\n2\r\n23\r\n1\r\n4\r\n0{END} GET /x?s=5&k=1&p=2{TO}{END}
200 open 1\r\n.\r\n1\r\n1\r\n1\r\n2\r\n0{END} GET /x?s=3&k=1&p=1{TO}{END}
200 open c\r\n.123456789.1\r\n8\r\n23456789\r\n0{END} GET /x?s=20&k=1&p=12{TO}{END}
200 open 10\r\n.123456789.12345\r\n1\r\n6\r\n0{END} GET /x?s=17&k=1&p=16{TO}{END}
200 open "" HEAD /x?s=5&k=1&p=2{TO}{END}
200 open #5 GET /x?s=5&p=2{TO}{END}
200 open #5 GET /x?s=5&p=1{TO}{END}
200,200 open 2\r\n.1\r\n1\r\n2\r\n0{END} GET /x?s=9&k=1&p=4{TO}{END}GET /x?s=3&k=1&p=2{TO}{END}
ROWS
}

@test "R makes the content random, of the same size" {
  run_peers <<'PYTHON'
peer = connect(port)
answers = Answers(peer)
def ask(size):
    peer.sendall(b"GET /x?s=%d&R=1 HTTP/1.1\r\nHost: a\r\n\r\n" % size)
    content = answers.next()[2]
    assert len(content) == size, (size, len(content))
    return content
for size in *range(20), 32767, 32768:
    ask(size)
assert len({ask(16) for _ in range(100)}) == 100, "it repeats itself"
assert len(set(ask(20000))) == 256, "some bytes never come"
PYTHON
}

@test "requests before a late answer do not make random content repeat itself" {
  run_peers <<'PYTHON'
peer = connect(port)
answers = Answers(peer)
for late in b"/delay/1", b"/x?t=1":
    seen = set()
    for _ in range(10):
        # The late request is looked at twice: it waits for the answer before it.
        peer.sendall(b"GET /x?s=32&R=1 HTTP/1.1\r\nHost: a\r\n\r\nGET %s HTTP/1.1\r\nHost: a\r\n\r\n" % late)
        seen.add(answers.next()[2])
        assert answers.next()[0] == 200
    assert len(seen) == 10, f"{len(seen)} different ones of 10 before {late}"
PYTHON
}

@test "HEAD gets the head of the GET" {
  run_peers <<'PYTHON'
def head_of(method, target, version):
    answer = answer_to(port, b"%s %s HTTP/%s\r\nHost: a\r\n\r\n" % (method, target, version))
    head, _, content = answer.partition(b"\r\n\r\n")
    assert method == b"GET" or not content, (target, content)
    return [line for line in head.split(b"\r\n") if not line.startswith(b"Date: ")]
for target in (b"/", b"/?z=1", b"/?s=5", b"/x?s=0", b"/x?s=5", b"/x?s=32768", b"/x?s=40000", b"/x?s=5&k=1",
               b"/x?s=9k&k=1&p=7", b"/x?s=5&r=204", b"/x?s=5&r=205", b"/x?s=5&r=304", b"/x?s=5&r=503&c=0",
               b"/x?s=5&C=1", b"/x?s=5&K=1",
               b"/x?s=5&b=9", b"/x?s=5&b=0", b"/x?s=40000&b=9", b"/x?s=5&t=5", b"/x?s=40000&t=5", b"/x?s=50k&p=9k&d=5",
               b"/x?s=9&R=1", b"/x?s=40000&R=1", b"/x?s=5&x=1m", b"/x?s=x", b"/x", b"/delay/5"):
    for version in b"1.1", b"1.0":
        get, head = (head_of(method, target, version) for method in (b"GET", b"HEAD"))
        assert get == head, (target, version, get, head)
PYTHON
}

@test "GET, HEAD, POST, PUT, DELETE and PATCH are answered alike; TRACE gets a 405, OPTIONS the list" {
  check_rows <<'ROWS'
200 open #5 POST /x?s=5{TO}{END}
200 open #5 PUT /x?s=5{TO}\r\nContent-Length: 2{END}20
200 open #5 DELETE /x?s=5{TO}{END}
200 open #5 PATCH /x?s=5{TO}\r\nTransfer-Encoding: chunked{END}2\r\n20\r\n0{END}
200 open #5 POST /?s=5{TO}\r\nContent-Length: 2{END}20
200 open "" OPTIONS /x?s=5{TO}{END}
200 open "" OPTIONS /x?s=x{TO}{END}
200 open "" OPTIONS /x?s=1m&t=3600000&x=0{TO}{END}
200 open "" OPTIONS /echo{TO}\r\nContent-Length: 2{END}20
501 close - CONNECT a:80{TO}{END}
501 open - BREW /x?s=5{TO}{END}
417 open - GET /x?s=5{TO}\r\nExpect: x{END}

# nginx closes the connection after TRACE.
405 open - TRACE /x?s=5{TO}{END}
405 open - TRACE /x?s=x{TO}{END}
405 open - TRACE /x?s=5&t=3600000{TO}{END}
405 open - TRACE /x?s=5&x=0&C=0{TO}{END}
405 open - TRACE /{TO}{END}
405 open - TRACE /echo{TO}{END}

# nginx takes a method in lower case for a malformed one. It is another method (RFC 9110 section 9.1).
501 open - get /x?s=5{TO}{END}
ROWS
  local target line allowed
  for target in '/x?s=5' '/x?s=x' / /echo; do
    for line in TRACE OPTIONS; do
      exchange "$line $target HTTP/1.1\r\nHost: a\r\n\r\n"
      allowed=$(sed --quiet 's/^Allow: //p' <<<"$response" | tr --delete ' ' | tr , '\n' | sort | xargs)
      [[ $allowed == 'DELETE GET HEAD OPTIONS PATCH POST PUT' ]] || fail "$line $target: $allowed"
    done
  done
}

@test "a request's content is read to its end before the answer" {
  check_rows <<'ROWS'
200 open #5 POST /x?s=5{TO}\r\nContent-Length: 9{END}GET / HTT
200 open #5 POST /x?s=5{TO}\r\nContent-Length: 20000{END}<x*20000>
200 open #5 POST /x?s=5{TO}\r\nTransfer-Encoding: chunked{END}9;a=b\r\nGET / HTT\r\n1\r\nx\r\n0\r\nTrailer: x{END}
200 open #40000 POST /x?s=40000{TO}\r\nContent-Length: 2{END}20
200 open 5\r\n.1234\r\n0{END} POST /x?s=5&k=1{TO}\r\nTransfer-Encoding: chunked{END}0{END}
200 open #5 GET /x?s=5{TO}\r\nContent-Length: 2{END}20
200 open "" HEAD /x?s=5{TO}\r\nContent-Length: 2{END}20
200 open #5 POST /x?s=5&t=5{TO}\r\nContent-Length: 2{END}20
413 close - POST /x?s=5{TO}\r\nContent-Length: 1048577{END}
200 close #5 POST /x?s=5 HTTP/1.0\r\nContent-Length: 2{END}20

# nginx answers an unknown path before the content.
400 close - POST /x?s=5{TO}\r\nTransfer-Encoding: chunked{END}x
ROWS
  run_peers <<'PYTHON'
from cases import generated
other = connect(port)
others = Answers(other)
for query in b"s=5", b"s=40000", b"s=5&t=1", b"s=5&p=2":
    size = 40000 if b"40000" in query else 5
    for field_line, *pieces in ((b"Content-Length: 3", b"", b"1", b"2", b"3"),
                                (b"Transfer-Encoding: chunked", b"", b"1\r\nx", b"\r\n0\r\n", b"\r\n")):
        peer = connect(port)
        peer.sendall(b"POST /x?%s HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % (query, field_line))
        for piece in pieces:
            # The only worker is done with what came before when it has answered another connection.
            wait_until_read(port, peer)
            other.sendall(OK)
            assert others.next()[0] == 200
            assert queues(peer.getsockname()[1], port)[1] == 0, (query, "an answer before the content is complete")
            peer.sendall(piece)
        assert Answers(peer).next()[2] == generated(size)
        peer.close()
PYTHON
}

@test "100 Continue comes first, and the answer after the content" {
  run_peers <<'PYTHON'
from cases import generated
for query, size in (b"s=5", 5), (b"s=40000", 40000), (b"s=5&t=5", 5), (b"s=40000&t=5", 40000):
    for field_line, content in (b"Content-Length: 2", b"20"), (b"Transfer-Encoding: chunked", b"2\r\n20\r\n0\r\n\r\n"):
        peer = connect(port)
        peer.sendall(b"POST /x?%s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n%s\r\n\r\n" % (query, field_line))
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += peer.recv(65536)
        assert answer == b"HTTP/1.1 100 Continue\r\n\r\n", answer
        peer.sendall(content + OK)
        answers = Answers(peer)
        assert answers.next()[2] == generated(size)
        assert answers.next()[2] == b"ok"
        peer.close()
PYTHON
}

@test "/ is a summary that fits a screen; with an argument it is the generator" {
  check_rows <<'ROWS'
200 open - GET /{TO}{END}
200 open - GET /?{TO}{END}
200 open - GET /?z=1&S=5&s{TO}{END}
200 open - POST /{TO}\r\nContent-Length: 2{END}20
200 open "" HEAD /{TO}{END}
200 close - GET / HTTP/1.0{END}
200 open - GET http://a/{TO}{END}
503 open #5 GET /?r=503&s=5{TO}{END}
200 open #40000 GET /?s=40000{TO}{END}
ROWS
  run_peers <<'PYTHON'
peer = connect(port)
answers = Answers(peer)
peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /?z=1 HTTP/1.1\r\nHost: a\r\n\r\n")
_, head, summary = answers.next()
assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\nContent-Type: text/plain\r\n" in head, head
assert answers.next()[2] == summary
lines = summary.decode("ascii").split("\n")
assert lines.pop() == "" and len(lines) <= 24 and max(map(len, lines)) <= 100, summary
assert all(line.isprintable() and line == line.rstrip() for line in lines), summary
for path in "/pipeline", "/baseline11", "/delay/", "/echo":
    assert path in summary.decode(), path
for name in "srtcCKkpdRbx":
    assert re.search(rf"(?m)(^| )  {name}  \S", summary.decode()), name
PYTHON
}

@test "/echo answers with the request's head, byte for byte" {
  run_peers <<'PYTHON'
peer = connect(port)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
answers = Answers(peer)
rare = b"hOsT:a\r\nEmpty:\r\nEmpty: \r\nX:\t white \t space\t \r\nX: again\r\nx:second\r\n" \
       b"Latin-1: caf\xe9 \x80\xff\r\nQuoted: \"a\\\"b\", c;d=e\r\n!#$%&'*+-.^_`|~0: x\r\nCookie: a=b; c=d\r\n\r\n"
for head in (b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n",
             b"GET /echo HTTP/1.1\r\n" + rare,
             b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
             b"GET /echo HTTP/1.7\r\nHost: a\r\n\r\n",
             b"GET /echo? HTTP/1.1\r\nHost: a\r\n\r\n",
             b"GET /echo?s=5&r=503&t=9999&C=1&%00[]{}|\\^` HTTP/1.1\r\nHost: a\r\n\r\n",
             b"GET http://a/echo?x HTTP/1.1\r\nHost: a\r\n\r\n",
             b"GET /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
             b"DELETE /echo HTTP/1.1\r\nHost: a\r\n\r\n",
             b"GET /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
             b"GET /echo HTTP/1.1\r\nHost: a\r\nX: " + bytes(range(33, 127)) * 158 + b"\r\n\r\n",
             b"GET /echo HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(1500)) + b"\r\n",
             b"GET /echo HTTP/1.1\r\nHost: a\r\nX: ".ljust(16380, b"x") + b"\r\n\r\n",  # the longest head
             b"GET /echo?".ljust(7900, b"q") + b" HTTP/1.1\r\nHost: a\r\n\r\n"):
    for before in b"", b"\r\n\r\n":
        for size in len(head), 1000, 1:  # as much at a time
            if size == 1 and len(head) > 1000:
                continue
            stream = before + head
            for at in range(0, len(stream), size):
                peer.sendall(stream[at:at + size])
                if size != len(head):
                    wait_until_read(port, peer)
            status, found_head, content = answers.next()
            assert status == 200 and content == head, (head[:100], size, content[:200])
            assert found_head.startswith(b"HTTP/1.1 200 OK\r\n"), found_head
# Pipelined, so that the next head comes right after each.
heads = [b"GET /echo?%d HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % (n, b"x" * (n % 300)) for n in range(500)]
thread = threading.Thread(target=peer.sendall, args=(b"".join(heads),))
thread.start()
for head in heads:
    assert answers.next()[2] == head, head
thread.join()
PYTHON
}

@test "/echo says with HEAD how long the head is" {
  local head='HEAD /echo?x HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n'
  exchange "$head"
  assert_statuses 200
  assert_field "Content-Length: $(env printf "$head" | wc --bytes)"
  assert_body "$response" # nothing after the head
}

@test "/echo answers before the request's content, discards it, and goes on" {
  run_peers <<'PYTHON'
cases = [(b"Content-Length: 5", b"12345"), (b"Content-Length: %d" % (len(OK) + 4), OK + b"1234"),
         (b"Transfer-Encoding: chunked", b"5;a=b\r\n12345\r\n0\r\nTrailer: x\r\n\r\n"),
         (b"Transfer-Encoding: chunked", b"0\r\n\r\n"), (b"Content-Length: 1048576", b"x" * 1048576)]
for method in b"POST", b"PUT", b"PATCH", b"GET":
    for field_line, content in cases:
        head = b"%s /echo HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % (method, field_line)
        # The content comes when the answer is there.
        peer = connect(port)
        answers = Answers(peer)
        peer.sendall(head)
        assert answers.next()[2] == head
        peer.sendall(content[:-1])
        wait_until_read(port, peer)
        peer.sendall(content[-1:] + OK)
        assert answers.next()[2] == b"ok"
        # All of it comes at once.
        thread = threading.Thread(target=peer.sendall, args=((head + content) * 3 + LAST,))
        thread.start()
        for _ in range(3):
            assert answers.next()[2] == head
        assert answers.next()[2] == b"ok" and answers.next() is None
        thread.join()
        peer.close()
# With an expectation both answers are there at once.
peer = connect(port)
head = b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
peer.sendall(head)
first = b"HTTP/1.1 100 Continue\r\n\r\n"
found = b""
while len(found) < len(first):
    found += peer.recv(len(first) - len(found))
assert found == first, found
answers = Answers(peer)
assert answers.next()[2] == head
peer.sendall(b"20" + OK)
assert answers.next()[2] == b"ok"
PYTHON
}

@test "content that is refused after /echo ends the connection without a second answer" {
  run_peers <<'PYTHON'
before = counted(pid)[0]
bad = [b"x", b"g\r\n", b"5\r\n12345x\r\n", b"5\r\n12345\r\n0\r\nBad trailer\r\n\r\n", b"100001\r\n"]
for content in bad:
    for is_at_once in True, False:
        head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        peer = connect(port)
        answers = Answers(peer)
        peer.sendall(head + (content + OK if is_at_once else b""))
        assert answers.next()[2] == head
        if not is_at_once:
            peer.sendall(content + OK)
        assert answers.next() is None, content
        peer.close()
found = counted(pid)[0]
assert found["4xx"] == before["4xx"], found
PYTHON
  # What the head determines is the answer.
  check_rows <<'ROWS'
413 close - POST /echo{TO}\r\nContent-Length: 1048577{END}
400 close - POST /echo{TO}\r\nContent-Length: x{END}
400 close - GET /echo HTTP/1.1{END}
417 open - POST /echo{TO}\r\nExpect: x\r\nContent-Length: 2{END}20
ROWS
}

@test "--answer says how paths without a known argument are answered, and no others" {
  start_server --threads 1 --answer 's=7&r=202&z=1'
  check_rows <<'ROWS'
202 open #7 GET /x{TO}{END}
202 open #7 GET /x?{TO}{END}
202 open #7 GET /x?z=1&S=9{TO}{END}
202 open #7 GET /a/b/c;s=9{TO}{END}
202 open #7 GET /pipelines{TO}{END}
202 open #7 PUT /x{TO}\r\nContent-Length: 2{END}20
202 open "" HEAD /x{TO}{END}
202 close #7 GET /x HTTP/1.0{END}
200 open #3 GET /x?s=3{TO}{END}
503 open "" GET /x?r=503{TO}{END}
200 open "" GET /x?r=503:0{TO}{END}
400 open bad_value:_s\n GET /x?s=x{TO}{END}
200 open "" OPTIONS /x{TO}{END}
200 open - GET /{TO}{END}
200 open - GET /?z=1{TO}{END}
200 open #3 GET /?s=3{TO}{END}
200 open ok GET /pipeline{TO}{END}
200 open 3 GET /baseline11?a=3{TO}{END}
200 open 1 GET /delay/1{TO}{END}
404 open - GET /delay/x{TO}{END}
404 open - GET /delay/3600001{TO}{END}

# nginx closes the connection after TRACE.
405 open - TRACE /x{TO}{END}
ROWS
  exchange 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses 200
  [[ $response == *'mote: '* ]] || fail
  stop_server
  start_server --threads 2 -A k=1/s=40000,p=30000?C=1
  exchange 'GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses 200
  assert_field 'Transfer-Encoding: chunked'
  assert_field 'Connection: close'
  exchange 'GET /x?s=5 HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_body .1234
}

@test "--answer may apply to a share of the requests" {
  start_server --threads 1 --answer 'r=503:50'
  run_peers <<'PYTHON'
peer = connect(port)
answers = Answers(peer)
peer.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n" * 200)
assert {answers.next()[0] for _ in range(200)} == {200, 503}
PYTHON
}

@test "a bad --answer is refused with one line and status 2" {
  local query errors status
  errors=$BATS_TEST_TMPDIR/errors
  for query in '' ' ' s x 404 z=1 S=5 ss=5 '&' '?' s= s=x r=199 r=600 t=3600001 s=5:101 s=5: 's=5&r=x' 'r=x&s=5' \
    's=9223372036854775808' 's=5 ' 's =5'; do
    status=0
    output=$(timeout 10 "${server[@]}" --port 0 --answer "$query" 2>"$errors") || status=$?
    [[ $status == 2 && -z $output && $(wc --lines <"$errors") == 1 && $(<"$errors") == 'mote: '*"$query"* ]] ||
      fail "--answer '$query': status $status, '$output', '$(<"$errors")'"
  done
  for query in --answer -A; do
    run -2 timeout 10 "${server[@]}" --port 0 "$query"
    [[ ${#lines[@]} == 1 && $output == "mote: $query: no value"* ]] || fail "$output"
  done
}

# Five standard deviations: a right server fails once in two million times.
@test "an argument with a percentage applies to this share of the requests" {
  run_peers <<'PYTHON'
def statuses(query, count):
    peer = connect(port)
    thread = threading.Thread(target=peer.sendall, args=(b"GET /x?%s HTTP/1.1\r\nHost: a\r\n\r\n" % query * count,))
    thread.start()
    answers = Answers(peer)
    found = [answers.next()[0] for _ in range(count)]
    thread.join()
    return found
count = 5000
for query, percentage in ((b"r=503:20", 20), (b"r=503:1", 1), (b"r=503:50", 50), (b"r=503:99", 99),
                          (b"r=503&r=200:80", 20)):
    found = statuses(query, count).count(503)
    expected, deviation = count * percentage / 100, (count * percentage / 100 * (1 - percentage / 100)) ** 0.5
    assert abs(found - expected) <= 5 * deviation, (query, found)
# One request's share says nothing about that of the next one.
found = statuses(b"r=503:50", count)
changes = sum(a != b for a, b in zip(found, found[1:]))
assert abs(changes - (count - 1) / 2) <= 5 * (count - 1) ** 0.5 / 2, changes
PYTHON
}

@test "r after a number makes it random, each value up to it with the same probability" {
  run_peers <<'PYTHON'
def sizes(query, count):
    peer = connect(port)
    thread = threading.Thread(target=peer.sendall, args=(b"GET /x?%s HTTP/1.1\r\nHost: a\r\n\r\n" % query * count,))
    thread.start()
    found = [0] * count  # content sizes
    answers = Answers(peer)
    for n in range(count):
        found[n] = len(answers.next()[2])
    thread.join()
    return found
for query, most in (b"s=1000r", 1000), (b"s=1kr", 1024), (b"s=5r:100", 5):
    count = 4000
    found = sizes(query, count)
    mean, deviation = most / 2, (((most + 1) ** 2 - 1) / 12 / count) ** 0.5
    assert abs(sum(found) / count - mean) <= 5 * deviation, (query, sum(found) / count)
    assert 0 <= min(found) <= most / 100 and most - most / 100 <= max(found) <= most, (query, min(found), max(found))
    quarters = [sum(most * part / 4 <= size < (most + 1) * (part + 1) / 4 for size in found) for part in range(4)]
    assert most == 5 or all(abs(size - count / 4) <= count * 0.05 for size in quarters), (query, quarters)
assert set(sizes(b"s=3r", 200)) == {0, 1, 2, 3}
assert set(sizes(b"s=0r", 20)) == {0}
# A status is random from 200 on.
def statuses(query, count):
    peer = connect(port)
    requests = b"HEAD /x?%s HTTP/1.1\r\nHost: a\r\n\r\n" % query * count
    thread = threading.Thread(target=peer.sendall, args=(requests + LAST,))
    thread.start()
    stream = b"".join(iter(lambda: peer.recv(65536), b""))
    thread.join()
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) \r", stream)]
found = statuses(b"r=599r", 4000)
assert len(found) == 4000, len(found)
assert min(found) < 204 and max(found) > 595 and len(set(found)) > 350, (min(found), max(found), len(set(found)))
assert set(statuses(b"r=201r", 200)) == {200, 201}
PYTHON
}

@test "a generated 4xx or 5xx is counted once, also if it is long and its peer slow" {
  run_peers <<'PYTHON'
from cases import generated
def expect(more, *requests, receive_buffer=0):
    before = counted(pid)[0]
    peer = connect(port, receive_buffer=receive_buffer)
    for request in requests:
        peer.sendall(b"GET /x?%s HTTP/1.1\r\nHost: a\r\n\r\n" % request)
    if receive_buffer:
        wait_until(lambda: queues(port, peer.getsockname()[1])[0] > 1000)  # it has sent what it could
    peer.sendall(LAST)
    size = 0
    while piece := peer.recv(65536):
        size += len(piece)
    peer.close()
    def are_there():
        found = counted(pid)[0]
        return {name: found[name] - before[name] for name in ("4xx", "5xx", "requests", "bytes out")} == \
            more | {"requests": len(requests) + 1, "bytes out": size}
    wait_until(are_there)
expect({"4xx": 2, "5xx": 3}, b"r=400", b"r=499&s=5", b"r=500", b"r=503&s=5", b"r=599", b"r=399", b"r=200&s=400")
expect({"4xx": 1, "5xx": 1}, b"r=404&t=1", b"r=503&s=5&t=2", b"t=1")
expect({"4xx": 1, "5xx": 2}, b"r=404&s=5&k=1", b"r=503&s=90000&p=20000&d=1", b"r=500&s=5&p=1")
expect({"4xx": 2, "5xx": 0}, b"s=x", b"r=1&t=5")
expect({"4xx": 1, "5xx": 1}, b"r=503&s=4m", b"r=404&s=4m&k=1", receive_buffer=4096)
PYTHON
}

@test "requests split at any byte get the same answers" {
  run_peers <<'PYTHON'
def all_answers(stream):
    with connect(port) as peer:
        peer.sendall(stream)
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := peer.recv(1 << 20):
            answer += piece
        return answer
def without_dates(answer):
    return re.sub(rb"\r\nDate: [^\r]*", b"", answer)
end = b" HTTP/1.1\r\nHost: a\r\n\r\n"
table = [b"GET /x?s=5" + end, b"GET /x?s=5&r=503:0,s=7;c=0" + end, b"GET /x?s=40000" + end,
         b"GET /x?s=99&p=9&k=1" + end, b"GET /x?s=5&t=2" + end, b"HEAD /x?s=1g" + end, b"GET /x?s=x" + end,
         b"GET /x?r=204" + end, b"GET /x?z=1" + end, b"GET /?s=5" + end, b"GET /" + end, b"GET /echo?" + end,
         b"TRACE /x?s=5" + end, b"OPTIONS /x?s=5" + end,
         b"GET /x?s=5&K=1 HTTP/1.0\r\n\r\n", b"GET /x?s=9&x=1m" + end, b"GET /delay/2" + end, b"GET /delay/x" + end,
         b"POST /x?s=5 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
         b"PUT /x?s=40k&t=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
         b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + OK]
expected = [all_answers(stream) for stream in table]
peer = connect(port)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the second part does not wait for an acknowledgement
for stream, answer in zip(table, expected):
    for at in range(1, len(stream)):
        peer.sendall(stream[:at])
        wait_until_read(port, peer)
        peer.sendall(stream[at:])
        found = b""
        while len(found) < len(answer):
            piece = peer.recv(len(answer) - len(found))
            assert piece, (stream, at, found)
            found += piece
        assert without_dates(found) == without_dates(answer), (stream, at, found[:500], answer[:500])
# Those that end the connection need one for each split, so they are few.
for stream in (b"GET /x?s=5&C=1" + end + OK, b"GET /x?s=5&b=9" + end, b"GET /x?s=5&k=1 HTTP/1.0\r\n\r\n"):
    answer = all_answers(stream)
    for at in range(1, len(stream)):
        with connect(port) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.sendall(stream[:at])
            wait_until_read(port, peer)
            try:
                peer.sendall(stream[at:])
            except ConnectionError:
                pass  # it has ended before all was sent
            found = b""
            while piece := peer.recv(65536):
                found += piece
            assert without_dates(found) == without_dates(answer), (stream, at, found, answer)
PYTHON
}
