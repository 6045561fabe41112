#!/usr/bin/env bats
# The chunked transfer coding: sizes, extensions, line ends, the trailer section (RFC 9112 section 7.1).
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }

@test "chunks are joined, wherever they were split" {
  check_rows <<'ROWS'
200 open 1 {CHUNKED}0{END}
200 open 21 {CHUNKED}2\r\n20\r\n0{END}
200 open 21 {CHUNKED}1\r\n2\r\n1\r\n0\r\n0{END}
200 open 12345678902 {CHUNKED}a\r\n1234567890\r\n1\r\n1\r\n0{END}
200 open 1234567890124 {CHUNKED}B\r\n12345678901\r\n2\r\n23\r\n0{END}
200 open 1 {CHUNKED}3\r\n\r\n\x00\r\n0{END}
200 open 1 {CHUNKED}4\r\n0\r\n\r\r\n0{END}
ROWS
}

@test "a size has hexadecimal digits, and leading zeros" {
  check_rows <<'ROWS'
200 open 21 {CHUNKED}0002\r\n20\r\n00000{END}
200 open 21 {CHUNKED}<0*100>2\r\n20\r\n<0*100>{END}
200 open 21 {CHUNKED}0000000000000000000000000000000000002\r\n20\r\n0{END}
200 open 1 {CHUNKED}1A\r\n<x*26>\r\n0{END}
200 open 1 {CHUNKED}1f\r\n<x*31>\r\n0{END}
400 close - {CHUNKED}g\r\n
400 close - {CHUNKED}\r\n
400 close - {CHUNKED}0x2\r\n20\r\n0{END}
400 close - {CHUNKED}2h\r\n20\r\n0{END}
400 close - {CHUNKED}-2\r\n20\r\n0{END}
400 close - {CHUNKED}+2\r\n20\r\n0{END}
400 close - {CHUNKED} 2\r\n20\r\n0{END}
400 close - {CHUNKED}\t2\r\n20\r\n0{END}
400 close - {CHUNKED}2,0\r\n20\r\n0{END}
400 close - {CHUNKED}2\x0020\r\n0{END}
400 close - {CHUNKED}\x00\r\n
400 close - {CHUNKED}2\xb2\r\n

# nginx takes white space behind a size. The grammar has it before ";" only: other servers stop there, or do not.
400 close - {CHUNKED}2 \r\n20\r\n0{END}
400 close - {CHUNKED}2\t\r\n20\r\n0{END}
ROWS
}

@test "lines around chunks end with CRLF and nothing less, and data has the size that was announced" {
  check_rows <<'ROWS'
400 close - {CHUNKED}2\r20\r\n0{END}
400 close - {CHUNKED}2\r\r\n20\r\n0{END}
400 close - {CHUNKED}2\r\n20\r0{END}
400 close - {CHUNKED}2\r\n200{END}
400 close - {CHUNKED}2\r\n201\r\n0{END}
400 close - {CHUNKED}2\r\n20\r\n\r\n0{END}
400 close - {CHUNKED}2\r\n20\r\n0\r\n\rx
400 close - {CHUNKED}2;a=b\rx20\r\n0{END}

# nginx takes a bare LF for a line's end, and any bytes behind the data. RFC 9112 section 2.2 allows the LF in heads, not
# in chunks, where a front that keeps to CRLF sees other chunks.
400 close - {CHUNKED}2\n20\r\n0{END}
400 close - {CHUNKED}2\r\n20\n0{END}
400 close - {CHUNKED}2\r\n2\r\n0{END}
400 close - {CHUNKED}2\r\n20\r\n0\n\r\n
400 close - {CHUNKED}2\r\n20\r\n0\r\n\n
400 close - {CHUNKED}2\r\n20\r\n0\r\n \r\n
400 close - {CHUNKED}2;\n20\r\n0{END}
400 close - {CHUNKED}2;a\n20\r\n0{END}
ROWS
}

