#!/usr/bin/env bats
# Message framing: which bytes belong to which request (RFC 9112 sections 6.1 to 6.3 and 11.2, RFC 9110 section 8.6).
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }

@test "content has the length that Content-Length says" {
  check_rows <<'ROWS'
200 open 1 {POST}Content-Length: 0{END}
200 open 8 {POST}Content-Length: 1\r\n\r\n7
200 open 8 {POST}Content-Length: 0002\r\n\r\n 7
200 open 1 {POST}Content-Length: 00000000000000000000000000000000{END}
200 open 1 {POST}\r\n
200,200 open 9 {POST}Content-Length: 1\r\n\r\n7{POST}Content-Length: 1\r\n\r\n8
ROWS
}

# RFC 9110 section 8.6 lets a recipient take "1, 1" for 1. It need not: the servers that do, and those that do not, are
# what this is about.
@test "a Content-Length that is not plain digits is refused" {
  check_rows <<'ROWS'
400 close - {POST}Content-Length: +1\r\n\r\n7
400 close - {POST}Content-Length: -1\r\n\r\n7
400 close - {POST}Content-Length: 0x1\r\n\r\n7
400 close - {POST}Content-Length: 1,1\r\n\r\n7
400 close - {POST}Content-Length: 1, 1\r\n\r\n7
400 close - {POST}Content-Length: ,1\r\n\r\n7
400 close - {POST}Content-Length: 1 1\r\n\r\n7
400 close - {POST}Content-Length: 1.\r\n\r\n7
400 close - {POST}Content-Length: 1e0\r\n\r\n7
400 close - {POST}Content-Length:\r\n\r\n
400 close - {POST}Content-Length: \t \r\n\r\n
400 close - {POST}Content-Length: a\r\n\r\n7
400 close - {POST}Content-Length: "1"\r\n\r\n7
400 close - {POST}Content-Length: 1;\r\n\r\n7
400 close - {POST}Content-Length: \xb2\r\n\r\n7
ROWS
}

@test "a second Content-Length is refused, even with the same value" {
  check_rows <<'ROWS'
400 close - {POST}Content-Length: 1\r\nContent-Length: 1\r\n\r\n7
400 close - {POST}Content-Length: 1\r\nContent-Length: 2\r\n\r\n7
400 close - {POST}Content-Length: 0\r\ncontent-length: 0{END}
400 close - {POST}Content-Length: 35\r\nContent-Length: 0\r\n\r\n{HIDDEN}
ROWS
}

@test "a Content-Length that overflows is refused as malformed" {
  check_rows <<'ROWS'
413 close - {POST}Content-Length: 9223372036854775807\r\n\r\n
400 close - {POST}Content-Length: 9223372036854775808\r\n\r\n
400 close - {POST}Content-Length: 9223372036854775808 \r\n\r\n
400 close - {POST}Content-Length: 9223372036854775809\r\n\r\n
400 close - {POST}Content-Length: 18446744073709551615\r\n\r\n
400 close - {POST}Content-Length: 18446744073709551620\r\n\r\n
400 close - {POST}Content-Length: 184467440737095516150\r\n\r\n
400 close - {POST}Content-Length: 18446744073709551616\r\n\r\n
400 close - {POST}Content-Length: 18446744073709551617\r\n\r\n7
400 close - {POST}Content-Length: 99999999999999999999999999999999999999\r\n\r\n
413 close - {POST}Content-Length: 4294967296\r\n\r\n
413 close - {POST}Content-Length: 4294967297\r\n\r\n7
ROWS
}

@test "ambiguous framing is refused" {
  check_rows <<'ROWS'
400 close - {POST}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n7\r\n0{END}
400 close - {POST}Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\n7\r\n0{END}
400 close - {POST}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: chunked, chunked\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: chunked, gzip\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0{END}
400 close - POST /baseline11 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0{END}
400 close - POST /baseline11 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0{END}
ROWS
}

