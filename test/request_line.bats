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
  expect 405 'DELETE /pipeline HTTP/1.1'
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
  refuse 501 "$(printf 'M%.0s' {1..33}) /pipeline HTTP/1.1"
  refuse 501 "$(printf 'M%.0s' {1..20000}) /pipeline HTTP/1.1"
}

@test "the parts are separated by exactly one space" {
  refuse 400 'GET  /pipeline HTTP/1.1'
  refuse 400 'GET /pipeline  HTTP/1.1'
  refuse 400 'GET\t/pipeline HTTP/1.1'
  refuse 400 'GET /pipeline HTTP/1.1 '
  refuse 400 'GET /pipeline'
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
  target=/$(printf 'a%.0s' {1..7985})
  expect 404 "GET $target HTTP/1.1"
  refuse 414 "GET ${target}aaaaaaaaaaa HTTP/1.1"
  refuse 414 "GET $target$target$target$target HTTP/1.1"
}
