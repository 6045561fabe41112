#!/usr/bin/env python3
"""Sends the rows of the test tables to nginx, and prints those that it reads otherwise and that no note explains.

usage: crosscheck.py FILE...

A row is read otherwise if nginx refuses what the row accepts, or answers what the row refuses. The note is a comment
that begins with "nginx", above the rows that it is about; an empty line or another comment ends what it covers. Notes
are about nginx 1.22; another version may disagree in other places. The exit status is 1 if a note is missing.
"""
import asyncio
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import bench
import cases

REFUSALS = ("400", "413", "414", "431", "501", "505")
AT_ONCE = 50


def noted_rows(path):
    """(whether a note covers it, row) of each row in a test file."""
    for table in re.findall(r"<<'ROWS'\n(.*?)^ROWS$", path.read_text(), re.MULTILINE | re.DOTALL):
        has_note = False
        for line in table.splitlines():
            if not line:
                has_note = False
            elif line.startswith("#"):
                has_note = has_note or line.startswith("# nginx")
            for row in cases.rows([line]):
                yield has_note, row


async def disagreements(port, rows):
    gate = asyncio.Semaphore(AT_ONCE)

    async def disagrees(row):
        _, statuses, is_open, _, stream = row
        async with gate:
            answer = await cases.exchange(port, [stream + cases.PROBE], 0)
        found = [code.decode() for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer) if code != b"100"]
        if is_open:
            return len(found) != len(statuses) + 1
        return statuses[-1] in REFUSALS and bool(found) and found[-1] not in REFUSALS

    return await asyncio.gather(*(disagrees(row) for _, row in rows))


def main():
    if not shutil.which("nginx"):
        raise SystemExit("crosscheck: nginx is missing (apt-get install nginx-light)")
    rows = [row for name in sys.argv[1:] for row in noted_rows(pathlib.Path(name))]
    with tempfile.TemporaryDirectory() as name:
        folder, port = pathlib.Path(name), bench.free_port()
        configuration = folder / "nginx.conf"
        text = bench.NGINX_CONFIGURATION.format(folder=folder, port=port, workers="master_process off;")
        configuration.write_text(text.replace("http {", "http { large_client_header_buffers 4 16k;"))
        nginx = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(configuration), "-e", "stderr"])
        try:
            time.sleep(1)
            found = asyncio.run(disagreements(port, rows))
        finally:
            nginx.terminate()
            nginx.wait()
    unexplained = [row[0] for (has_note, row), disagrees in zip(rows, found) if disagrees and not has_note]
    print(f"{len(rows)} rows, {sum(found)} of them read otherwise by nginx, {len(unexplained)} without a note")
    for line in unexplained:
        print(line[:160])
    return 1 if unexplained or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