@test "chunked must be the last coding, and is the only one supported" {
  check_rows <<'ROWS'
200 open 21 {POST}Transfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0{END}
200 open 21 {POST}Transfer-Encoding: CHUNKED\r\n\r\n2\r\n20\r\n0{END}
501 close - {POST}Transfer-Encoding: gzip, chunked\r\n\r\n0{END}
501 close - {POST}Transfer-Encoding: gzip,chunked\r\n\r\n0{END}
501 close - {POST}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0{END}
501 close - {POST}Transfer-Encoding: identity, chunked\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: gzip\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: identity\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding:\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: ,\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: xchunked\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: chunkedx\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: chun ked\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: "chunked"\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: chunked;q=1\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: chunked; a="\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: \x0bchunked\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding: chunked\x00\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding : chunked\r\n\r\n0{END}
400 close - {POST}Transfer-Encoding\x00: chunked\r\n\r\n0{END}
400 close - {POST}\x20Transfer-Encoding: chunked\r\n\r\n0{END}

# nginx knows "chunked" alone. Empty elements are allowed in a list (RFC 9110 section 5.6.1.2), several lines too.
200 open 21 {POST}Transfer-Encoding: , chunked,\r\n\r\n2\r\n20\r\n0{END}
200 open 21 {POST}Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0{END}

# nginx takes the bare LF for a line's end, and so sees another framing than who keeps to CRLF.
400 close - {POST}X: y\nTransfer-Encoding: chunked\r\n\r\n0{END}
ROWS
}

@test "content is never taken for a request, for any method and path" {
  check_rows <<'ROWS'
200 open ok GET /pipeline HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n{HIDDEN}
200 open "" HEAD /pipeline HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n{HIDDEN}
404 open - GET /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n{HIDDEN}
405 open - PUT /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n{HIDDEN}
501 open - FOO /pipeline HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n{HIDDEN}
417 open - {POST}Expect: x\r\nContent-Length: 35\r\n\r\n{HIDDEN}
200 open ok {GET}Transfer-Encoding: chunked\r\n\r\n23\r\n{HIDDEN}\r\n0{END}
404 open - GET /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n{HIDDEN}\r\n0{END}
501 open - FOO /pipeline HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n{HIDDEN}\r\n0{END}
200 open 1 {CHUNKED}23\r\n{HIDDEN}\r\n0{END}
200 open 1 {POST}Content-Length: 70\r\n\r\n{HIDDEN}{HIDDEN}

# nginx has no OPTIONS * and refuses CONNECT as malformed. RFC 9110 section 9.1 wants 501 for what is not implemented.
200 open "" OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n{HIDDEN}
501 close - CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n{HIDDEN}
ROWS
}

# Each of these hides a request from a server that reads the framing in another way. It must never be answered.
@test "a request after refused framing is not answered" {
  check_rows <<'ROWS'
400 close - {POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}
400 close - {POST}Transfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n0\r\n\r\n{HIDDEN}
400 close - {POST}Content-Length: 35\r\nContent-Length: 0\r\n\r\n{HIDDEN}
400 close - {POST}Content-Length: 35,0\r\n\r\n{HIDDEN}
400 close - {POST}Content-Length: 0 35\r\n\r\n{HIDDEN}
400 close - {POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{HIDDEN}
400 close - {POST}Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{HIDDEN}
400 close - {CHUNKED}00x\r\n\r\n{HIDDEN}
400 close - {CHUNKED}5\r\n12345{HIDDEN}
400 close - {CHUNKED}5\r\n12345XX\r\n{HIDDEN}
413 close - {CHUNKED}fffffffffffffff1\r\n{HIDDEN}
400 close - {GET}Content-Length: -35\r\n\r\n{HIDDEN}
501 close - {POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{HIDDEN}
413 close - {POST}Content-Length: 99999999\r\n\r\n{HIDDEN}
200,400 close - {HIDDEN}{GET}X : y\r\n\r\n{HIDDEN}

# nginx answers these, up to the hidden request: see the notes in chunked.bats and field_lines.bats. Where it answers one
# only, it waits for content that this server's limit refuses.
400 close - {POST}X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}
400 close - {CHUNKED}0\n\n{HIDDEN}
400 close - {CHUNKED}1\n7\n0\n\n{HIDDEN}
400 close - {CHUNKED}0;\n{HIDDEN}
400 close - {CHUNKED}2;\nxx\r\n23\r\n{HIDDEN}\r\n0{END}
400 close - {CHUNKED}0 \r\n\r\n{HIDDEN}
413 close - {CHUNKED}100000000\r\n\r\n{HIDDEN}
413 close - {CHUNKED}100000023\r\n{HIDDEN}\r\n0{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a\r\nX: \r\r\n\r\n{HIDDEN}
ROWS
}
