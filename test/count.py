#!/usr/bin/env python3
"""Counts the instructions that a request costs, with callgrind, and the pages that it touches, with lackey.

usage: count.py [--bounds | --walk]

Builds the server so that its one worker runs in the process's own thread and ends with its last connection, which
callgrind can follow, and sends each kind of request over one connection, one by one and 16 at once, so many times and
some more: the difference is what the further ones cost. System calls count as one instruction each. Pages are those of
4 KiB in which something is run, read or written nearly each time between two calls of epoll_wait; the stack, which is
the process's here, is left out: that of a worker shares the page of the output. Prints a table; with --bounds the exit
status is 1 if a kind takes more than its bound. With --walk, instead, the instructions of one GET /pipeline by the
function of the source that they come from, in the source's order; most of these have become a part of run_worker.
"""
import collections
import math
import pathlib
import re
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TRACED = 32  # requests whose pages are counted
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
# What is sent; how many instructions it may take when it comes alone, and how many each of 16 that come at once; how
# many pages.
KINDS = {
    "GET /pipeline": (PIPELINE, 305, 215, 4),
    "GET /baseline11": (b"GET" + TARGET + b"\r\n", 490, 405, 4),
    "POST /baseline11": (b"POST" + TARGET + b"Content-Length: 2\r\n\r\n20", 695, 605, 4),
    "POST /baseline11, chunked": (b"POST" + TARGET + b"Transfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0\r\n\r\n", 765,
                                  680, 4),
    f"GET /pipeline, a browser's {len(BROWSER)} bytes": (BROWSER, 1030, 940, 4),
}


def build(folder):
    source = (ROOT / "server.cpp").read_text()
    for old, new in (
            ("long thread = start_thread(flags, stack_end, enter_worker, &workers)",
             "long thread = long(flags * 0); (void)write(1, stack_end ? \"listening\\n\" : \"\", 10); enter_worker(&workers)"),
            ("    worker.open_connections--;\n",
             "    worker.open_connections--;\n    if (worker.open_connections == 0) exit_group(0);\n")):
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    (folder / "server.cpp").write_text(source)
    (folder / "build.sh").write_text((ROOT / "build.sh").read_text())
    subprocess.run(["bash", folder / "build.sh"], check=True, capture_output=True)


def run(folder, tool, data, times):
    """Runs the server under a tool of valgrind's and sends `data` so many times."""
    for _ in range(5):
        with socket.create_server(("", 0)) as probe:  # free now; if somebody else is faster, the next one
            port = probe.getsockname()[1]
        server = subprocess.Popen(["timeout", "60", "valgrind", "--quiet", *tool, folder / "server", "--no-sandbox",
                                   "--port", str(port), "--threads", "1"], stdout=subprocess.PIPE)
        if server.stdout.readline() == b"listening\n":
            break
    ends = (b"ok", b"55", b"75")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
        for _ in range(times):
            peer.sendall(data)
            answers = b""
            while answers.count(b"HTTP/1.1 200 OK") < data.count(b"HTTP/1.1") or not answers.endswith(ends):
                answers += peer.recv(65536)
    assert server.wait(30) == 0


def count_instructions(folder, data, times):
    """Of the whole program, for `data` sent so many times."""
    run(folder, ["--tool=callgrind", f"--callgrind-out-file={folder}/out"], data, times)
    return int((folder / "out").read_text().rsplit("totals:", 1)[1])


