#!/usr/bin/env python3
"""Sends mutated requests to a server and compares its answers with what test/reference.py says they must be.

usage: differential.py PORT [--count N] [--seed S]

Each case is one connection: a few good or nearly good requests, changed here and there, and behind them a probe that
tells whether server and reference agree on where the requests end. A third of the cases is sent in two writes. Compared
are the sequence of status codes, the content that a route prescribes, that HEAD has none, which answer closes, where
the connection is reset, and that no delay is left out. Answers that are random or take long are not asked for.

Prints how often each status was due, for a mutation that no branch sees proves nothing, and up to ten disagreements;
the exit status is 1 if there is any, or a status that never was due. The same seed gives the same cases.
"""
import argparse
import collections
import random
import re
import selectors
import socket
import sys
import time

import reference

PROBE = b"GET /baseline11?a=7&b=probe HTTP/1.1\r\nHost: probe\r\n\r\n"
EVERY_STATUS = (200, 204, 205, 304, 400, 404, 405, 413, 414, 417, 431, 501, 503, 505)
AT_ONCE = 200  # connections
PAUSE_SECONDS = 0.005  # between two writes, so that the server sees them apart
LIMIT_SECONDS = 10  # for one connection
MOST_MS = 200  # of delays and pauses on one connection
SHOWN = 10  # disagreements


# ---- Cases --------------------------------------------------------------------------------------------------------


def message(request_line, *field_lines, content=b""):
    return b"".join(line + b"\r\n" for line in (request_line, *field_lines)) + b"\r\n" + content


HOST = b"Host: a"
CHUNKED = b"Transfer-Encoding: chunked"
GET_OK = message(b"GET /pipeline HTTP/1.1", HOST)
GET_SUM = message(b"GET /baseline11?a=13&b=42 HTTP/1.1", HOST)
POST_SUM = message(b"POST /baseline11?a=13&b=42 HTTP/1.1", HOST, b"Content-Length: 2", content=b"20")
POST_CHUNKED = message(b"POST /baseline11?a=13&b=42 HTTP/1.1", HOST, CHUNKED, content=b"2\r\n20\r\n0\r\n\r\n")


def chunked(content, *field_lines):
    return message(b"POST /baseline11?a=1 HTTP/1.1", HOST, CHUNKED, *field_lines, content=content)


def post(content, *field_lines):
    length = b"Content-Length: %d" % len(content)
    return message(b"POST /baseline11?a=1&b=-2 HTTP/1.1", HOST, length, *field_lines, content=content)


def get(target):
    return message(b"GET %b HTTP/1.1" % target, HOST)


