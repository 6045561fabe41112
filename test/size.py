#!/usr/bin/env python3
"""Prints where every byte of the shipped file goes: each header, function and constant, in groups, largest first.

usage: size.py FILE SYMBOLS, the shipped file and the same with symbols and sections

What has no name in the code are constants of vector instructions and padding, among the constants texts and padding.
Exit status 1 if the parts do not add up to the file's size.
"""
import re
import subprocess
import sys
from pathlib import Path


def readelf(*arguments):
    return subprocess.run(["readelf", "--wide", *arguments], check=True, capture_output=True, text=True).stdout


def main():
    file, symbols = sys.argv[1:]
    header = readelf("--file-header", file)
    headers = {name: int(re.search(f"{name}: +([0-9]+)", header)[1])
               for name in ("Size of this header", "Size of program headers", "Number of program headers")}
    sections = {name: (int(address, 16), int(size, 16)) for name, address, size in re.findall(
        r" (\.text|\.rodata) +PROGBITS +([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+) ", readelf("--section-headers", symbols))}
    table = readelf("--symbols", "--demangle", symbols)
    named = {}  # by address
    for address, size, kind, name in re.findall(r" ([0-9a-f]{16}) +(\d+) (FUNC|OBJECT) +\S+ +\S+ +\S+ (.+)$", table,
                                                re.M):
        named[int(address, 16)] = (int(size), kind, re.sub(r"\(.*", "", name.replace("(anonymous namespace)::", "")))
    # See the layout in build.sh.
    hot_end = int(re.search(r" ([0-9a-f]{16}) .* hot_end$", table, re.M)[1], 16)

    groups = {"headers": [(headers["Size of this header"], "of the file"),
                          (headers["Size of program headers"] * headers["Number of program headers"], "of the segments")],
              "hot code": [], "hot constants": [], "cold code": [], "constants": []}
    for address, (size, kind, name) in named.items():
        is_hot = address < hot_end
        group = ("hot " if is_hot else "cold " if kind == "FUNC" else "") + ("code" if kind == "FUNC" else "constants")
        groups[group].append((size, name))
    for section, group, description in ((".text", "hot constants", "(vectors, padding)"),
                                        (".rodata", "constants", "(texts, padding)")):
        start, size = sections[section]
        groups[group].append((size - sum(size_ for address, (size_, _, _) in named.items()
                                         if start <= address < start + size), description))
    # Between the parts, for alignment.
    rest = Path(file).stat().st_size - sum(size for group in groups.values() for size, _ in group)
    groups["headers"].append((rest, "(padding between headers and segments)"))

    for group, parts in groups.items():
        print(f"{sum(size for size, _ in parts):6} {group}")
        for size, name in sorted(parts, reverse=True):
            print(f"{size:12} {name}")
    print(f"{Path(file).stat().st_size:6} bytes in the file")
    sys.exit(not 0 <= rest < 2 * 32)  # code and constants are aligned to 32 at most


if __name__ == "__main__":
    main()
