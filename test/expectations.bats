#!/usr/bin/env bats
# Expect, OPTIONS and Allow (RFC 9110 sections 10.1.1, 9.3.7 and 10.2.1).
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }

@test "an unknown expectation gets a 417, and an error comes before the content" {
  check_rows <<'ROWS'
417 open 417_Expectation_Failed\r\n {GET}Expect: x{END}
417 open - {POST}Expect: 100-continu\r\nContent-Length: 2\r\n\r\n20
417 close - {POST}Expect: 100-continue, x\r\nContent-Length: 2\r\n\r\n20
417 open - {POST}Expect: 100-continue;q=1\r\nContent-Length: 2\r\n\r\n20
417 close - {POST}Expect: x, 100-continue\r\nContent-Length: 2\r\n\r\n20
417 open - {POST}Expect: ,x,\r\nContent-Length: 2\r\n\r\n20
200 open 21 {POST}Expect:\r\nContent-Length: 2\r\n\r\n20
200 open 21 {POST}Expect: , \t ,\r\nContent-Length: 2\r\n\r\n20
200 open 21 {POST}Expect: ,100-continue, 100-Continue\r\nContent-Length: 2\r\n\r\n20
417 open - GET /nowhere HTTP/1.1\r\nHost: a\r\nExpect: x{END}
200 open 21 {POST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n20
200 open 21 {POST}expect: 100-CONTINUE\r\nContent-Length: 2\r\n\r\n20
200 open 21 {POST}Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0{END}
200 open 1 {POST}Expect: 100-continue\r\n\r\n
200 close 20 POST /baseline11 HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n20
200 open ok {GET}Expect: 100-continue{END}
404 close - POST /nowhere HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n20
405 close - POST /pipeline HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n0{END}
404 open - GET /nowhere HTTP/1.1\r\nHost: a\r\nExpect: 100-continue{END}
404 close - POST /nowhere HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n20
200 open "" OPTIONS /pipeline HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n20
413 close - {POST}Expect: 100-continue\r\nContent-Length: 1048577{END}
400 close - {POST}Expect: 100-continue\r\nContent-Length: 2\r\nTransfer-Encoding: chunked{END}

# nginx knows no unknown methods: it answers as if it were GET.
501 close - BREW / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n20

# nginx wants one Expect line at most. It is a list (RFC 9110 section 10.1.1), so it may have several (section 5.3).
417 close - {POST}Expect: 100-continue\r\nExpect: x\r\nContent-Length: 2\r\n\r\n20
ROWS
}

# exchange_in_steps PIECE...: sends each piece only when the answer to the one before has been read, or after 0.3 s.
exchange_in_steps() {
  response=$(python3 - "$server_port" "$@" <<'PYTHON'
import socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
answer = b""
for piece in sys.argv[2:]:
    client.sendall(piece.encode().decode("unicode_escape").encode("latin-1"))
    client.settimeout(0.3)
    try:
        answer += client.recv(65536)
    except TimeoutError:
        pass
client.settimeout(10)
client.shutdown(socket.SHUT_WR)
while piece := client.recv(65536):
    answer += piece
sys.stdout.write(answer.decode("latin-1").replace("\r", ""))
PYTHON
)
}

@test "100 Continue is sent once, in order, and only when content is still to come" {
  local head='POST /baseline11 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n'
  exchange_in_steps "${head}Content-Length: 2\r\n\r\n" 2 0
  assert_statuses '100 200'
  assert_body 20
  exchange_in_steps "${head}Transfer-Encoding: chunked\r\n\r\n" '2\r\n20\r\n' '0\r\n\r\n'
  assert_statuses '100 200'
  assert_body 20
  exchange_in_steps "${head}Content-Length: 2\r\n\r\n2" 0
  assert_statuses 200
  exchange_in_steps "${head}\r\n"
  assert_statuses 200
  exchange_in_steps "${head}Content-Length: 0\r\n\r\n"
  assert_statuses 200
  exchange_in_steps "GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n${head}Content-Length: 2\r\n\r\n" \
    "20GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"
  assert_statuses '200 100 200 404'
  exchange_in_steps "${head/baseline11/nowhere}Content-Length: 2\r\n\r\n" "20GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"
  assert_refused 404
}

@test "HTTP/1.0 and refused requests get no 100 Continue" {
  exchange_in_steps 'POST /baseline11 HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n' 20
  assert_statuses 200
  exchange_in_steps 'POST /baseline11 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n'
  assert_statuses 413
  exchange_in_steps 'POST /baseline11 HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 2\r\n\r\n' 20
  assert_statuses 417
}

@test "curl gets its 100 Continue" {
  run -0 curl --silent --include --header 'Expect: 100-continue' --data 20 "http://127.0.0.1:$server_port/baseline11"
  [[ $output == 'HTTP/1.1 100 Continue'* && $output == *20 ]] || fail "$output"
}

@test "OPTIONS lists the methods of a path, and of all paths" {
  local line
  exchange 'OPTIONS /pipeline HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses 200
  assert_field 'Allow: GET, HEAD, OPTIONS'
  assert_field 'Content-Length: 0'
  exchange 'OPTIONS /baseline11?a=1 HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_field 'Allow: GET, HEAD, POST, OPTIONS'
  for line in 'OPTIONS *' 'OPTIONS http://a' 'OPTIONS http://a:80'; do
    exchange "$line HTTP/1.1\r\nHost: a\r\n\r\n"
    assert_statuses 200 "$line"
    assert_field 'Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH'
  done
  # As HAProxy's health check asks, if nobody tells it what to ask for.
  exchange 'OPTIONS /nowhere HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses 200
  assert_field 'Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH'
  exchange 'OPTIONS / HTTP/1.0\r\n\r\n'
  assert_statuses 200
}