# What the mutations start from: every shape of request, and near misses of each kind of refusal.
SEEDS = (
    GET_OK,
    GET_SUM,
    POST_SUM,
    POST_CHUNKED,
    GET_OK * 3,
    GET_SUM + POST_SUM + GET_OK + POST_CHUNKED + GET_SUM,
    POST_SUM + b"\r\n" + GET_OK + b"\r\n\r\n" + POST_CHUNKED,
    message(b"GET /baseline11?a=9223372036854775807&b=1&c=-9223372036854775808&d HTTP/1.1", HOST),
    message(b"GET /baseline11?=5&a=-0&b=007&c=1=2&d=&e=%31&f=--1&&g=9223372036854775808 HTTP/1.1", HOST),
    message(b"GET /baseline11?a=1?b=2&c=3/4&d=5 HTTP/1.1", b"Host: example.com:8080", b"Accept: */*"),
    message(b"HEAD /baseline11?a=1 HTTP/1.1", HOST) + GET_OK,
    message(b"HEAD /pipeline HTTP/1.1", HOST) + message(b"HEAD /nowhere HTTP/1.1", HOST),
    message(b"OPTIONS * HTTP/1.1", HOST),
    message(b"OPTIONS /pipeline HTTP/1.1", HOST) + message(b"OPTIONS /baseline11?a=1 HTTP/1.1", b"host:a"),
    message(b"OPTIONS http://example.com HTTP/1.1", HOST) + message(b"OPTIONS http://a?b HTTP/1.1", b"Host: a \t"),
    message(b"GET http://example.com:80/baseline11?a=2 HTTP/1.1", b"Host: example.com:80"),
    message(b"GET HTTP://[::1]:8080/pipeline HTTP/1.1", b"Host: [::1]:8080"),
    message(b"GET http://a%2Db.example?a=1 HTTP/1.1", b"Host: a%2Db.example"),
    message(b"CONNECT example.com:443 HTTP/1.1", b"Host: example.com:443"),
    message(b"GET /pipeline HTTP/1.0"),
    message(b"GET /baseline11?a=3 HTTP/1.0", b"Connection: keep-alive"),
    message(b"POST /baseline11?a=3 HTTP/1.0", b"Connection: Keep-Alive", b"Content-Length: 1", content=b"4"),
    message(b"GET /baseline11?a=3 HTTP/1.0", b"Connection: keep-alive, close", HOST),
    message(b"GET /pipeline HTTP/1.1", HOST, b"Connection: close"),
    message(b"GET /pipeline HTTP/1.1", HOST, b"Connection: keep-alive", b"Connection: x,\t, y , Close"),
    message(b"GET /pipeline HTTP/1.9", b"Host:", b"Connection: closed, not-close, keep-alive"),
    post(b"5", b"Expect: 100-continue"),
    chunked(b"1\r\n5\r\n0\r\n\r\n", b"expect: 100-Continue"),
    post(b"5", b"Expect: tea"),
    message(b"GET /pipeline HTTP/1.1", HOST, b"Expect: 200-ok"),
    message(b"GET /nowhere?a=1 HTTP/1.1", HOST) + message(b"PUT /nowhere HTTP/1.1", HOST),
    message(b"POST /pipeline HTTP/1.1", HOST, b"Content-Length: 3", content=b"abc"),
    message(b"PUT /baseline11 HTTP/1.1", HOST, CHUNKED, content=b"3\r\nabc\r\n0\r\n\r\n"),
    message(b"DELETE /pipeline HTTP/1.1", HOST) + message(b"TRACE /pipeline HTTP/1.1", HOST),
    message(b"BREW /pipeline HTTP/1.1", HOST, b"Content-Length: 5", content=b"latte"),
    message(b"M!#$%&'*+-.^_`|~9 /pipeline HTTP/1.1", HOST),
    message(b"GET /pipeline HTTP/2.0", HOST),
    chunked(b"00002;a;b=c ; d = \"e\\\"f;\"\r\n 7\r\n1 ;x\r\n0\r\n000;last=\"1\"\r\n\r\n"),
    chunked(b"A;n=v\r\n        12\r\na\r\n          \r\n0\r\nTrailer: 1\r\nX-Sum:\t2 \r\nHost: b\r\n\r\n"),
    chunked(b"1\r\n-\r\n2\r\n12\r\n0\r\nContent-Length: 5\r\n\r\n"),
    chunked(b"100000\r\n"),
    chunked(b"0\r\n\r\n", b"Content-Length: 4"),
    message(b"POST /baseline11?a=1 HTTP/1.1", HOST, b"Transfer-Encoding: gzip, chunked", content=b"0\r\n\r\n"),
    message(b"POST /baseline11?a=1 HTTP/1.1", HOST, b"Transfer-Encoding: , Chunked ,", content=b"1\r\n2\r\n0\r\n\r\n"),
    message(b"POST /baseline11 HTTP/1.1", HOST, b"Content-Length: 1048577"),
    message(b"GET /baseline11?a=4 HTTP/1.1", HOST, b"Content-Length: 3", content=b"  8"),
    post(GET_OK),
    post(b"GET /baseline11?hidden=1 HTTP/1.1\r\nHost: hidden\r\n\r\n", b"X: \x80\xff\t!"),
    chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(GET_OK), GET_OK)),
    post(b" \t\r\n-12\r\n") + post(b"1 2") + post(b"9223372036854775808") + post(b""),
    get(b"/") + get(b"/?z=1") + get(b"/delay/3") + get(b"/delay/0"),
    get(b"/delay/3600001") + get(b"/delay/") + get(b"/delay/2x") + get(b"/delay/0002?s=3"),
    get(b"/x?s=2k") + get(b"/?s=0&r=503&c=0") + get(b"/a/b.html?s=51,t=2;k=1/p=7"),
    get(b"/x?s=100000") + get(b"/x?s=40k&k=1") + get(b"/x?s=70k&p=33k&d=2") + get(b"/x?k=1"),
    get(b"/x?r=204&s=5") + get(b"/x?r=205&s=5") + get(b"/x?r=304&s=5") + get(b"/x?r=599&s=1:0"),
    get(b"/x?s=9&x=0") + GET_OK,
    get(b"/x?s=9k&x=5k") + GET_OK,
    get(b"/x?s=3&t=2&x=1g") + get(b"/x?s=100&p=10&d=1&x=150"),
    get(b"/x?s=9&b=20"),
    get(b"/x?s=9&b=0") + GET_OK,
    get(b"/x?s=9&C=1") + GET_OK,
    message(b"GET /x?s=9&K=1 HTTP/1.0") + message(b"GET /x?s=99&k=1&t=1 HTTP/1.0", b"Connection: keep-alive"),
    message(b"HEAD /x?s=99&t=1 HTTP/1.1", HOST) + message(b"HEAD /x?s=99&k=1 HTTP/1.1", HOST) + GET_OK,
    message(b"PUT /x?s=4&t=1 HTTP/1.1", HOST, CHUNKED, content=b"3\r\nabc\r\n0\r\n\r\n") + GET_OK,
    message(b"POST /echo HTTP/1.1", HOST, b"Content-Length: 3", b"X: y", content=b"abc") + get(b"/echo?s=4"),
    message(b"POST /echo HTTP/1.1", HOST, CHUNKED, b"Expect: 100-continue", content=b"1\r\n5\r\n0\r\n\r\n"),
    message(b"POST /x?s=x HTTP/1.1", HOST, b"Content-Length: 3", content=b"abc") + get(b"/x?s=5&r=199&p=x"),
    message(b"TRACE /x?s=3 HTTP/1.1", HOST) + message(b"OPTIONS /x?C=1 HTTP/1.1", HOST) + get(b"/x?s=0r&t=2:100"),
)

