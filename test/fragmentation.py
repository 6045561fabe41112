#!/usr/bin/env python3
"""Sends request streams to a server cut at every place, and compares what comes back.

usage: fragmentation.py PORT FILE...

Each FILE holds the bytes of one connection. They are sent whole first; then once for every offset, in two writes with
a pause between; then byte by byte. Everything is read to the end of the stream and must be the same as for the whole,
byte for byte but for the value of Date. Prints a line a file; the exit status is 1 if anything differs.
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


async def check(port, path, gate):
    stream = path.read_bytes()
    expected = await exchange(port, [stream], 0)
    if not expected.startswith(b"HTTP/1.1 "):
        return [f"{path.name}: sent whole: no response but {expected!r}"], 1

    async def differs(pieces, pause, how):
        async with gate:
            try:
                answer = await exchange(port, pieces, pause)
            except (OSError, asyncio.TimeoutError) as error:
                answer = repr(error).encode()
        return None if answer == expected else f"{path.name}: {how}: {answer!r} instead of {expected!r}"

    runs = [differs([stream[:at], stream[at:]], PAUSE_SECONDS, f"cut at {at}") for at in range(1, len(stream))]
    runs.append(differs([bytes([byte]) for byte in stream], 0.001, "byte by byte"))
    return [found for found in await asyncio.gather(*runs) if found], len(runs) + 1


async def main():
    port, paths = int(sys.argv[1]), [pathlib.Path(name) for name in sys.argv[2:]]
    gate = asyncio.Semaphore(AT_ONCE)
    results = await asyncio.gather(*(check(port, path, gate) for path in paths))
    for path, (differences, count) in zip(paths, results):
        print(f"{path.name}: {count} connections, {len(differences)} differ")
        for difference in differences[:5]:
            print(f"  {difference}")
    return 1 if any(differences for differences, _ in results) or not paths else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
