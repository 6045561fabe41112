#!/usr/bin/env python3
"""Sends tables of requests to a server and compares the answers with what the tables say.

usage: cases.py PORT < ROWS          checks them
       cases.py --corpus FOLDER [LIMIT=LOWER]... FILE...
                                 writes the bytes of every row in these test files into FOLDER, a file each; what is
                                 repeated up to about a limit is repeated up to about a lower one: 8000=200

A row is a line: STATUS THEN CONTENT BYTES
  STATUS   of every answer, in order, separated by commas; 100 is left out: whether it is sent is a matter of time
  THEN     open: the request behind is answered, too; close: the last answer says Connection: close, nothing follows
  CONTENT  of the last answer; "-" if it does not matter, '""' if there is none, "#9" for nine bytes of the generator's
  BYTES    with Python's escapes, <x*9> for nine times x, and the names of MACROS in braces
Empty lines and lines that start with "#" are left out.

Every row is sent whole, cut in two at a random place, and, if it is not long, byte by byte: the answers must be the
same. SEED in the environment repeats the places of an earlier run.
"""
import asyncio
import os
import pathlib
import random
import re
import sys
import time

MACROS = {
    "GET": r"GET /pipeline HTTP/1.1\r\nHost: a\r\n",
    "HEAD": r"HEAD /pipeline HTTP/1.1\r\nHost: a\r\n",
    "POST": r"POST /baseline11?a=1 HTTP/1.1\r\nHost: a\r\n",
    "CHUNKED": r"POST /baseline11?a=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HIDDEN": r"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n",  # 35 bytes
    "TO": r" HTTP/1.1\r\nHost: a",  # follows a target
    "END": r"\r\n\r\n",
}
PROBE = b"GET /pipeline HTTP/1.1\r\nHost: probe\r\n\r\n"
AT_ONCE = 200  # connections
LIMIT_SECONDS = 30
BYTE_BY_BYTE_LIMIT = 500


def generated(size, begin=0):
    """So many bytes of the content that the server generates, from offset `begin` on."""
    period = b".123456789" * 4 + b".12345678\n"
    return (period * (size // 50 + 2))[begin % 50:begin % 50 + size]


def lowered(size, limits):
    """As far from a lower limit as the size is from the limit that is next to it."""
    limit = min(limits, key=lambda limit: abs(limit - size))
    return min(max(size - limit, -limits[limit]), limits[limit]) + limits[limit]


def expand(text, limits=None):
    def repeated(match):
        unit, count = match[1], int(match[2])
        if limits and len(unit) * count > 1500:
            count = lowered(len(unit) * count, limits) // len(unit)
        return unit * count
    text = re.sub(r"\{([A-Z]+)\}", lambda match: MACROS[match[1]], text)
    text = re.sub(r"<([^<>]+)\*(\d+)>", repeated, text)
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def expand_content(text):
    if text == "-":
        return None
    if text == '""':
        return b""
    return generated(int(text[1:])) if text.startswith("#") else expand(text.replace("_", " "))


def rows(lines, limits=None):
    """(line, statuses, is_open, content or None, bytes) of each row."""
    for line in lines:
        line = line.rstrip("\n")
        if not line or line.startswith("#"):
            continue
        status, then, content, text = line.split(None, 3)
        assert then in ("open", "close"), line
        yield line, status.split(","), then == "open", expand_content(content), expand(text, limits)


async def exchange(port, pieces, pause):
    """What comes back until the end of the stream, or until a reset.

    A reset is no surprise to a client that goes on sending after an answer that ends the connection; nor does it take
    back what has arrived before.
    """
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), LIMIT_SECONDS)
    answer = bytearray()

    async def receive():
        try:
            while piece := await reader.read(65536):
                answer.extend(piece)
        except ConnectionError:
            pass

    receiving = asyncio.create_task(receive())
    for index, piece in enumerate(pieces):
        if index:
            await asyncio.sleep(pause)
        if writer.is_closing() or receiving.done():
            break
        writer.write(piece)
    if not receiving.done():
        writer.write_eof()
    await asyncio.wait_for(receiving, LIMIT_SECONDS)
    writer.close()
    return bytes(answer)


def wrong(answer, statuses, is_open, content):
    """What is wrong with the answers to a row and the probe behind it, or None."""
    answer = answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    responses = re.split(rb"(?=HTTP/1\.1 \d{3} )", answer)[1:]
    found = [response[9:12].decode() for response in responses]
    if found != statuses + ["200"] * is_open:
        return f"expected {statuses} and {'the probe' if is_open else 'no more'}, got {found}"
    if is_open and not responses.pop().endswith(b"\r\n\r\nok"):
        return "the request behind it is not answered"
    head, _, found_content = responses[-1].partition(b"\r\n\r\n")
    if (b"\r\nConnection: close" in head) == is_open:
        return "Connection: close is missing" if not is_open else "Connection: close, but the connection stays open"
    if content is not None and found_content != content:
        return f"expected the content {content[:200]!r}, got {len(found_content)} bytes: {found_content[:200]!r}"
    return None


async def check(port, table, chance):
    gate = asyncio.Semaphore(AT_ONCE)

    async def run(row, pieces, pause, how):
        line, statuses, is_open, content, _ = row
        async with gate:
            try:
                problem = wrong(await exchange(port, pieces, pause), statuses, is_open, content)
            except (OSError, asyncio.TimeoutError) as error:
                problem = repr(error)
        return problem and f"{line[:160]}\n  {how}: {problem}"

    runs = []
    for row in table:
        stream = row[-1]
        runs.append(run(row, [stream + PROBE], 0, "whole"))
        if len(stream) > 1:
            at = chance.randrange(1, len(stream))
            runs.append(run(row, [stream[:at], stream[at:] + PROBE], 0.02, f"cut at {at}"))
        if len(stream) <= BYTE_BY_BYTE_LIMIT:
            pieces = [bytes([byte]) for byte in stream + PROBE]
            runs.append(run(row, pieces, 0.001, "byte by byte"))
    return [problem for problem in await asyncio.gather(*runs) if problem], len(runs)


def write_corpus(folder, arguments):
    limits = dict(map(int, argument.split("=")) for argument in arguments if "=" in argument)
    paths = [pathlib.Path(argument) for argument in arguments if "=" not in argument]
    count = 0
    for path in paths:
        for table in re.findall(r"<<'ROWS'\n(.*?)^ROWS$", path.read_text(), re.MULTILINE | re.DOTALL):
            for *_, stream in rows(table.splitlines(), limits):
                # The first byte says to the fuzzer that no plan of arrivals follows.
                (folder / f"{path.stem}-{count:03}").write_bytes(b"\0" + stream)
                count += 1
    print(f"{count} rows")
    return 0 if count else 1


def main():
    if sys.argv[1] == "--corpus":
        return write_corpus(pathlib.Path(sys.argv[2]), sys.argv[3:])
    seed = int(os.environ.get("SEED", time.time_ns()))
    table = list(rows(sys.stdin))
    problems, count = asyncio.run(check(int(sys.argv[1]), table, random.Random(seed)))
    print(f"{len(table)} rows, {count} connections, {len(problems)} wrong, SEED={seed}")
    for problem in problems[:20]:
        print(problem)
    return 1 if problems or not table else 0


if __name__ == "__main__":
    sys.exit(main())