# Exactly at a limit and one byte over it; these are sent as they are.
LIMIT_CASES = [
    *(b"M" * size + GET_OK[3:] for size in (32, 33)),
    *(b"GET /" + b"a" * (size - 5) + GET_OK[13:] for size in (8000, 8001)),
    *(GET_OK[:-2] + b"X: " + b"x" * (size - len(GET_OK) - 5) + b"\r\n\r\n" for size in (16384, 16385)),
    *(chunked(b"1;" + b"a" * (size - 1) + b"\r\n5\r\n0\r\n\r\n") for size in (4096, 4097)),
    *(chunked(b"1 ;a=\"" + b"a" * (size - 105) + b"\"\r\n5\r\n0" + b"0" * 99 + b"\r\n\r\n") for size in (4096, 4097)),
    *(chunked(b"1\r\n5\r\n0\r\nA:" + b"b" * (size - 8) + b"\r\nC:\r\n\r\n") for size in (4096, 4097)),
    *(chunked(size + b"\r\n" + b" " * 0x100000 + b"\r\n0\r\n\r\n") for size in (b"100000", b"100001")),
    *(chunked(b"%x\r\n%b\r\n1\r\n7\r\n0\r\n\r\n" % (size, b" " * size)) for size in (0xFFFFF, 0x100000)),
    *(post(b" " * (size - 1) + b"7") for size in (1048576, 1048577)),
]

METHODS = b"GET HEAD POST PUT DELETE OPTIONS TRACE PATCH CONNECT get Post BREW GETS".split()
METHODS += [b"M" * 31, b"M" * 32, b"M" * 33, b"M" * 40, b"", b"G ET", b"GE\tT", b"G(T", b"\x00GET", b"G\xc9T"]
TARGETS = rb"""/ /pipeline /baseline11 /baseline11?a=1&b=2 /pipeline?x /baseline11/ /baseline1 /baseline111 /%70ipeline
    /nowhere //pipeline /./pipeline /pipeline;x /baseline11?a=-5&b=99999999999999999999 /a?b?c:@!$'()*+,;= /-._~ /%4
    /%zz * ** *? http://a http://a? http://a/ http://a:/pipeline http://a:80?a=1 HtTp://a/baseline11?a=6 http://
    http:///pipeline /a% http://:80/ http://u@a/ http://[::1]/pipeline http://[::1 http://[]/ http://[g]/ http://a:8x/
    https://a/pipeline http:/pipeline a:80 a [::1]:80 :80 pipeline a:80/x a?b http://a#b /a#b /[ /a|b /a"b /a\b /a^b /{}
    /a<b""".split()
TARGETS += b"/?s=5 /x?s=60&t=1 /x?s=40k /echo /echo?s=5 /delay/2 /delay/x http://a?s=7 /x?r=204 /x?k=1&s=9".split()
TARGETS += [b"", b"/a b", b"/a\tb", b"/a\x00", b"/a\x7f", b"/\xc3\xa4", b"/" + b"%41" * 7]
VERSIONS = b"HTTP/1.1 HTTP/1.0 HTTP/1.2 HTTP/1.9 HTTP/2.0 HTTP/0.9 HTTP/3.1 http/1.1 HTTP/1 HTTP/1.10 HTTP/11.1".split()
VERSIONS += [b"", b"HTTP/1.1 ", b"HTTP /1.1", b"HTTP/1.x", b"HTTP/x.1", b"HTPT/1.1", b"HTTP/9.9x", b"HTTP/1,1"]

FIELD_NAMES = b"Host Content-Length Transfer-Encoding Connection Expect host CONTENT-LENGTH tRANSFER-eNCODING".split()
FIELD_NAMES += b"X Accept Content-Length_ Hos Hostt Content_Length Transfer-Encodin X@Y X(Y \xe4".split()
FIELD_NAMES += [b"", b"Host ", b"Content-Length ", b"Transfer-Encoding\t", b" Host", b"X\x00", b"X\x7f", b"\x0bHost"]
SEPARATORS = [b": "] * 20 + [b":", b":\t", b":  \t ", b" : ", b"", b"::", b"=", b":\r\n ", b": \x0b", b":\x00"]
FIELD_VALUES = b"""a a:80 [::1] [::1]:8080 [::1 ]: a:b a:80x %41 %4 a/b a@b a,b a;b :80 : 0 1 2 3 5 00 0002 +1 -1 0x1
    1,1 1; 1048576 1048577 9999999 4294967296 28446744073709551616 99999999999999999999999 chunked Chunked CHUNKED
    chunkedx chunked,chunked gzip gzip,chunked chunked,gzip chunked;a=b chunked;a gzip;q="x,chunked" xchunked "chunked"
    identity identity,chunked ,chunked chunked, ,chunked,, , ,, trailers,chunked close keep-alive Close,x x,close
    "close" close;x keep-alive,close upgrade,keep-alive closed 100-continue 100-Continue 100-continuex 100-continue,x
    100-continue, ,100-continue 100-continue=1 tea x=y\xff""".split()