# Go, Node and others have let bare LF, NUL or white space pass in extensions and were tricked by it: a front that ends
# the line elsewhere takes the rest for a chunk.
@test "chunk extensions are checked by their grammar, and discarded" {
  check_rows <<'ROWS'
200 open 21 {CHUNKED}2;name=value\r\n20\r\n0;last{END}
200 open 21 {CHUNKED}2;a;b;c=d;e\r\n20\r\n0{END}
200 open 21 {CHUNKED}2;a="b c"\r\n20\r\n0{END}
200 open 21 {CHUNKED}2;a="";b\r\n20\r\n0{END}
200 open 21 {CHUNKED}2;a="\x5c"";b\r\n20\r\n0{END}
200 open 21 {CHUNKED}2;a="\x5c\x5c";b\r\n20\r\n0{END}
200 open 21 {CHUNKED}2;a=";=,\t\xff"\r\n20\r\n0{END}
200 open 21 {CHUNKED}2 ; a = b ; c\r\n20\r\n0{END}
200 open 21 {CHUNKED}2\t;\ta\t=\t"b"\t;c\r\n20\r\n0{END}
200 open 21 {CHUNKED}2;2\r\n20\r\n0;0=0{END}
400 close - {CHUNKED}2;a="\x5c\r\n"\r\n20\r\n0{END}
400 close - {CHUNKED}2;a="b\nc"\r\n20\r\n0{END}
400 close - {CHUNKED}2=a\r\n20\r\n0{END}

# nginx skips everything up to the line's end. What is no extension may be a line's end to somebody else.
400 close - {CHUNKED}2;\r\n20\r\n0{END}
400 close - {CHUNKED}2; \r\n20\r\n0{END}
400 close - {CHUNKED}2;;a\r\n20\r\n0{END}
400 close - {CHUNKED}2;a;\r\n20\r\n0{END}
400 close - {CHUNKED}2;=b\r\n20\r\n0{END}
400 close - {CHUNKED}2;a=\r\n20\r\n0{END}
400 close - {CHUNKED}2;a=;b\r\n20\r\n0{END}
400 close - {CHUNKED}2;a \r\n20\r\n0{END}
400 close - {CHUNKED}2;a=b \r\n20\r\n0{END}
400 close - {CHUNKED}2;a b\r\n20\r\n0{END}
400 close - {CHUNKED}2;a=b c\r\n20\r\n0{END}
400 close - {CHUNKED}2;a==b\r\n20\r\n0{END}
400 close - {CHUNKED}2;a=b=c\r\n20\r\n0{END}
400 close - {CHUNKED}2;a="b\r\n20\r\n0{END}
400 close - {CHUNKED}2;a="b"c\r\n20\r\n0{END}
400 close - {CHUNKED}2;a="b""c"\r\n20\r\n0{END}
400 close - {CHUNKED}2;a=b"c"\r\n20\r\n0{END}
400 close - {CHUNKED}2;a="\x00"\r\n20\r\n0{END}
400 close - {CHUNKED}2;a="\x5c\x00"\r\n20\r\n0{END}
400 close - {CHUNKED}2;\x00\r\n20\r\n0{END}
400 close - {CHUNKED}2;a\x00=b\r\n20\r\n0{END}
400 close - {CHUNKED}2;a(b\r\n20\r\n0{END}
400 close - {CHUNKED}2;\xe4\r\n20\r\n0{END}
400 close - {CHUNKED}2 a\r\n20\r\n0{END}
400 close - {CHUNKED}2 2\r\n20\r\n0{END}
ROWS
}

@test "trailer fields are checked, and discarded" {
  check_rows <<'ROWS'
200 open 21 {CHUNKED}2\r\n20\r\n0\r\nTrailer: x\r\nOther: y{END}
200 open 21 {CHUNKED}2\r\n20\r\n0\r\nA:{END}
200 open 21 {CHUNKED}2\r\n20\r\n0\r\nA: \xff\t b \r\n!: x{END}
200 open 21 {CHUNKED}2\r\n20\r\n0\r\nContent-Length: 99{END}
200 open 21 {CHUNKED}2\r\n20\r\n0\r\nTransfer-Encoding: gzip\r\nHost: b\r\nConnection: close{END}
400 close - {CHUNKED}0\r\nA: x\r\rB: y{END}

# nginx skips lines up to an empty one. A trailer section has field lines (RFC 9112 section 7.1.2), or it may be a request.
400 close - {CHUNKED}0\r\nTrailer{END}
400 close - {CHUNKED}0\r\nTrailer : x{END}
400 close - {CHUNKED}0\r\n: x{END}
400 close - {CHUNKED}0\r\n A: x{END}
400 close - {CHUNKED}0\r\nA: x\r\n folded{END}
400 close - {CHUNKED}0\r\nA: x\n\r\n
400 close - {CHUNKED}0\r\nA: \x00{END}
400 close - {CHUNKED}0\r\nA\x00: x{END}
400 close - {CHUNKED}0\r\nA: \x7f{END}
400 close - {CHUNKED}0\r\nGET /pipeline HTTP/1.1\r\nHost: a{END}
ROWS
}

@test "at each place around the chunks, of all 256 bytes only the right ones are accepted" {
  run -0 timeout 60 python3 - "$server_port" <<'PYTHON'
import socket, string, sys
digits = string.hexdigits.encode()
token = string.digits.encode() + string.ascii_letters.encode() + b"!#$%&'*+-.^_`|~"
text = b"\t" + bytes(range(0x20, 0x7f)) + bytes(range(0x80, 0x100))
white = b" \t"
places = {b"": digits, b"2": digits + b";\r" + white, b"2 ": b";" + white, b"2;": token + white,
          b"2;a": token + b"=;\r" + white, b"2;a ": b"=;" + white, b"2;a=": token + b'"' + white,
          b"2;a=b": token + b";\r" + white, b"2;a=b ": b";" + white, b'2;a="': text, b'2;a="\\': text,
          b'2;a=""': b";\r" + white, b'2;a="" ': b";" + white, b"2\r": b"\n", b"2;a\r": b"\n", b"2\r\n20": b"\r",
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
