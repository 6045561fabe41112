#!/usr/bin/env python3
"""Draws what test/bench.py has measured, and sets the same figures into pages: README.md and test/README.md.

usage: chart.py RESULTS FOLDER [PAGE...]

RESULTS is what test/bench.py has written, or the bench.json of an earlier drawing. In FOLDER this makes
bench-light.svg and bench-dark.svg, alike but for their colours, and bench.json: what the charts and the pages show of
RESULTS. In the pages it replaces, wherever they stand:
  - the tables that begin with a head of TABLES, below. Each must stand in one of the pages, unless there is nothing for
    it in RESULTS: then it is left as it is, and a line says so.
  - lines that say when, where and with what, as "On 2 January 2026, 2 CPUs (...)": at least one
Exit status 1 after one line that says why: RESULTS lack what the charts show, or the pages have no place for a figure.

Bars are drawn to a linear scale from zero: where one is a hundred times shorter than another, that is what there is to
see, and its number stands beside it. Latencies have a logarithmic scale.
"""
import datetime
import html
import json
import math
import pathlib
import re
import sys

SERVERS = {"mote": "mote", "floor": "floor", "nginx": "nginx", "haproxy": "HAProxy", "lighttpd": "lighttpd",
           "node": "Node"}
KEPT = ("rate", "mean_us", "p50_us", "p99_us", "p999_us", "cpu_ns", "user_ns", "system_ns", "peak_kib", "ratio",
        "p99_ratio", "errors")
LATENCIES = ("p50_us", "p99_us", "p999_us")
COLOURS = {
    "light": {"ground": "#ffffff", "edge": "#d1d9e0", "text": "#1f2328", "note": "#59636e",
              "mote": "#0969da", "other": "#8c959f"},
    "dark": {"ground": "#0d1117", "edge": "#3d444d", "text": "#f0f6fc", "note": "#9198a1",
             "mote": "#4493f8", "other": "#7d8590"},
}
WIDTH, HEIGHT, MARGIN = 800, 488, 24
PANEL_WIDTH, PANEL_HEIGHT = 390, 212
ROWS_TOP, ROW_STEP, BAR_HEIGHT = 48, 22, 14
BAR_LEFT, BAR_LENGTH, RANGE_LENGTH = 116, 150, 120


def rows_of(results, profile):
    """By connections and server."""
    return {(row["connections"], row["server"]): row for row in results["rows"] if row["profile"] == profile}


def at_a_rate(results, key):
    """The medians of all servers at the fixed rate; of the memory the highest."""
    rows = {server: row for (_, server), row in rows_of(results, "rate").items()}
    kind = "highest" if key == "peak_kib" else "medians"
    return {server: rows[server][kind][key] for server in SERVERS if server in rows}


def kept(results):
    """`results` without the rounds, and of the rest what the charts and the pages show."""
    rows = [{key: {name: round(value[name], 3) for name in KEPT if value.get(name) is not None}
             if isinstance(value, dict) else value for key, value in row.items() if key != "rounds"}
            for row in results["rows"]]
    return {**results, "rows": rows}


def as_json(results):
    """A line for each row, so that what has changed is seen."""
    text = json.dumps({**results, "rows": [], "slices": []}, indent=1)
    for name in "rows", "slices":
        lines = ",\n".join("  " + json.dumps(row) for row in results[name])
        text = text.replace(f'"{name}": []', f'"{name}": [\n{lines}\n ]')
    return text + "\n"


def circumstances(results, *names):
    """When, where and with what, in one line; of the versions those of `names`, or all."""
    machine = results["machine"]
    date = datetime.datetime.fromisoformat(machine["date"])
    versions = [f"{SERVERS.get(name, name)} {version}" for name, version in machine["versions"].items()
                if not names or name in names]
    return ", ".join([f"On {date.day} {date:%B %Y}", f"{machine['cpus']} CPUs ({machine['cpu']})", *versions])


def written(value):
    """No more than three digits, as far as they are decimals."""
    return f"{value:,.{2 if value < 1 else 1 if value < 10 else 0}f}"


def size_written(kib):
    return f"{written(kib / 1024)} MiB" if kib >= 1024 else f"{written(kib)} KiB"


def interval(middle, low, high):
    """A median and its quartiles: with no more decimals than their distance supports, and two at most."""
    distance = max(min(middle - low, high - middle), 0.01)
    places = max(0, -math.floor(math.log10(distance)))
    return f"{middle:.{places}f} ({low:.{places}f} to {high:.{places}f})"


