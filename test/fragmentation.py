#!/usr/bin/env python3
"""Sends request streams to a server cut at every place, and compares what comes back.

usage: fragmentation.py PORT FILE...

Each FILE holds the bytes of one connection. They are sent whole first; then once for every offset, in two writes with
a pause between; then byte by byte. Everything is read to the end of the stream and must be the same as for the whole,
byte for byte but for the value of Date. Prints two lines a file; the exit status is 1 if anything differs.
"""
import asyncio
import pathlib
import re
import sys

PAUSE_SECONDS = 0.02
AT_ONCE = 250  # connections
LIMIT_SECONDS = 30


async def exchange(port, pieces, pause):
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), LIMIT_SECONDS)
    try:
        for index, piece in enumerate(pieces):
            if index:
                await asyncio.sleep(pause)
            writer.write(piece)
        if writer.can_write_eof():
            writer.write_eof()
        answer = await asyncio.wait_for(reader.read(-1), LIMIT_SECONDS)
    finally:
        writer.close()
    return re.sub(rb"(?m)^Date: [A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT\r$", b"Date: -\r", answer)


def in_two(stream):
    return [(f"cut at {at}", [stream[:at], stream[at:]]) for at in range(1, len(stream))]


def byte_by_byte(stream):
    return [("byte by byte", [bytes([byte]) for byte in stream])]


async def check(port, path, ways, pause, gate):
    """How many connections these ways of sending the file took, and what was wrong with the answers."""
    stream = path.read_bytes()
    expected = await exchange(port, [stream], 0)
    if not expected.startswith(b"HTTP/1.1 "):
        return 1, [f"sent whole: no response but {expected!r}"]

    async def difference(how, pieces):
        async with gate:
            try:
                answer = await exchange(port, pieces, pause)
            except (OSError, asyncio.TimeoutError) as error:
                answer = repr(error).encode()
        return None if answer == expected else f"{how}: {answer!r} instead of {expected!r}"

    differences = await asyncio.gather(*(difference(*way) for way in ways(stream)))
    return 1 + len(differences), [found for found in differences if found]


async def main():
    port, paths = int(sys.argv[1]), [pathlib.Path(name) for name in sys.argv[2:]]
    gate = asyncio.Semaphore(AT_ONCE)
    has_failed = not paths
    # Not at the same time: a byte that waits for hundreds of others may come when its head's time is over.
    for ways, pause in (in_two, PAUSE_SECONDS), (byte_by_byte, 0.001):
        for path, (count, differences) in zip(paths, await asyncio.gather(
                *(check(port, path, ways, pause, gate) for path in paths))):
            print(f"{path.name}, {ways.__name__}: {count} connections, {len(differences)} differ")
            for difference in differences[:5]:
                print(f"  {difference}")
            has_failed |= bool(differences)
    return has_failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
