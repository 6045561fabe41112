#!/usr/bin/env bats
# The request line: method SP request-target SP HTTP-version CRLF (RFC 9112 section 3).
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }

# expect STATUS REQUEST-LINE: answered, and the next request on the connection as well.
expect() {
  exchange "$2\r\nHost: a\r\n\r\nGET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"
  assert_statuses "$1 200" "$2"
}

# refuse STATUS REQUEST-LINE: answered, and nothing behind it is.
refuse() {
  exchange "$2\r\nHost: a\r\n\r\nGET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"
  assert_refused "$1" "$2"
}

@test "methods are told apart by their whole name, in upper case" {
  expect 200 'GET /pipeline HTTP/1.1'
  expect 200 'HEAD /pipeline HTTP/1.1'
  expect 405 'POST /pipeline HTTP/1.1'
  local method
  for method in PUT DELETE OPTIONS TRACE PATCH; do
    expect 405 "$method /pipeline HTTP/1.1"
  done
  expect 501 'get /pipeline HTTP/1.1'
  expect 501 'GETX /pipeline HTTP/1.1'
  expect 501 'PO /pipeline HTTP/1.1'
  expect 501 'CONNECT a:80 HTTP/1.1'
}

@test "a method that is no token, or none at all, is refused" {
  refuse 400 'G(T /pipeline HTTP/1.1'
  refuse 400 ' /pipeline HTTP/1.1'
  refuse 400 '/pipeline HTTP/1.1'
}

@test "a method without end is refused as not implemented" {
  expect 501 "$(printf 'M%.0s' {1..32}) /pipeline HTTP/1.1"
  refuse 501 "$(printf 'M%.0s' {1..33}) /pipeline HTTP/1.1"
  refuse 501 "$(printf 'M%.0s' {1..20000}) /pipeline HTTP/1.1"
}

@test "the parts are separated by exactly one space" {
  refuse 400 'GET  /pipeline HTTP/1.1'
  refuse 400 'GET /pipeline  HTTP/1.1'
  refuse 400 'GET\t/pipeline HTTP/1.1'
  refuse 400 'GET /pipeline HTTP/1.1 '
  refuse 400 'GET /pipeline'
  refuse 400 'CONNECT  HTTP/1.1'
}

@test "the path is compared whole, without its query" {
  expect 404 'GET /pipelin HTTP/1.1'
  expect 404 'GET /pipeline/ HTTP/1.1'
  expect 404 'GET /pipelinf HTTP/1.1'
  expect 404 'GET / HTTP/1.1'
  expect 200 'GET /pipeline? HTTP/1.1'
  expect 200 'GET /pipeline?a?b HTTP/1.1'
}

@test "a target with bytes that are not allowed is refused" {
  local target
  for target in '/a#b' '/a"b' '/a<b' '/a\\\\b' '/a^b' '/a\001b' '/a\177b' '/a\200b' 'pipeline' '*' '?a=1'; do
    refuse 400 "GET $target HTTP/1.1"
  done
}

@test "absolute-form is understood" {
  expect 200 'GET http://a/pipeline HTTP/1.1'
  expect 200 'GET HTTP://example.org:8080/pipeline?x=1 HTTP/1.1'
  expect 404 'GET http://a HTTP/1.1'
  refuse 400 'GET http:///pipeline HTTP/1.1'
  refuse 400 'GET ftp://a/pipeline HTTP/1.1'
}

@test "any HTTP/1 version is served, and no other" {
  expect 200 'GET /pipeline HTTP/1.2'
  expect 200 'GET /pipeline HTTP/1.9'
  refuse 505 'GET /pipeline HTTP/2.0'
  refuse 505 'GET /pipeline HTTP/0.9'
  local version
  for version in HTTP/1 HTTP/1. HTTP/11 HTTP/1.10 HTTP/1,1 HTTP/x.1 http/1.1 HTTPS/1.1 HTTP/1.1x; do
    refuse 400 "GET /pipeline $version"
  done
}

@test "empty lines before a request line are skipped" {
  exchange '\r\n\r\nGET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses '200 200'
}

@test "a line ends with CR and LF and nothing less" {
  exchange 'GET /pipeline HTTP/1.1\nHost: a\n\n'
  assert_refused 400
  exchange 'GET /pipeline HTTP/1.1\rHost: a\r\r'
  assert_refused 400
  exchange '\nGET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_refused 400
}

@test "a request line may be 8,000 bytes long, and no longer" {
  local target
  target=/$(printf 'a%.0s' {1..7995}) # with the method and the space; the version does not count
  expect 404 "GET $target HTTP/1.1"
  refuse 414 "GET ${target}a HTTP/1.1"
  refuse 414 "GET $target$target$target$target HTTP/1.1"
}

@test "a target may hold every byte that RFC 3986 allows" {
  expect 404 "GET /-._~!\$&'()*+,;=:@/%%20[] HTTP/1.1"
}

@test "asterisk-form is for OPTIONS, and has no query" {
  expect 404 'OPTIONS * HTTP/1.1'
  refuse 400 'OPTIONS *?a HTTP/1.1'
}

@test "a request line that is longer than a head may be is still a 414, even if it arrives at once" {
  run -0 python3 - "$server_port" <<'PYTHON'
import socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
client.sendall(b"GET /" + b"a" * 30000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")  # one write, where nc makes several
assert client.recv(4096).startswith(b"HTTP/1.1 414 ")
PYTHON
}