def quartiles(row, key, scale=1):
    return interval(*(row[kind][key] / scale for kind in ("medians", "lower", "upper")))


def text(kind, x, y, content, anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(content)}</text>'


def labels(results, servers, left, top):
    """Name and version of each server, and where its row begins."""
    for number, server in enumerate(servers):
        y = top + ROWS_TOP + number * ROW_STEP
        name = f"{SERVERS[server]} {results['machine']['versions'].get(server, '')}".strip()
        yield server, y, text("name" if server == "mote" else "plain", left + BAR_LEFT - 8, y + 12, name, "end")


def bars(results, left, top, values, write):
    for server, y, label in labels(results, values, left, top):
        length = max(2, BAR_LENGTH * values[server] / max(values.values()))
        kind = "mote" if server == "mote" else "other"
        yield label
        yield f'<rect class="{kind}" x="{left + BAR_LEFT}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}"/>'
        yield text("plain", left + BAR_LEFT + length + 7, y + 12, write(values[server]))


def ranges(results, left, top):
    """Of each server a line from the median to the 99.9th percentile, with a dot at each of the LATENCIES."""
    values = {key: at_a_rate(results, key) for key in LATENCIES}
    first = math.floor(math.log10(min(values["p50_us"].values())))
    last = math.ceil(math.log10(max(values["p999_us"].values())))
    bottom = top + ROWS_TOP + len(values["p50_us"]) * ROW_STEP

    def place(value):
        return left + BAR_LEFT + RANGE_LENGTH * (math.log10(value) - first) / (last - first)
    for power in range(first, last + 1):
        x = place(10 ** power)
        yield f'<line class="grid" x1="{x:.1f}" y1="{top + ROWS_TOP - 4}" x2="{x:.1f}" y2="{bottom - 2}"/>'
        yield text("note", x, bottom + 11, f"{10 ** (power - 3):g}", "middle")
    for server, y, label in labels(results, values["p50_us"], left, top):
        kind = "mote" if server == "mote" else "other"
        found = [values[key][server] for key in LATENCIES]
        yield label
        yield (f'<line class="{kind}" x1="{place(found[0]):.1f}" y1="{y + 7}" x2="{place(found[-1]):.1f}" '
               f'y2="{y + 7}"/>')
        for value in found:
            yield f'<circle class="{kind}" cx="{place(value):.1f}" cy="{y + 7}" r="4"/>'
        yield text("plain", left + BAR_LEFT + RANGE_LENGTH + 14, y + 12,
                   " / ".join(written(value / 1000) for value in found))


def panels(results):
    """Title, note, and what draws below them."""
    def bars_of(values, write):
        return lambda left, top: bars(results, left, top, values, write)
    sizes = results["machine"]["binary_bytes"]
    # What the floor has is mostly padding.
    sizes = {server: sizes[server] / 1024 for server in SERVERS if server in sizes and server != "floor"}
    yield ("CPU time per request", "10,000 requests/s over 1,024 connections",
           bars_of(at_a_rate(results, "cpu_ns"), lambda ns: f"{ns / 1000:.1f} µs"))
    yield ("Latency: p50 / p99 / p99.9", "the same requests; milliseconds, logarithmic scale",
           lambda left, top: ranges(results, left, top))
    yield "Memory", "peak in the same run", bars_of(at_a_rate(results, "peak_kib"), size_written)
    yield "Program", "with the shared libraries that it is linked with", bars_of(sizes, size_written)


def svg(results, colours):
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
             f'height="{HEIGHT}" role="img">',
             "<title>mote beside the floor, which parses nothing, and other servers</title>",
             "<style>",
             'text { font-family: -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; '
             f'font-size: 13px; fill: {colours["text"]} }}',
             ".title { font-size: 15px; font-weight: 600 } .name { font-weight: 600 }",
             f'.note {{ font-size: 12px; fill: {colours["note"]} }}',
             *(f".{kind} {{ fill: {colours[kind]}; stroke: {colours[kind]} }}" for kind in ("mote", "other")),
             'rect { stroke-width: 0 } line { stroke-width: 2 }',
             f'line.grid {{ stroke: {colours["edge"]}; stroke-width: 1 }}',
             f'.card {{ fill: {colours["ground"]}; stroke: {colours["edge"]}; stroke-width: 1 }}',
             "</style>",
             f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>']
    for number, (title, note, draw_rows) in enumerate(panels(results)):
        left, top = MARGIN + number % 2 * PANEL_WIDTH, MARGIN + number // 2 * PANEL_HEIGHT
        lines += [text("title", left, top + 15, title), text("note", left, top + 34, note), *draw_rows(left, top)]
    runs = next(row["runs"] for row in results["rows"] if row["profile"] == "rate")
    notes = ("The floor makes the same system calls as mote and parses nothing. Each server: one worker, on one CPU.",
             f"{circumstances(results, 'Linux', 'h2load')}, medians of {runs} rounds: make bench")
    lines += [text("note", MARGIN, HEIGHT - 36 + number * 18, note) for number, note in enumerate(notes)]
    return "\n".join([*lines, "</svg>"]) + "\n"