def count_each(folder, data, requests, bound):
    """Of each request, where so many come at once. The clock's ticks only add to it, more of them on a busy machine: what
    is over the bound is counted up to three times."""
    few, more = (times // requests for times in (FEW, MORE))
    lowest = math.inf
    for _ in range(3):
        counted = count_instructions(folder, data * requests, more) - count_instructions(folder, data * requests, few)
        lowest = min(lowest, counted / ((more - few) * requests))
        if lowest <= bound:
            break
    return lowest


def count_pages(folder, data):
    """Pages that are touched nearly each time `data` is sent."""
    run(folder, ["--tool=lackey", "--trace-mem=yes", "--basic-counts=no", f"--log-file={folder}/log"], data, TRACED)
    code = subprocess.run(["objdump", "--disassemble", folder / "server.debug"], check=True, capture_output=True,
                          text=True).stdout.partition("run_worker")[2]
    epoll_wait = int(re.search(r"([0-9a-f]+):\t.*\tsyscall", code)[1], 16)  # the first one in the worker's loop
    times, touched = collections.Counter(), set()
    accesses = re.findall("^([I ][ LSM]) +([0-9a-f]+),", (folder / "log").read_text(), re.M)
    header = subprocess.run(["readelf", "--file-header", folder / "server"], check=True, capture_output=True, text=True)
    entry = int(re.search(r"Entry point address: +(0x[0-9a-f]+)", header.stdout)[1], 16)
    epoll_wait += int(accesses[0][1], 16) - entry  # the program starts there, wherever it was loaded
    for kind, address in accesses:
        touched.add(int(address, 16) >> 12)
        if kind == "I " and int(address, 16) == epoll_wait:
            times.update(touched)
            touched = set()
    stack = max(times) - 256  # in pages; nothing else is near it
    return sum(page < stack and count >= 0.9 * TRACED for page, count in times.items())


def functions_of_addresses(folder):
    """The function of the source that each instruction comes from, by its address in the file."""
    function_at, function = {}, ""
    for number, line in enumerate((folder / "server.cpp").read_text().splitlines(), 1):
        # A definition stands at the margin, or in a struct.
        if start := re.match(r"(?: {4})?(?! )(?:\[\[.*?\]\] |template <.*?> |static |inline |constexpr |HOT |INLINE |COLD )*"
                             r"(?:[\w:<>]+[ *&]+)+(\w+)\([^;]*(?:\{|,$)", line):
            if start[0].split()[0] not in ("return", "else", "asm"):
                function = start[1]
        elif start := re.match(r"struct (?:\[\[.*?\]\] )?(\w+) \{", line):
            function = start[1]  # what its members begin as
        function_at[number] = function
    functions, function = {}, ""
    code = subprocess.run(["objdump", "--disassemble", "--line-numbers", folder / "server.debug"], check=True,
                          capture_output=True, text=True).stdout
    for line in code.splitlines():
        if place := re.match(r"\S*server\.cpp:(\d+)", line):
            function = function_at[int(place[1])]
        elif instruction := re.match(r" +([0-9a-f]+):\t", line):
            functions[int(instruction[1], 16)] = function
    return functions


def count_by_function(folder, functions, data, times):
    """Instructions by the function of the source, for `data` sent so many times."""
    run(folder, ["--tool=callgrind", "--dump-instr=yes", f"--callgrind-out-file={folder}/out"], data, times)
    costs, address, is_call = collections.Counter(), 0, False
    for line in (folder / "out").read_text().splitlines():
        if line.startswith("calls="):
            is_call = True  # the next line is what the called function took
        elif cost := re.fullmatch(r"(?:(0x[0-9a-f]+)|([+-]\d+)|\*) \S+ (\d+)", line):
            address = int(cost[1], 16) if cost[1] else address + int(cost[2] or 0)
            if not is_call:
                costs[address] += int(cost[3])
            is_call = False
    # Where the program was loaded, in pages: where all that was run is an instruction of it.
    lowest = min(costs) >> 12
    base = next(page << 12 for page in range(lowest, -1, -1) if all(a - (page << 12) in functions for a in costs))
    counts = collections.Counter()
    for address, cost in costs.items():
        counts[functions[address - base]] += cost
    return counts


def walk(folder):
    functions = functions_of_addresses(folder)
    few, more = (count_by_function(folder, functions, PIPELINE, times) for times in (FEW, MORE))
    each = {name: (more[name] - few[name]) / (MORE - FEW) for name in more}
    order = re.findall(r"\w+", (folder / "server.cpp").read_text())
    for name in sorted(each, key=order.index):
        if each[name] >= 0.5:
            print(f"{each[name]:6.0f} {name}")
    print(f"{sum(each.values()):6.0f} in all")


def main():
    exceeded = False
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        if "--walk" in sys.argv:
            return walk(folder)
        for kind, (data, bound, bound_at_once, page_bound) in KINDS.items():
            alone, at_once = (count_each(folder, data, requests, bound_of_it)
                              for requests, bound_of_it in ((1, bound), (16, bound_at_once)))
            pages = count_pages(folder, data)
            exceeded |= alone > bound or at_once > bound_at_once or pages > page_bound
            print(f"{kind:37}{alone:7.1f} instructions alone (at most {bound:,}), {at_once:.1f} of 16 at once "
                  f"(at most {bound_at_once:,}), {pages} pages (at most {page_bound})", flush=True)
    if exceeded and "--bounds" in sys.argv:
        sys.exit("count.py: a kind of request takes more than its bound. The bounds are in KINDS, in test/count.py.")


if __name__ == "__main__":
    main()