FIELD_VALUES += [b"", b"1 1", b"1\t", b" 2 ", b"chunked , ", b"gzip , chunked", b"chunked x", b"gzip ;a=b, chunked"]
FIELD_VALUES += [b"a b", b"a\x00b", b"a\x7f", b"a\rb", b"a\nb", b"a\r\n b", b"close\tx", b"\x0cchunked", b"chunked\x0c"]
FIELD_VALUES += [b"chunked\xa0"]
# The fields that decide something, with values that may: most of all other pairs say nothing.
FIELD_VALUES_OF = {
    b"Host": b"a a:80 [::1] [::1.2.3.4]:80 a%41 : a/b [x] [] a:b a:8:8".split() + [b"", b"a b", b" \t", b"a:1 \t"],
    b"Content-Length": b"0 1 2 3 5 07 1048577 1,1 +1 28446744073709551616".split() + [b"", b"1 1"],
    b"Transfer-Encoding": b"chunked CHUNKED gzip gzip,chunked chunked,chunked chunked;a=b xchunked".split() + [b""],
    b"Connection": b"close keep-alive Close,x x,close,y keep-alive,close closed".split() + [b"", b"x, close ,y"],
    b"Expect": b"100-continue 100-CONTINUE tea 100-continue,tea 100-continue2 100-continue,,100-Continue , ,tea".split() + [b""],
}

ARGUMENT_NAMES = b"s r t c C K k p d R b x".split() * 3 + b"a S ss z =".split() + [b""]
ARGUMENT_VALUES = b"""0 1 2 3 5 9 10 49 50 51 100 200 204 205 304 404 503 599 600 199 1k 2k 33k 40k 1m 1g 8g 0r 5r 0k
    1kr 5:0 5:100 5:101 5:1 5:050 0r:100 5: : 5x 5k5 k r x -1 +1 5K 007 5kk 5rk 3600000 3600001 9223372036854775807
    9223372036854775808 8589934591g 8589934592g 8796093022207m 8796093022208m 9007199254740991k 18446744073709551617
    """.split() + [b""]
SMALL_VALUES = b"0 1 2 3 5 7 20 60 500 3k 200 503 0002 1k".split()
ARGUMENT_SEPARATORS = b"& & & ? , ; / && |".split()

CHUNK_SIZES = b"0 1 2 3 5 00 000000 02 0000000002 a A f F 10 100000 100001 FFFFF FFFFFFFF ffffffffffffffff".split()
CHUNK_SIZES += b"10000000000000000 -1 +1 0x2 g 2g 2_0 x \x00".split() + [b"", b" 2", b"2 ", b"2\t", b"1 1"]
CHUNK_EXTENSIONS = rb""";a ;a=b ;a="b" ;a="\"" ;a="b;c";d ;a="" ;a;b;c=d ;ab=cd;e=f ;a="\\" ;!=! ; ;; ;=b ;a= ;a=" ;a="b
    ;a="b"c ;a=b=c ;a@ =b a "a" ;"a" ;a=\ ;a="\" ;a="b"=c ;a="b""c" ;a==b""".split()