def sliced(results, profile, server, other):
    """CPU time per request as a ratio to that of another server, for each count of connections."""
    rows = [row for row in results["slices"] if (row["profile"], row["server"]) == (profile, server)]
    return "; ".join(interval(*row["to"][other]) for row in rows if other in row["to"])


def headline_rows(results):
    """The cells of mote beside nginx, and the settings of the command; nothing if not all of it was measured."""
    idle, many, rate = (rows_of(results, profile) for profile in ("asleep", "baseline", "rate"))
    mote, nginx = ((1024, server) for server in ("mote", "nginx"))
    if not (results["slices"] and (0, "mote") in idle and nginx in rate):
        return
    sizes = results["machine"]["binary_bytes"]
    yield "program, with its shared libraries", *(size_written(sizes[name] / 1024) for name in ("mote", "nginx")), ""
    for name, row, its in (("no connection", idle[0, "mote"], None), ("1,024 connections", rate[mote], rate[nginx]),
                           ("16,000 connections", many.get((16000, "mote")), None)):
        if row:
            yield f"memory: {name}", *(size_written(of["highest"]["peak_kib"]) if of else "" for of in (row, its)), ""
    for profile, name in (("baseline", "CPU per request, the floor's = 1: 64; 512 connections"),
                          ("pipelined", "the same, 16 requests pipelined"),
                          ("short", "the same, 10 requests per connection")):
        yield name, *(sliced(results, profile, server, "floor") for server in ("mote", "nginx")), "PROFILES=slices "
    for key, name in ("ratio", "CPU per request"), ("p99_ratio", "p99"):
        yield (f"{name} at 10,000 requests/s, the floor's = 1",
               *(quartiles(rate[server], key) for server in (mote, nginx)), "PROFILES=rate ")
    names = {"s=100": "100 bytes", "s=16k": "16 KiB", "s=64k": "64 KiB", "s=1m": "1 MiB"}
    ratios = {name: sliced(results, profile, "mote", "nginx") for profile, name in names.items()}
    found = {name: ratio for name, ratio in ratios.items() if ratio}
    if found:
        yield f"CPU per answer of {'; '.join(found)}, nginx's = 1", "; ".join(found.values()), "1", "PROFILES=sizes "


def with_commands(rows):
    return ((*cells, f"`{settings}make bench`") for *cells, settings in rows)


def slices_rows(results):
    """The cells of CPU per request in slices."""
    rows = {(row["profile"], row["connections"], row["server"]): row for row in results["slices"]}
    for profile, connections in dict.fromkeys(key[:2] for key in rows):
        found = {server: rows.get((profile, connections, server)) for server in ("floor", "mote", "nginx", "again")}
        if found["floor"]:
            yield (profile, f"{connections:,}",
                   *(f"{row['cpu_ns']:,.0f} ns" if (row := found[name]) else "" for name in ("floor", "mote", "nginx")),
                   *(interval(*row["to"]["floor"]) if (row := found[name]) else ""
                     for name in ("mote", "nginx", "again")))


def sizes_rows(results):
    """The cells of content of some sizes beside other servers."""
    rows = {(row["profile"], row["server"]): row for row in results["slices"] if row["profile"].startswith("s=")}
    for profile in dict.fromkeys(profile for profile, _ in rows):
        yield (f"/?{profile}", *(f"{row['cpu_ns']:,.0f} ns" if (row := rows.get((profile, server))) else ""
                                 for server in ("mote", "nginx", "haproxy")), sliced(results, profile, "mote", "nginx"))


def rate_rows(results):
    """The cells of all servers at a fixed rate."""
    rows = {server: row for (_, server), row in rows_of(results, "rate").items()}
    for server, row in ((server, rows[server]) for server in SERVERS if server in rows):
        yield (SERVERS[server], f"{row['medians']['rate']:,.0f}", f"{quartiles(row, 'cpu_ns', 1000)} µs",
               f"{written(row['medians']['mean_us'] / 1000)} / {written(row['medians']['p50_us'] / 1000)} ms",
               f"{quartiles(row, 'p99_us', 1000)} ms", f"{quartiles(row, 'p999_us', 1000)} ms",
               quartiles(row, "ratio"), quartiles(row, "p99_ratio"))


