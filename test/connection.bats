#!/usr/bin/env bats
# Persistence: Connection, HTTP/1.0, and what pipelined answers look like (RFC 9112 section 9, RFC 9110 section 7.6.1).
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }

@test "Connection is a list of options, over one or several lines, in any case" {
  check_rows <<'ROWS'
200 close ok {GET}Connection: close{END}
200 close ok {GET}Connection: Close{END}
200 close ok {GET}connection: CLOSE{END}
200 close ok {GET}Connection: x, close{END}
200 close ok {GET}Connection: x,close,y{END}
200 close ok {GET}Connection: ,\t, close ,{END}
200 close ok {GET}Connection: x\r\nConnection: close{END}
200 close ok {GET}Connection: close\r\nConnection: x{END}
200 close ok {GET}Connection: keep-alive, close{END}
200 close ok {GET}Connection: close, keep-alive{END}
200 close "" {HEAD}Connection: close{END}
404 close - GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close{END}
405 close - PUT /pipeline HTTP/1.1\r\nHost: a\r\nConnection: close{END}
200 close "" OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close{END}
200 close 21 {POST}Connection: close\r\nContent-Length: 2\r\n\r\n20
200 close 21 {POST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0{END}
200 open ok {GET}Connection: keep-alive{END}
200 open ok {GET}Connection:{END}
200 open ok {GET}Connection: clos{END}
200 open ok {GET}Connection: clo se{END}
200 open ok {GET}Keep-Alive: timeout=5{END}

# nginx finds "close" anywhere in the value. The options are whole tokens (RFC 9110 section 7.6.1).
200 open ok {GET}Connection: closed{END}
200 open ok {GET}Connection: xclose{END}
200 open ok {GET}Connection: close-notify, upgrade{END}
200 open ok {GET}Connection: "close"{END}
200 open ok {GET}Connection: close x{END}
200 open ok {GET}Connection: a b\tclose{END}
200 open ok {GET}Connection: a\tb close{END}

# nginx knows no unknown methods: it answers as if it were GET. RFC 9110 section 9.1 wants 501.
501 close - FOO /pipeline HTTP/1.1\r\nHost: a\r\nConnection: close{END}
ROWS
}

@test "an HTTP/1.0 connection closes unless it asks for keep-alive" {
  check_rows <<'ROWS'
200 close ok GET /pipeline HTTP/1.0{END}
200 open ok GET /pipeline HTTP/1.0\r\nConnection: keep-alive{END}
200 open ok GET /pipeline HTTP/1.0\r\nConnection: Keep-Alive{END}
200 open ok GET /pipeline HTTP/1.0\r\nConnection: x, keep-alive{END}
200 close ok GET /pipeline HTTP/1.0\r\nConnection: keep-alive, close{END}
200 close ok GET /pipeline HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive{END}
200 close ok GET /pipeline HTTP/1.0\r\nConnection: x{END}
200 open 21 POST /baseline11?a=1 HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n20
404 close - GET /x HTTP/1.0{END}
ROWS
}

@test "nothing after an answer that closes is answered" {
  check_rows <<'ROWS'
200 close ok {GET}Connection: close\r\n\r\n{HIDDEN}{HIDDEN}
200,200 close ok {HIDDEN}{GET}Connection: close\r\n\r\n{HIDDEN}
200,400 close - {HIDDEN}GET\r\n\r\n{HIDDEN}
200,200,505 close - {HIDDEN}{HIDDEN}GET / HTTP/9.9\r\n\r\n{HIDDEN}
ROWS
}

@test "pipelined requests of all kinds are answered in order" {
  check_rows <<'ROWS'
200,404,405,501,200 open 21 {HIDDEN}GET /x HTTP/1.1\r\nHost: a\r\n\r\nPUT /pipeline HTTP/1.1\r\nHost: a\r\n\r\nX / HTTP/1.1\r\nHost: a\r\n\r\n{CHUNKED}2\r\n20\r\n0{END}
200,200,200,200,200,200,200,200,200,200 open ok <{HIDDEN}*10>

# nginx has no OPTIONS *, which RFC 9110 section 9.3.7 describes.
200,200,417,200,200 open ok {HEAD}\r\n{POST}Content-Length: 1\r\n\r\n7{GET}Expect: x\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n{HIDDEN}
ROWS
}

@test "only HTTP/1.0 is told that the connection is kept" {
  exchange 'GET /pipeline HTTP/1.0\r\nConnection: keep-alive\r\n\r\n'
  assert_field 'Connection: keep-alive'
  exchange 'GET /pipeline HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n'
  refute_field Connection
}

# Waits for the server's end of stream, or its reset.
@test "a peer that keeps sending after a refusal is cut off after two seconds or 2 MiB" {
  run -0 timeout 60 python3 - "$server_port" <<'PYTHON'
import socket, sys, time
def refused():
    client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
    client.sendall(b"GET / HTTP/9.9\r\n\r\n")
    answer = b""
    while piece := client.recv(4096):
        answer += piece
    assert answer.startswith(b"HTTP/1.1 505 "), answer
    return client
client, start = refused(), time.monotonic()
try:
    while time.monotonic() - start < 20:
        client.sendall(b"x")
        time.sleep(0.05)
    raise SystemExit("not cut off in 20 s")
except ConnectionError:
    assert 1.9 < time.monotonic() - start < 6, time.monotonic() - start
client, sent = refused(), 0
try:
    while sent < 64 << 20:
        sent += client.send(bytes(65536))
    raise SystemExit("not cut off after 64 MiB")
except ConnectionError:
    assert sent >= 2 << 20, sent  # and what the buffers of both sides hold
PYTHON
}