CHUNK_EXTENSIONS += [b" ;a", b"\t; a", b" ; a = b", b';a =\t"b" ;c', b';a="\t \x80"', b';a="\\ \\\t\\\xff"']
CHUNK_EXTENSIONS += [b"; a=b\t;c"]
CHUNK_EXTENSIONS += [b";a ", b"; ", b" ", b";a= b", b";a b", b" = b", b";a = ", b";a\r;b", b";a\n", b';a="b\r\n"']
CHUNK_EXTENSIONS += [b';a="\x00"', b';a="b" ', b';a="b" c', b';a="\\\x00"', b';a="\x7f"', b';a="\\\r"', b";a=\x80"]
CHUNK_EXTENSIONS += [b";\x80"]
TRAILERS = [b"A: b", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Host: x", b"a:", b":", b"a", b" a: b"]
TRAILERS += [b"a : b", b"a: \x00", b"a: b\r\n c", b"a: \xff\t", b"GET / HTTP/1.1"]
CONTENTS = [b"", b"5", b"-5", b" 5\r\n", b"5 5", b"9223372036854775807", b"-9223372036854775808"]
CONTENTS += [b"-9223372036854775809", b"x", b"0\r\n\r\n", b"\x005", b"\x0b5\x0c", b"\t5 ", b"-", b"--1", b"+1"]
CONTENTS += [b"18446744073709551621", GET_OK]

TOKENS = [bytes((byte,)) for byte in b"\r\n\0 \t:,;=\"\\%&?/#01-aF\x0b\x0c\x1f\x7f\x80\x85\xa0\xff"]
TOKENS += [b"\r\n", b"\r\n\r\n", b"\r\r\n", b"\n\r", b"\r\n ", b"\r\n\t", b" \r\n", b"%41", b"%zz", b"[::1]", b"@"]
TOKENS += [b"*", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"]
TOKENS += [b"Transfer-Encoding: x\r\n", b"Host: b\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n"]
TOKENS += [b"Expect: x\r\n", b"chunked", b"close", b"keep-alive", b"HTTP/1.1", b"http://a/", b"0\r\n\r\n"]
TOKENS += [b"1\r\n1\r\n", b"0\r\nA: b\r\n\r\n", b';a="b"', b";a=b", b" ;a"]
TOKENS += [b"9223372036854775807", b"-9223372036854775808", b"28446744073709551616", b"99999999999999999999"]
TOKENS += [b"1048576", b"1048577", b"100000", b"100001", b"ffffffffffffffff", GET_OK, GET_SUM, POST_SUM]

CHUNKED_HEAD = chunked(b"")

# Every place that has a set of bytes of its own: any byte is put between the two parts.
PLACES = (
    (b"", GET_OK),
    (b"G", GET_OK[1:]),
    (b"GET", GET_OK[3:]),
    (b"GET ", GET_OK[4:]),
    (b"GET /", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    (b"GET /baseline11?a=1", b"2 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (b"GET /%4", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    (b"OPTIONS *", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    (b"GET http://a", b"/pipeline HTTP/1.1\r\nHost: a\r\n\r\n"),
    (b"GET http://[::", b"]:80/pipeline HTTP/1.1\r\nHost: a\r\n\r\n"),
    (b"CONNECT a:8", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    (b"GET /pipeline HTTP/", b".1\r\nHost: a\r\n\r\n"),
    (b"GET /pipeline HTTP/1.", b"\r\nHost: a\r\n\r\n"),
    (b"GET /pipeline HTTP/1.1", b"\r\nHost: a\r\n\r\n"),
    (b"GET /pipeline HTTP/1.1\r\n", b"Host: a\r\n\r\n"),
    (b"GET /pipeline HTTP/1.1\r\nHost", b": a\r\n\r\n"),
    (b"GET /pipeline HTTP/1.1\r\nHost:", b"a\r\n\r\n"),
    (b"GET /pipeline HTTP/1.1\r\nHost: a", b"b\r\n\r\n"),
    (b"GET /pipeline HTTP/1.1\r\nHost: a", b"\r\n\r\n"),
    (b"GET /pipeline HTTP/1.1\r\nHost: [", b"]\r\n\r\n"),
    (b"GET /pipeline HTTP/1.1\r\nHost: a:", b"0\r\n\r\n"),
    (b"GET /pipeline HTTP/1.1\r\nHost: a\r\nX", b"Y: z\r\n\r\n"),
    (b"GET /pipeline HTTP/1.1\r\nHost: a\r\nX: y", b"z\r\n\r\n"),
    (b"GET /pipeline HTTP/1.1\r\nHost: a\r\nConnection: close", b"\r\n\r\n"),
    (b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 1", b"\r\n\r\n123456789abcdefghi"),
    (b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", b"\r\n\r\n1\r\n5\r\n0\r\n\r\n"),
    (CHUNKED_HEAD + b"1", b"\r\n5\r\n0\r\n\r\n"),
    (CHUNKED_HEAD + b"1;", b"\r\n5\r\n0\r\n\r\n"),
    (CHUNKED_HEAD + b"1;a=", b"\r\n5\r\n0\r\n\r\n"),
    (CHUNKED_HEAD + b'1;a="b', b'"\r\n5\r\n0\r\n\r\n'),
    (CHUNKED_HEAD + b'1;a="\\', b'"\r\n5\r\n0\r\n\r\n'),
    (CHUNKED_HEAD + b"1\r\n5", b"\r\n0\r\n\r\n"),
    (CHUNKED_HEAD + b"1\r\n5\r", b"\n0\r\n\r\n"),
    (CHUNKED_HEAD + b"0\r\n", b"\r\n\r\n"),
    (CHUNKED_HEAD + b"0\r\nA", b": b\r\n\r\n"),
    (CHUNKED_HEAD + b"0\r\nA: b", b"\r\n\r\n"),
    (CHUNKED_HEAD + b"0\r\n\r", b"\n"),
)

# Nowhere near the limits: those have cases of their own.
LONG_SIZES = (1000, 3000, 5000, 9000, 17500)


def mutated(draw, stream):
    for _ in range(draw.choice((0, 1, 1, 1, 1, 1, 1, 2, 2, 4))):
        stream = draw.choices(list(MUTATIONS), list(MUTATIONS.values()))[0](draw, stream)
    return stream


def place(draw, stream, size=0):
    """Where a run of so many bytes may start."""
    return draw.randrange(len(stream) - size + 1) if len(stream) > size else 0


def piece(draw, stream):
    """Where a short run of bytes starts and ends."""
    start = place(draw, stream)
    return start, min(len(stream), start + draw.choice((1, 1, 1, 2, 3, 8, 30)))


def change_byte(draw, stream):
    at = place(draw, stream, 1)
    return stream[:at] + bytes((draw.randrange(256),)) + stream[at + 1 :]


def flip_bit(draw, stream):
    at = place(draw, stream, 1)
    return stream[:at] + bytes((byte ^ 1 << draw.randrange(8) for byte in stream[at : at + 1])) + stream[at + 1 :]


def delete_piece(draw, stream):
    start, end = piece(draw, stream)
    return stream[:start] + stream[end:]


def repeat_piece(draw, stream):
    start, end = piece(draw, stream)
    return stream[:end] + stream[start:end] + stream[end:]


def change_case(draw, stream):
    start, end = piece(draw, stream)
    return stream[:start] + stream[start:end].swapcase() + stream[end:]


def insert_token(draw, stream):
    at = place(draw, stream)
    return stream[:at] + draw.choice(TOKENS) + stream[at:]


def replace_word(draw, stream):
    """A word is a run of letters and digits, or of other bytes between two of them."""
    word = draw.choice(list(re.finditer(rb"[0-9A-Za-z]+|[^0-9A-Za-z]+", stream)) or [None])
    return stream[: word.start()] + draw.choice(TOKENS) + stream[word.end() :] if word else stream


def insert_at_word(draw, stream):
    word = draw.choice(list(re.finditer(rb"[0-9A-Za-z]+|[^0-9A-Za-z]+", stream)) or [None])
    return stream[: word.start()] + draw.choice(TOKENS) + stream[word.start() :] if word else stream


def with_lines(change):
    """A mutation of the list of lines, each with its end."""

    def mutation(draw, stream):
        lines = stream.splitlines(keepends=True) or [b""]
        change(draw, lines)
        return b"".join(lines)

    return mutation


@with_lines
def delete_line(draw, lines):
    del lines[draw.randrange(len(lines))]


@with_lines
def repeat_line(draw, lines):
    lines.insert(draw.randrange(len(lines) + 1), draw.choice(lines))


@with_lines
def swap_lines(draw, lines):
    first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]


@with_lines
def change_request_line(draw, lines):
    index = draw.choice([at for at, line in enumerate(lines) if b" HTTP/" in line] or [0])
    parts = lines[index].split(b" ")
    if len(parts) != 3:
        return
    which = draw.choice((0, 1, 1, 2))
    parts[which] = draw.choice((METHODS, TARGETS, VERSIONS)[which]) + (b"\r\n" if which == 2 else b"")
    lines[index] = b" ".join(parts)


def field_line(draw):
    if draw.random() < 0.7:
        name = draw.choice(list(FIELD_VALUES_OF))
        value = draw.choice(FIELD_VALUES_OF[name])
    else:
        name, value = draw.choice(FIELD_NAMES), draw.choice(FIELD_VALUES)
    return name + draw.choice(SEPARATORS) + value + b"\r\n"


@with_lines
def insert_field_line(draw, lines):
    starts = [at + 1 for at, line in enumerate(lines) if b": " in line or b" HTTP/" in line]
    lines.insert(draw.choice(starts or [0]), field_line(draw))


@with_lines
def change_field_line(draw, lines):
    fields = [at for at, line in enumerate(lines) if b": " in line]
    if fields:
        at = draw.choice(fields)
        name, _, value = lines[at].partition(b": ")
        same_name = name + b": " + draw.choice(FIELD_VALUES_OF.get(name, FIELD_VALUES)) + b"\r\n"
        lines[at] = draw.choice((field_line(draw), same_name))


def insert_long(draw, stream):
    """What passes a limit or stays under it: a target, field lines, trailers, chunk extensions, zeros before a size."""
    size = draw.choice(LONG_SIZES)
    kind = draw.randrange(8)
    if kind == 0:
        return stream.replace(b" HTTP", draw.choice((b"/", b"?a=", b"%41")) + b"a" * size + b" HTTP", 1)
    if kind == 1:
        return stream.replace(b"\r\n", b"\r\nX: " + b"x" * size + b"\r\n", 1)
    if kind == 2:
        return stream.replace(b"\r\n", b"\r\n" + b"X: yz\r\n" * (size // 7), 1)
    if kind == 3:
        return stream + chunked(b"0\r\nA: " + b"b" * size + b"\r\n\r\n")
    if kind == 4:
        return stream + chunked(b"0\r\n" + b"A: b\r\n" * (size // 6) + b"\r\n")
    if kind == 5:
        return stream + chunked(b"1;%b\r\n1\r\n" % (b"a" * 50) * (size // 100) + b"0\r\n\r\n")
    if kind == 6:
        return stream + chunked(b"0" * size + b"2\r\n20\r\n0\r\n\r\n")
    extension = draw.choice((b";a=" + b"b" * size, b";a" * (size // 2), b';a="' + b";" * size + b'"'))
    return stream + chunked(b"2" + extension + b"\r\n20\r\n0\r\n\r\n")


def chunk_line(draw, sizes, usual_size):
    """A chunk's size and extensions, with one of them unusual at most."""
    if draw.random() < 0.3:
        return draw.choice(sizes)
    return usual_size + draw.choice((b"", draw.choice(CHUNK_EXTENSIONS)))


def insert_chunk(draw, stream):
    starts = [found.start() for found in re.finditer(rb"(?<=\r\n)[0-9A-Fa-f]+[;\r\n]", stream)]
    at = draw.choice(starts or [place(draw, stream)])
    data = draw.choice((b"20", b"20", b"20", b"", b"123"))
    return stream[:at] + chunk_line(draw, CHUNK_SIZES, b"2") + b"\r\n" + data + b"\r\n" + stream[at:]


def append_chunked(draw, stream):
    lines = [chunk_line(draw, CHUNK_SIZES, b"1"), b"5", chunk_line(draw, CHUNK_SIZES, b"0")]
    lines += draw.sample(TRAILERS, draw.choice((0, 0, 1, 2)))
    return stream + chunked(b"\r\n".join(lines) + b"\r\n\r\n")


def argument(draw):
    values = draw.choice((ARGUMENT_VALUES, SMALL_VALUES, SMALL_VALUES))
    return draw.choice(ARGUMENT_NAMES) + draw.choice((b"=",) * 20 + (b"", b"==")) + draw.choice(values)


def insert_argument(draw, stream):
    starts = [found.end() for found in re.finditer(rb" /[^ ?]*\?|(?<==)[0-9a-z]+(?=[&,;/? ])", stream)]
    if not starts:
        return stream
    at = draw.choice(starts)
    separator = b"" if stream[at - 1 : at] == b"?" else draw.choice(ARGUMENT_SEPARATORS)
    return stream[:at] + separator + argument(draw) + (b"&" if separator == b"" else b"") + stream[at:]


def append_described(draw, stream):
    query = argument(draw)
    while draw.random() < 0.6:
        query += draw.choice(ARGUMENT_SEPARATORS) + argument(draw)
    path = draw.choice((b"/", b"/", b"/x", b"/a.b/c", b"/echo", b"/delay/1"))
    method = draw.choice((b"GET",) * 6 + (b"HEAD", b"HEAD", b"TRACE", b"OPTIONS", b"DELETE"))
    version = draw.choice((b"HTTP/1.1",) * 6 + (b"HTTP/1.0",))
    field = draw.choice((b"X: y",) * 3 + (b"Connection: close", b"Connection: keep-alive", b"Expect: 100-continue"))
    return stream + message(b"%b %b?%b %b" % (method, path, query, version), HOST, field)


def append_content(draw, stream):
    return stream + post(draw.choice(CONTENTS), *[field_line(draw)[:-2] for _ in range(draw.choice((0, 0, 1)))])


def append_any_byte(draw, stream):
    before, after = draw.choice(PLACES)
    return stream + before + bytes((draw.randrange(256),)) + after


def splice(draw, stream):
    other = draw.choice(SEEDS)
    return stream[: place(draw, stream)] + other[place(draw, other) :]


def append_seed(draw, stream):
    return stream + draw.choice(SEEDS)


MUTATIONS = {
    change_byte: 3,
    flip_bit: 2,
    delete_piece: 4,
    repeat_piece: 3,
    change_case: 3,
    insert_token: 3,
    replace_word: 3,
    insert_at_word: 4,
    delete_line: 2,
    repeat_line: 2,
    swap_lines: 2,
    change_request_line: 7,
    insert_field_line: 7,
    change_field_line: 6,
    insert_long: 2,
    insert_chunk: 4,
    append_chunked: 4,
    append_content: 3,
    insert_argument: 6,
    append_described: 12,
    append_any_byte: 8,
    splice: 2,
    append_seed: 4,
}


def cases(seed, count):
    """The streams to send, and what they must lead to."""
    draw = random.Random(seed)
    index = 0
    while index < count:
        stream = LIMIT_CASES[index] if index < len(LIMIT_CASES) else mutated(draw, draw.choice(SEEDS))
        stream += PROBE
        try:
            outcomes = reference.read_stream(stream)
        except reference.Unpredictable:
            continue
        if sum(outcome.ms for outcome in outcomes) <= MOST_MS:
            yield stream, outcomes
            index += 1


def in_pieces(seed, streams):
    """The streams as lists of one or two writes."""
    draw = random.Random(seed)
    for stream, outcomes in streams:
        cut = draw.randrange(1, len(stream))
        yield ([stream] if draw.random() < 0.67 else [stream[:cut], stream[cut:]]), outcomes


# ---- Connections --------------------------------------------------------------------------------------------------


class Exchange:
    """One connection: what is sent on it, and what has come back."""

    def __init__(self, port, pieces, outcomes):
        self.pieces = pieces
        self.outcomes = outcomes
        self.sent = 0
        self.received = bytearray()
        self.was_reset = False
        self.trouble = None
        self.least_end = time.monotonic() + sum(outcome.ms for outcome in outcomes) / 1000
        self.deadline = time.monotonic() + LIMIT_SECONDS
        self.socket = socket.create_connection(("127.0.0.1", port), LIMIT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self):
        """The next piece, or the end of the stream behind the last. A server that has refused may be gone by then."""
        try:
            self.socket.sendall(self.pieces[self.sent])
            if self.sent + 1 == len(self.pieces):
                self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.was_reset = True
        self.sent += 1

    def receive(self):
        """Whether more may come. What came before a reset counts."""
        try:
            data = self.socket.recv(1 << 16)
        except OSError:
            self.was_reset = True
            return False
        self.received += data
        if data == b"" and time.monotonic() < self.least_end:
            self.trouble = "the stream ended before the delays"
        return data != b""


def exchanges(port, all_pieces):
    """Makes all exchanges, AT_ONCE at a time, and yields each when it is over."""
    selector = selectors.DefaultSelector()
    waiting = collections.deque()  # when the second piece is due, and of which
    opened = set()
    all_pieces = iter(all_pieces)
    is_more = True
    while is_more or opened:
        while is_more and len(opened) < AT_ONCE:
            pieces, outcomes = next(all_pieces, (None, None))
            is_more = pieces is not None
            if is_more:
                exchange = Exchange(port, pieces, outcomes)
                opened.add(exchange)
                selector.register(exchange.socket, selectors.EVENT_READ, exchange)
                exchange.send()
                if exchange.sent < len(pieces):
                    waiting.append((time.monotonic() + PAUSE_SECONDS, exchange))
        ready = [key.data for key, _ in selector.select(PAUSE_SECONDS)]
        now = time.monotonic()
        over = [exchange for exchange in ready if not exchange.receive()]
        while waiting and waiting[0][0] <= now:
            _, exchange = waiting.popleft()
            if exchange in opened and exchange not in over:
                exchange.send()
        if not ready:
            for exchange in opened:
                if exchange.deadline < now:
                    exchange.trouble = "the stream did not end"
                    over.append(exchange)
        for exchange in over:
            selector.unregister(exchange.socket)
            exchange.socket.close()
            opened.remove(exchange)
            yield exchange


# ---- Comparison ---------------------------------------------------------------------------------------------------


def read_answers(received, outcomes):
    """The final responses as (status, closes, fields, content). Where the content of one ends that the reference
    prescribes, only the reference can tell."""
    answers = []
    while received:
        outcome = outcomes[len(answers)] if len(answers) < len(outcomes) else reference.Outcome(0, False)
        if outcome.cut is not None:
            answers.append((outcome.status, outcome.closes, None, received))
            break
        head, end, received = received.partition(b"\r\n\r\n")
        status_line, *field_lines = head.split(b"\r\n")
        match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [ -~]*", status_line)
        if not match or not end:
            raise ValueError(f"no response at {head[:100]!r}")
        fields = dict(line.split(b": ", 1) for line in field_lines)
        status = int(match[1])
        if status == 100:
            continue
        size = 0
        if outcome.answer is not None and status == outcome.status:
            size = len(outcome.answer)
        elif not outcome.is_head:
            size = int(fields[b"Content-Length"])
        if outcome.is_head:
            size = 0
        if len(received) < size:
            raise ValueError(f"content of {len(received)} bytes instead of {size}")
        answers.append((status, fields.get(b"Connection") == b"close", fields, received[:size]))
        received = received[size:]
    return answers


def is_as_expected(outcome, answer):
    status, closes, fields, content = answer
    if (status, closes) != (outcome.status, outcome.closes):
        return False
    if outcome.cut is not None:
        return len(content) == outcome.cut
    if outcome.fields is not None:
        for name in (b"Date", b"Server", b"Content-Type"):
            fields.pop(name)
        if fields != outcome.fields:
            return False
    return outcome.is_head or outcome.answer is None or outcome.answer == content


def difference(exchange, outcomes):
    """What is wrong with an exchange, or None."""
    if exchange.trouble:
        return exchange.trouble
    try:
        answers = read_answers(bytes(exchange.received), outcomes)
    except (ValueError, KeyError) as error:
        return f"{error!r} in {bytes(exchange.received[:2000])!r}"
    if outcomes and outcomes[-1].cut == 0:
        answers += [(outcomes[-1].status, outcomes[-1].closes, None, b"")] * (len(answers) == len(outcomes) - 1)
    if outcomes and outcomes[-1].cut is not None and not exchange.was_reset:
        return "no reset"
    if len(answers) == len(outcomes) and all(map(is_as_expected, outcomes, answers)):
        return None
    lines = (f"{status}{' close' * closes} {content[:2000]!r}" for status, closes, _, content in answers)
    return "\n    ".join(lines) or "nothing"


def printable(piece):
    """The bytes as Python writes them, but for long runs of one."""
    return re.sub(r"(.)\1{199,}", lambda run: f"{run[1]}...{run[1]} ({len(run[0])} in all)", repr(piece))


def shown(outcome):
    content = b"" if outcome.is_head else outcome.answer
    content = "any content" if content is None else repr(content[:2000])
    cut = "" if outcome.cut is None else f" reset after {outcome.cut} bytes"
    return f"{outcome.status}{' close' * outcome.closes}{cut} {content}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    started = time.monotonic()
    due, closing = collections.Counter(), collections.Counter()
    probes = silent = differences = 0
    streams = cases(options.seed, options.count)
    for exchange in exchanges(options.port, in_pieces(options.seed, streams)):
        outcomes = exchange.outcomes
        due.update(outcome.status for outcome in outcomes)
        closing.update(outcome.status for outcome in outcomes if outcome.closes)
        probes += outcomes[-1:] == [reference.Outcome(200, False, sum=7, answer=b"7")]
        silent += not outcomes
        found = difference(exchange, outcomes)
        if found is None:
            continue
        differences += 1
        if differences <= SHOWN:
            print(" | ".join(map(printable, exchange.pieces)))
            print("  reference:\n    " + ("\n    ".join(map(shown, outcomes)) or "nothing"))
            print("  server:\n    " + found)

    never = [str(status) for status in EVERY_STATUS if not due[status]]
    seconds = time.monotonic() - started
    by_status = ", ".join(f"{status}: {due[status]} ({closing[status]})" for status in sorted(due))
    print(
        f"seed {options.seed}: {options.count} connections in {seconds:.1f} s, {differences} disagree;"
        f" {probes} probes answered, {silent} streams with no answer due; answers due (closing) by status: {by_status}"
        + (f"; never due: {', '.join(never)}" if never else "")
    )
    return 1 if differences or never else 0


if __name__ == "__main__":
    sys.exit(main())
