#!/usr/bin/env bats
# Host: exactly one in HTTP/1.1, and a uri-host with an optional port (RFC 9112 section 3.2, RFC 9110 section 7.2,
# RFC 3986 section 3.2.2).
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }

@test "HTTP/1.1 needs exactly one Host; HTTP/1.0 needs none" {
  check_rows <<'ROWS'
400 close - GET /pipeline HTTP/1.1{END}
400 close - GET /pipeline HTTP/1.2{END}
400 close - GET /pipeline HTTP/1.1\r\nHosts: a{END}
400 close - GET /pipeline HTTP/1.1\r\nX-Host: a{END}
400 close - {GET}Host: a{END}
400 close - {GET}hOST: b{END}
400 close - {GET}Host:{END}
400 close - GET /pipeline HTTP/1.0\r\nHost: a\r\nHost: a{END}
200 close ok GET /pipeline HTTP/1.0{END}
200 close ok GET /pipeline HTTP/1.0\r\nHost: a{END}
200 open ok GET /pipeline HTTP/1.1\r\nhOsT: a{END}
200 open ok GET /pipeline HTTP/1.1\r\nX: y\r\nHost: a{END}
ROWS
}

@test "Host is a uri-host and a port" {
  check_rows <<'ROWS'
200 open ok GET /pipeline HTTP/1.1\r\nHost: localhost:8080{END}
200 open ok GET /pipeline HTTP/1.1\r\nHost:a{END}
200 open ok GET /pipeline HTTP/1.1\r\nHost: a:{END}
200 open ok GET /pipeline HTTP/1.1\r\nHost: 127.0.0.1:65535{END}
200 open ok GET /pipeline HTTP/1.1\r\nHost: [::1]{END}
200 open ok GET /pipeline HTTP/1.1\r\nHost: [2001:DB8::192.0.2.1]:80{END}
200 open ok GET /pipeline HTTP/1.1\r\nHost: a-b.c_d~e!$&'()*+,;=f{END}
200 open ok GET /pipeline HTTP/1.1\r\nHost: %41%7e.example{END}
200 open ok GET /pipeline HTTP/1.1\r\nHost: a-name-of-more-than-sixteen-bytes.example.org:8080{END}

# nginx refuses an empty Host, and tabs around it. A uri-host may be empty (RFC 3986 section 3.2.2), and must be where the
# target has no authority (RFC 9112 section 3.2); a tab is white space (RFC 9110 section 5.6.3).
200 open ok GET /pipeline HTTP/1.1\r\nHost: \t a:80 \t {END}
200 open ok GET /pipeline HTTP/1.1\r\nHost:{END}
200 open ok GET /pipeline HTTP/1.1\r\nHost: {END}
ROWS
}

@test "a malformed Host is refused" {
  check_rows <<'ROWS'
400 close - GET /pipeline HTTP/1.1\r\nHost: a b{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a, b{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a: 80{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a :80{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: http://a{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a/b{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a%4\t{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: ::1{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a\x00{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a\r\n b{END}
400 close - GET /pipeline HTTP/1.1\r\nHost : a{END}

# nginx looks for what would harm it as the name of a virtual server. RFC 9112 section 3.2 wants 400 for an invalid value:
# two servers that read it differently route a request differently.
400 close - GET /pipeline HTTP/1.1\r\nHost: a:80b{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a:80:80{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a:-1{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a?b{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a#b{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: user@a{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a%{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a%4{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a%4x{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: []{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: [::1{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: [::1]]{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: [::g]{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: [::1]a{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: a[::1]{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: \xc3\xa4{END}
400 close - GET /pipeline HTTP/1.1\r\nHost: "a"{END}
ROWS
}
