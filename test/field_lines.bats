#!/usr/bin/env bats
# Field lines: field-name ":" OWS field-value OWS CRLF (RFC 9112 section 5, RFC 9110 section 5).
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }

expect() {
  exchange "POST /baseline11?a=1 HTTP/1.1\r\nHost: a\r\n$2\r\n\r\n20GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"
  assert_statuses "$1 200" "$2"
}

refuse() {
  exchange "GET /pipeline HTTP/1.1\r\nHost: a\r\n$2\r\n\r\nGET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"
  assert_refused "$1" "$2"
}

@test "field names are compared without case, and white space around a value is optional" {
  local line
  for line in 'Content-Length: 2' 'content-length: 2' 'CONTENT-LENGTH:2' 'cOnTeNt-LeNgTh:\t 2 \t '; do
    expect 200 "$line"
    assert_body ok "$line"
  done
}

@test "fields that mean nothing here are accepted, with any value" {
  local line
  for line in 'X:' 'X: ' 'X: a\tb' 'X: \351\200\377' 'Conten-Length: 9' 'Content-Lengthy: 9' 'Hosts: a' 'Cookie: a=b; c' \
    "!#\$%%&'*+-.^_\`|~09: x"; do
    expect 200 "$line\r\nContent-Length: 2"
  done
}

@test "a malformed field line is refused" {
  local line
  for line in 'X : a' ' X: a' '\tX: a' ': a' 'X' 'X(: a' 'X\200: a' 'X: a\001' 'X: a\000b' 'X: \177' 'X: a\rb' 'X: a\nY: b' \
    'X: a\r\n folded'; do
    refuse 400 "$line"
  done
}

@test "HTTP/1.1 needs exactly one Host, HTTP/1.0 none" {
  exchange 'GET /pipeline HTTP/1.1\r\n\r\n'
  assert_refused 400
  refuse 400 'Host: a'
  refuse 400 'hOST: b'
  exchange 'GET /pipeline HTTP/1.0\r\n\r\n'
  assert_statuses 200
}

@test "a head may be 16,384 bytes long, and no longer" {
  local start='GET /pipeline HTTP/1.1\r\nHost: a\r\nX: ' filler
  filler=$(printf 'x%.0s' $(seq $((16384 - $(env printf "$start\r\n\r\n" | wc --bytes)))))
  exchange "$start$filler\r\n\r\n"
  assert_statuses 200
  exchange "$start${filler}x\r\n\r\nGET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"
  assert_refused 431
  exchange "$start$filler$filler$filler"
  assert_refused 431
}
