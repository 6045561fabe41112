#!/usr/bin/env bats
# Message framing: which bytes belong to which request (RFC 9112 sections 6 and 7).
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }

# Every request here is followed by one that must be answered, or must not be if the framing was refused.
post() { exchange "POST /baseline11?a=1 HTTP/1.1\r\nHost: a\r\n${1}GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"; }

# refuse STATUS FIELD-LINES-AND-CONTENT
refuse() {
  post "$2"
  assert_refused "$1" "$2"
}

# expect SUM FIELD-LINES-AND-CONTENT
expect() {
  post "$2"
  assert_statuses '200 200' "$2"
  grep --quiet "^$1HTTP/1.1 200 OK" <<<"$response" || fail "expected $1" "$2"
}

@test "content with a Content-Length" {
  expect 1 'Content-Length: 0\r\n\r\n'
  expect 8 'Content-Length: 1\r\n\r\n7'
  expect 8 'Content-Length: 0002\r\n\r\n 7'
}

@test "a Content-Length that is not plain digits is refused" {
  local length
  for length in '+1' '-1' '0x1' '1,1' '1, 1' '1 1' '1.' '' 'a' '1;'; do
    refuse 400 "Content-Length: $length\r\n\r\n7"
  done
}

@test "a second Content-Length is refused, even the same again" {
  refuse 400 'Content-Length: 1\r\nContent-Length: 1\r\n\r\n7'
  refuse 400 'Content-Length: 1\r\nContent-Length: 2\r\n\r\n7'
}

@test "a Content-Length over the limit is refused before its content arrives, one that overflows as malformed" {
  refuse 413 'Content-Length: 1048577\r\n\r\n'
  refuse 413 'Content-Length: 4294967297\r\n\r\n'
  refuse 400 'Content-Length: 18446744073709551617\r\n\r\n7'
  refuse 400 'Content-Length: 99999999999999999999999999999999999999\r\n\r\n'
}

@test "a mebibyte of content is read, with either framing" {
  local status
  for framing in 'Content-Length: 1048576' 'Transfer-Encoding: chunked'; do
    run -0 bash -c "head --bytes 1048576 /dev/zero | tr '\\0' 7 |
      curl --silent --data-binary @- --header 'Content-Type: text/plain' --header '$framing' \
      --write-out ' %{http_code}' 'http://127.0.0.1:$server_port/baseline11?a=1'"
    [[ $output == '1 200' ]] || fail "$framing: $output"
  done
}

@test "chunked content" {
  local chunked='Transfer-Encoding: chunked\r\n\r\n'
  expect 1 "${chunked}0\r\n\r\n"
  expect 21 "${chunked}2\r\n20\r\n0\r\n\r\n"
  expect 21 "${chunked}0002\r\n20\r\n00\r\n\r\n"
  expect 12345678902 "${chunked}a\r\n1234567890\r\n1\r\n1\r\n0\r\n\r\n"
  expect 1234567890124 "${chunked}B\r\n12345678901\r\n2\r\n23\r\n0\r\n\r\n"
  expect 21 "${chunked}2;name=value\r\n20\r\n0;last\r\n\r\n"
  expect 21 "${chunked}2;name=\"a b\"\r\n20\r\n0\r\n\r\n"
  expect 21 "${chunked}2\r\n20\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n"
  expect 21 "${chunked}2\t;a=b\r\n20\r\n0\r\n\r\n"
  expect 21 'Transfer-Encoding: , chunked,\r\n\r\n2\r\n20\r\n0\r\n\r\n'
  expect 21 'Transfer-Encoding: CHUNKED\r\n\r\n2\r\n20\r\n0\r\n\r\n'
}

@test "malformed chunks are refused" {
  local content
  for content in '\r\n' 'g\r\n' '0x2\r\n20\r\n' '-2\r\n20\r\n' '+2\r\n20\r\n' ' 2\r\n20\r\n' '2\n20\r\n' '2\r20\r\n' '2\r\n20' \
    '2\r\n20\n' '2\r\n2\r\n' '2\r\n201\r\n' '2\r\n20\r\n0\r\n \r\n' '2\r\n20\r\n0\r\nTrailer\r\n\r\n' '2;\000\r\n20\r\n' \
    '2\r\n20\r\n0\r\nA: b\n\r\n' '2\r\n20\r\n0\r\n\rx'; do
    refuse 400 "Transfer-Encoding: chunked\r\n\r\n$content"
  done
}

