#!/usr/bin/env bats
# Field lines: field-name ":" OWS field-value OWS CRLF (RFC 9112 section 5, RFC 9110 sections 5.1, 5.5 and 5.6).
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }

@test "field names have any case, and white space around a value is optional" {
  check_rows <<'ROWS'
200 open 21 {POST}Content-Length: 2\r\n\r\n20
200 open 21 {POST}content-length: 2\r\n\r\n20
200 open 21 {POST}CONTENT-LENGTH:2\r\n\r\n20
200 open 21 {POST}Content-Length:                 2                 \r\n\r\n20
200 close ok {GET}cONNECTION:close{END}
417 open - {GET}EXPECT: x{END}

# nginx does not take a tab for white space around a value. It is (RFC 9110 section 5.6.3).
200 open 21 {POST}cOnTeNt-LeNgTh:\t 2 \t \r\n\r\n20
200 open 21 {POST}tRANSFER-eNCODING:\tCHUNKED\t\r\n\r\n2\r\n20\r\n0{END}
ROWS
}

@test "unknown fields are accepted with any value" {
  check_rows <<'ROWS'
200 open ok {GET}X:{END}
200 open ok {GET}X: {END}
200 open ok {GET}X: a\tb  c{END}
200 open ok {GET}X: \xe9\x80\xff{END}
200 open ok {GET}X: :::{END}
200 open ok {GET}X: "\x5c"{END}
200 open ok {GET}!#$%&'*+-.^_`|~09AZaz: x{END}
200 open ok {GET}X: a\r\nX: b\r\nX: c{END}
200 open ok {GET}X: <abcdefghijklmnop*20>{END}
200 open ok {GET}<name-*12>: x{END}
200 open ok {GET}Accept: */*\r\nCookie: a=b; c\r\nUser-Agent: x/1 (y)\r\nUpgrade: h2c\r\nTE: trailers{END}
200 open ok {GET}Conten-Length: 9\r\nContent-Lengthy: 9\r\nContent-Lengtx: 9\r\nontent-Length: 9{END}
200 open ok {GET}Transfer-Encodinx: chunked\r\nTransfer_Encoding: chunked{END}
200 open ok {GET}Connectiox: close\r\nProxy-Connection: close\r\nexpecx: y{END}
ROWS
}

@test "a malformed field name is refused" {
  check_rows <<'ROWS'
400 close - {GET}X : a{END}
400 close - {GET}X\t: a{END}
400 close - {GET}Content-Length : 0{END}
400 close - {GET}Transfer-Encoding : chunked{END}
400 close - {GET}Content-Length\x00: 0{END}
400 close - {GET}\x0bContent-Length: 0{END}
400 close - {GET}Content Length: 0{END}
400 close - {GET} X: a{END}
400 close - {GET}\tX: a{END}
400 close - {GET}: a{END}
400 close - {POST}Content\rLength: 2\r\n\r\n20
400 close - {POST}Content-Length\x1a 2\r\n\r\n20
400 close - {POST}Transfer\rEncoding: chunked{END}
400 close - {POST}Transfer-Encoding\x1a chunked{END}
400 close - {GET}Connection\x1a close{END}
400 close - {GET}X\x7f: a{END}
400 close - GET /pipeline HTTP/1.1\r\n Host: a{END}
400 close - GET /pipeline HTTP/1.1\r\n\tX: a\r\nHost: a{END}

# nginx ignores a line whose name is no token. RFC 9112 section 5 knows no such line; others may read it in their way.
400 close - {GET}\xffContent-Length: 0{END}
400 close - {GET}X{END}
400 close - {GET}X\r\nY: a{END}
400 close - {GET}X(: a{END}
400 close - {GET}"X": a{END}
400 close - {GET}X@: a{END}
400 close - {GET}X[]: a{END}
400 close - {GET}X/: a{END}
400 close - {GET}X\x80: a{END}
ROWS
}

@test "a malformed field value is refused" {
  check_rows <<'ROWS'
400 close - {GET}X: a\x00b{END}
400 close - {GET}X: \x00{END}
400 close - {GET}X: a\rb{END}
400 close - {GET}X: a\nContent-Length: 5{END}
400 close - {GET}X: <a*31>\x00<a*31>{END}

# nginx takes control bytes, and a bare LF for a line's end. RFC 9110 section 5.5 calls the first dangerous; the second hides
# a field line from who keeps to CRLF.
400 close - {GET}X: a\x01{END}
400 close - {GET}X: a\x08{END}
400 close - {GET}X: a\x0b{END}
400 close - {GET}X: a\x0c{END}
400 close - {GET}X: a\x1f{END}
400 close - {GET}X: a\x7f{END}
400 close - {GET}X: a\r\r\n\r\n
400 close - {GET}X: a\nY: b{END}
400 close - {GET}X: a\n\r\n
400 close - {GET}X: <a*16>\x01{END}
ROWS
}

@test "a folded line is refused" {
  check_rows <<'ROWS'
400 close - {GET}X: a\r\n folded{END}
400 close - {GET}X: a\r\n\tfolded{END}
400 close - {GET}X: a\r\n {END}
400 close - {POST}Content-Length: 2\r\n 0\r\n\r\n20
400 close - {POST}Transfer-Encoding:\r\n chunked\r\n\r\n0{END}
ROWS
}