def speed_rows(results):
    """The cells of what wrk has measured."""
    for row in results["rows"]:
        if row["profile"] in ("baseline", "pipelined", "short"):
            median = row["medians"]
            yield (row["profile"], f"{row['connections']:,}", row["server"], f"{median['rate']:,.0f}",
                   f"{median['p50_us'] / 1000:.2f} / {median['p99_us'] / 1000:.2f} ms",
                   f"{median['cpu_ns']:,.0f} ns ({row['lowest']['cpu_ns']:,.0f}, {row['highest']['cpu_ns']:,.0f})",
                   f"{median['user_ns']:,.0f} / {median['system_ns']:,.0f} ns", f"{row['highest']['peak_kib']:,} KiB")


def delay_rows(results):
    """The cells of delays beside the same server's baseline."""
    for (connections, server), row in rows_of(results, "delay").items():
        if server == "mote":
            possible = connections * 100  # for 10 ms are a hundredth of a second
            median = row["medians"]
            yield (f"{connections:,}", f"{median['rate']:,.0f}", f"{median['rate'] / possible:.0%} of {possible:,}",
                   f"{median['p50_us'] / 1000:.2f} / {median['p99_us'] / 1000:.2f} ms", f"{median['cpu_ns']:,.0f} ns",
                   quartiles(row, "ratio"))


TABLES = {  # by their heads
    "| | mote | nginx | command |": lambda results: with_commands(headline_rows(results)),
    "| profile | connections | floor | mote | nginx | mote to the floor (quartiles) | nginx to the floor "
    "| the floor to itself |": slices_rows,
    "| target | mote | nginx | HAProxy | mote to nginx (quartiles) |": sizes_rows,
    "| server | requests/s | CPU per request (quartiles) | mean / p50 | p99 | p99.9 | CPU to the floor's "
    "| p99 to the floor's |": rate_rows,
    "| profile | connections | server | requests/s | p50 / p99 | CPU per request (lowest, highest) "
    "| user / system | memory |": speed_rows,
    "| connections | requests/s | of the possible | p50 / p99 | CPU per request "
    "| to the baseline (quartiles) |": delay_rows,
}


def replacements(results):
    """Pattern of a place in a page, text to put there, and how many places there may be: at least, at most."""
    yield r"On \d+ [A-Z][a-z]+ \d{4}, \d+ CPUs .*", circumstances(results) + ".", 1, sys.maxsize
    for head, cells_of in TABLES.items():
        rows = [f"| {' | '.join(cells)} |" for cells in cells_of(results)]
        if rows:
            table = "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows])
            yield re.escape(head) + r"(\n\|.*)+", table, 1, 1
        else:
            print(f"chart: the results have nothing for the table {head}", file=sys.stderr)


def with_figures(pages, results):
    """`pages` with the figures of `results` in the place of others."""
    for pattern, new, at_least, at_most in replacements(results):
        found = [re.subn(f"^{pattern}$", lambda _, new=new: new, page, flags=re.M) for page in pages]
        pages, count = [page for page, _ in found], sum(count for _, count in found)
        if not at_least <= count <= at_most:
            raise SystemExit(f"chart: {count} places in the pages instead of one for: {new.splitlines()[0]}")
    return pages


def is_enough(results):
    """Whether there is something to draw in each panel."""
    return "mote" in at_a_rate(results, "cpu_ns")


def draw(results, folder):
    """Writes the charts, and beside them what they show."""
    if not is_enough(results):
        raise SystemExit("chart: the results have no run at a fixed rate")
    results = kept(results)
    folder.mkdir(parents=True, exist_ok=True)
    for name, colours in COLOURS.items():
        (folder / f"bench-{name}.svg").write_text(svg(results, colours), encoding="utf-8")
    (folder / "bench.json").write_text(as_json(results), encoding="utf-8")


def main():
    if len(sys.argv) < 3:
        raise SystemExit("usage: chart.py RESULTS FOLDER [PAGE...]")
    results, folder, *paths = map(pathlib.Path, sys.argv[1:])
    results = kept(json.loads(results.read_text(encoding="utf-8")))
    draw(results, folder)
    if paths:
        pages = with_figures([path.read_text(encoding="utf-8") for path in paths], results)
        for path, page in zip(paths, pages):
            path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
