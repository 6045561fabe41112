#!/usr/bin/env bats
# Limits: request line, head, content, chunk extensions, trailers (RFC 9112 sections 3, 7.1.1 and 7.1.2, RFC 9110
# sections 5.4, 15.5.14 and 15.5.15, RFC 6585 section 5).
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }

@test "a request line may be 8,000 bytes long up to its version, and no longer" {
  check_rows <<'ROWS'
404 open - GET /<a*7995> HTTP/1.1\r\nHost: a{END}
414 close - GET /<a*7996>
414 close - GET /<a*30000> HTTP/1.1\r\nHost: a{END}
404 open - GET /<%41*2665> HTTP/1.1\r\nHost: a{END}
400 close - GET http://<%41*2600>%4" HTTP/1.1\r\nHost: a{END}
400 close - GET http://[<a*7986>! HTTP/1.1\r\nHost: a{END}
400 close - CONNECT [<a*7991>!
400 close - {GET}Host: [<a*16000>!\r\n
404 open - POST /<a*7994> HTTP/1.1\r\nHost: a{END}
404 open - PUT /<a*7995> HTTP/1.1\r\nHost: a{END}
400 close - OPTIONS http://<a*7985>\r\n

# nginx has larger buffers here. RFC 9112 section 3 recommends to support 8,000 bytes, and leaves the limit to the server.
414 close 414_URI_Too_Long\r\n GET /<a*7996> HTTP/1.1\r\nHost: a{END}
414 close - GET /?<a*7995> HTTP/1.1\r\nHost: a{END}
414 close - GET /<%41*2666> HTTP/1.1\r\nHost: a{END}
414 close - GET http://a/<a*7989> HTTP/1.1\r\nHost: a{END}
414 close - OPTIONS http://<a*7986>\r\n
414 close - CONNECT <a*9000>[
414 close - CONNECT [<a*8200>!
414 close - GET http://[<a*8200>!
431 close - GET /pipeline HTTP/1.1\r\nHost: [<a*17000>!\r\n
431 close - GET /pipeline HTTP/1.1\r\nHost: <%41*6000>!\r\n
414 close - POST /<a*7995> HTTP/1.1\r\nHost: a{END}
414 close - PUT /<a*7996> HTTP/1.1\r\nHost: a{END}
ROWS
}

@test "a head may be 16,384 bytes long, and no longer" {
  # 34 bytes of it are the request line and Host, 3 the name, 4 the last line's end and the empty line.
  check_rows <<'ROWS'
200 open ok {GET}X: <x*16344>{END}
431 close - {GET}X: <x*16384>
431 close - {GET}X: <x*40000>{END}
431 close - {GET}<X: y\r\n*3000>{END}
431 close - {GET}<X*16384>
431 close - {GET}X: <x*16384>\x00
400 close - {GET}X: <x*16000>\x00<x*16000>{END}
431 close - POST /baseline11 HTTP/1.1\r\nHost: a\r\nX: <x*16323>\r\nContent-Length: 99999999999999999999{END}
400 close - POST /baseline11 HTTP/1.1\r\nHost: a\r\nX: <x*16300>\r\nContent-Length: 99999999999999999999{END}
431 close - POST /baseline11 HTTP/1.1\r\nHost: a\r\nX: <x*16329>\r\nTransfer-Encoding: chunked, chunked{END}
400 close - POST /baseline11 HTTP/1.1\r\nHost: a\r\nX: <x*16300>\r\nTransfer-Encoding: chunked, chunked{END}
200 open ok \r\n\r\n{GET}X: <x*16344>{END}

# nginx limits a line, not the head.
431 close 431_Request_Header_Fields_Too_Large\r\n {GET}X: <x*16345>{END}
431 close - GET /<a*7995> HTTP/1.1\r\nHost: a\r\nX: <x*8500>{END}
ROWS
}

@test "content may have 1 MiB; more is refused before it arrives" {
  check_rows <<'ROWS'
413 close 413_Content_Too_Large\r\n {POST}Content-Length: 1048577{END}
413 close - {POST}Content-Length: 000000001048577{END}
413 close - {POST}Content-Length: 1844674407370955161{END}
413 close - {CHUNKED}100001
413 close - {CHUNKED}ffffffffffffffffffffff
413 close - {CHUNKED}0100001
413 close - {CHUNKED}10000000000000000000000000000000000000000000002\r\n20\r\n0{END}

# nginx has answered before it looks at the chunks.
413 close - {CHUNKED}100001\r\n
413 close - {CHUNKED}1\r\n7\r\n100000\r\n
ROWS
}

@test "1 MiB of content is read, with either framing" {
  local framing
  for framing in 'Content-Length: 1048576' 'Transfer-Encoding: chunked'; do
    run -0 bash -c "head --bytes 1048576 /dev/zero | tr '\\0' 7 |
      curl --silent --data-binary @- --header 'Content-Type: text/plain' --header '$framing' \
      --write-out ' %{http_code}' 'http://127.0.0.1:$server_port/baseline11?a=1'"
    [[ $output == '1 200' ]] || fail "$framing: $output"
  done
}

@test "the chunk extensions of a request have at most 4,096 bytes, leading zeros included" {
  check_rows <<'ROWS'
200 open 21 {CHUNKED}2;<a*4095>\r\n20\r\n0{END}
413 close - {CHUNKED}2;<a*4096>
200 open 21 {CHUNKED}1;<a*2047>\r\n2\r\n1;<a*2047>\r\n0\r\n0{END}
200 open 21 {CHUNKED}<0*4000>2\r\n20\r\n0{END}
413 close - {CHUNKED}<0*5000>
200 open 1 {CHUNKED}<1;a\r\n7\r\n*2000>0{END}

# nginx has no limit. RFC 9112 section 7.1.1 wants one.
413 close - {CHUNKED}2;<a*4096>\r\n20\r\n0{END}
413 close - {CHUNKED}1;<a*2047>\r\n2\r\n1;<a*2047>\r\n0\r\n0;a{END}
413 close - {CHUNKED}2;a="<b*9000>"\r\n20\r\n0{END}
413 close - {CHUNKED}2<\t*9000>;a\r\n20\r\n0{END}
413 close - {CHUNKED}<0*5000>2\r\n20\r\n0{END}
ROWS
}

@test "the trailer fields of a request have at most 4,096 bytes" {
  check_rows <<'ROWS'
200 open 21 {CHUNKED}2\r\n20\r\n0\r\nA: <x*4000>{END}
200 open 21 {CHUNKED}2;<a*4000>\r\n20\r\n0\r\nA: <x*4000>{END}

# nginx has no limit. RFC 9112 section 7.1.2 leaves it to the server, like that of the head.
431 close - {CHUNKED}2\r\n20\r\n0\r\nA: <x*4200>{END}
431 close - {CHUNKED}2\r\n20\r\n0\r\nA: <x*4200>
431 close - {CHUNKED}2\r\n20\r\n0\r\n<A: b\r\n*700>\r\n
431 close - {CHUNKED}2\r\n20\r\n0\r\n<A*5000>
ROWS
}

@test "each request has its own limits" {
  check_rows <<'ROWS'
200,200,200 open 21 {CHUNKED}2;<a*4000>\r\n20\r\n0{END}{CHUNKED}2;<a*4000>\r\n20\r\n0\r\nA: <x*4000>{END}{CHUNKED}2;<a*4000>\r\n20\r\n0{END}
200,200 open ok {GET}X: <x*16000>{END}{GET}X: <x*16000>{END}
ROWS
}