@test "of all 256 bytes, only the right ones lead on at each place around the chunks" {
  run -0 timeout 60 python3 - "$server_port" <<'PYTHON'
import socket, string, sys
digits = string.hexdigits.encode()
token = string.digits.encode() + string.ascii_letters.encode() + b"!#$%&'*+-.^_`|~"
text = b"\t" + bytes(range(0x20, 0x7f)) + bytes(range(0x80, 0x100))
places = {b"": digits, b"2": digits + b"; \t\r", b"2;a": text + b"\r", b"2\r": b"\n", b"2\r\n20": b"\r",
          b"2\r\n20\r": b"\n", b"2\r\n20\r\n": digits, b"0\r\n": token + b"\r", b"0\r\nA": token + b":",
          b"0\r\nA:": text + b"\r", b"0\r\nA:\r": b"\n", b"0\r\nA:\r\n": token + b"\r", b"0\r\n\r": b"\n"}
head = b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
behind = b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"
for place, right in places.items():
    for value in range(256):
        byte = bytes([value])
        client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
        client.sendall(head + place + byte + (b"" if byte in right else behind))
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(4096):
            answer += piece
        client.close()
        if byte not in right:
            assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1, (place, byte, answer)
        elif place == b"0\r\n\r":
            assert answer.startswith(b"HTTP/1.1 200 "), (place, byte, answer)
        else:
            assert answer == b"", (place, byte, answer)  # incomplete when the stream ends
PYTHON
}

@test "a chunk that passes the limit is refused as soon as its size says so" {
  refuse 413 'Transfer-Encoding: chunked\r\n\r\n100001\r\n'
  refuse 413 'Transfer-Encoding: chunked\r\n\r\n1\r\n7\r\n100000\r\n'
  refuse 413 'Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffff'
}

@test "framing that could be read in two ways is refused" {
  local chunks='\r\n1\r\n7\r\n0\r\n\r\n'
  refuse 400 "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n$chunks"
  refuse 400 "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n$chunks"
  refuse 400 "Transfer-Encoding: chunked, chunked\r\n$chunks"
  refuse 400 "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n$chunks"
  refuse 400 "Transfer-Encoding: chunked, gzip\r\n$chunks"
  refuse 400 "Transfer-Encoding: gzip\r\n$chunks"
  refuse 400 "Transfer-Encoding: xchunked\r\n$chunks"
  refuse 400 "Transfer-Encoding:\r\n$chunks"
  refuse 501 "Transfer-Encoding: gzip, chunked\r\n$chunks"
  exchange "POST /baseline11 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n$chunks"
  assert_refused 400
}

@test "content is never taken for a request, whatever the method and the path" {
  local inner='GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n' line # 35 bytes
  for line in 'GET /pipeline' 'HEAD /pipeline' 'GET /nowhere' 'PUT /baseline11' 'FOO /pipeline'; do
    exchange "$line HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n$inner"
    [[ $(statuses | wc --words) == 1 ]] || fail "$line with a Content-Length"
    exchange "$line HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n$inner\r\n0\r\n\r\n"
    [[ $(statuses | wc --words) == 1 ]] || fail "$line with chunks"
  done
}

@test "100 Continue is sent only when content is still to come" {
  local head='POST /baseline11 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n'
  run -0 curl --silent --include --header 'Expect: 100-continue' --data 20 "http://127.0.0.1:$server_port/baseline11"
  [[ $output == 'HTTP/1.1 100 Continue'* && $output == *20 ]] || fail "$output"
  exchange "${head}Content-Length: 2\r\n\r\n20"
  assert_statuses 200
  exchange "$head\r\n"
  assert_statuses 200
  exchange 'POST /baseline11 HTTP/1.1\r\nHost: a\r\nExpect: else\r\nContent-Length: 2\r\n\r\n20'
  assert_statuses 417
}

@test "a chunk size has hexadecimal digits in either case" {
  local digit
  for digit in {0..9} {a..f} {A..F}; do
    expect 8 "Transfer-Encoding: chunked\r\n\r\n1$digit\r\n$(printf '%*s' $((16#1$digit)) 7)\r\n0\r\n\r\n"
  done
}

@test "an expectation is compared without case" {
  exchange 'POST /baseline11 HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n20'
  assert_statuses 200
}

@test "HTTP/1.0 never gets a 100 Continue" {
  response=$({
    printf 'POST /baseline11 HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n'
    sleep 0.2
    printf 20
  } | timeout 10 nc -N 127.0.0.1 "$server_port" | tr --delete '\r')
  assert_statuses 200
}
