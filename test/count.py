#!/usr/bin/env python3
"""Counts the instructions that a request costs, with callgrind.

usage: count.py [--bounds]

Builds the server so that its one worker runs in the process's own thread and ends with its last connection, which
callgrind can follow, and sends each kind of request over one connection, so many times and some more: the difference
is what the further ones cost. System calls count as one instruction each. Prints a table; with --bounds the exit status
is 1 if a kind takes more than its bound.
"""
import pathlib
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FEW, MORE = 64, 4160  # requests; the clock ticks meanwhile, which takes some 15,000 instructions
BROWSER = b"""GET /pipeline HTTP/1.1\r
Host: localhost:8080\r
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/png,image/svg+xml,*/*;q=0.8\r
Accept-Language: en-US,en;q=0.5\r
Accept-Encoding: gzip, deflate, br, zstd\r
Connection: keep-alive\r
Upgrade-Insecure-Requests: 1\r
Sec-Fetch-Dest: document\r
Sec-Fetch-Mode: navigate\r
Sec-Fetch-Site: none\r
Priority: u=0, i\r
\r
"""
PIPELINE = b"GET /pipeline HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"
TARGET = b" /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost:8080\r\n"
# What is sent at once, how many requests that is, and how many instructions each may take.
KINDS = {
    "GET /pipeline, 16 at once": (PIPELINE * 16, 16, 300),
    "GET /pipeline": (PIPELINE, 1, 430),
    "GET /baseline11": (b"GET" + TARGET + b"\r\n", 1, 660),
    "POST /baseline11": (b"POST" + TARGET + b"Content-Length: 2\r\n\r\n20", 1, 1120),
    "POST /baseline11, chunked": (b"POST" + TARGET + b"Transfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0\r\n\r\n", 1, 1280),
    f"GET /pipeline, a browser's {len(BROWSER)} bytes": (BROWSER, 1, 1600),
}


def build(folder):
    source = (ROOT / "server.cpp").read_text()
    for old, new in (
            ("check(start_thread(flags, worker.stack + stack_size, run_worker, &worker), \"clone\")",
             "long(flags * 0); print(1, \"listening\", nullptr); run_worker(&worker)"),
            ("    worker.connection_count--;\n", "    if (--worker.connection_count == 0) exit_group(0);\n")):
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    (folder / "server.cpp").write_text(source)
    (folder / "build.sh").write_text((ROOT / "build.sh").read_text())
    subprocess.run(["bash", folder / "build.sh"], check=True, capture_output=True)


def count(folder, data, times):
    """Instructions of the whole program, for `data` sent so many times."""
    for _ in range(5):
        with socket.create_server(("", 0)) as probe:  # free now; if somebody else is faster, the next one
            port = probe.getsockname()[1]
        server = subprocess.Popen(["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
                                   folder / "server", "--port", str(port), "--threads", "1"], stdout=subprocess.PIPE)
        if server.stdout.readline() == b"listening\n":
            break
    with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
        for _ in range(times):
            peer.sendall(data)
            answers = b""
            while answers.count(b"HTTP/1.1 200 OK") < data.count(b"HTTP/1.1") or not answers.endswith((b"ok", b"55", b"75")):
                answers += peer.recv(65536)
    assert server.wait(30) == 0
    return int((folder / "out").read_text().rsplit("totals:", 1)[1])


def main():
    exceeded = False
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        for kind, (data, requests, bound) in KINDS.items():
            few, more = FEW // requests, MORE // requests
            each = (count(folder, data, more) - count(folder, data, few)) / ((more - few) * requests)
            exceeded |= each > bound
            print(f"{kind:38} {each:6.0f} instructions (at most {bound:,})", flush=True)
    sys.exit(exceeded and "--bounds" in sys.argv)


if __name__ == "__main__":
    main()
