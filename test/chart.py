#!/usr/bin/env python3
"""Draws what test/bench.py has measured, and sets the same figures into pages: README.md and test/README.md.

usage: chart.py RESULTS FOLDER [PAGE...]

RESULTS is what test/bench.py has written, or the bench.json of an earlier drawing. In FOLDER this makes
bench-light.svg and bench-dark.svg, alike but for their colours, and bench.json: what the charts and the pages show of
RESULTS. In the pages it replaces, wherever they stand:
  - the tables that begin with a head of TABLES, below. Each must stand in one of the pages, unless there is nothing for
    it in RESULTS.
  - lines that say when, where and with what, as "On 2 January 2026, 2 CPUs (...)": at least one
  - rows that begin like one of FIGURES, in a table of mote, floor, nginx and command: one of each at most
Exit status 1 after one line that says why: RESULTS lack what the charts show, or the pages have no place for a figure.

Bars are drawn to a linear scale from zero: where one is a hundred times shorter than another, that is what there is to
see, and its number stands beside it.
"""
import datetime
import html
import json
import pathlib
import re
import sys

COUNT = 512  # connections, in the charts and in the first table
SERVERS = ("mote", "floor", "nginx")
KEPT = ("rate", "p50_us", "p99_us", "cpu_ns", "user_ns", "system_ns", "peak_kib", "ratio", "cpu_share", "errors")
SIZE, MEMORY = "size of the file", f"memory with {COUNT} connections"
CPU, RATE = "CPU per request", "requests/s"
FIGURES = {  # by the beginning of the row: profile, which of its values, how it is written
    SIZE: (None, "", "", "{:,.0f} bytes"),
    MEMORY: ("baseline", "highest", "peak_kib", "{:,.0f} KiB"),
    CPU: ("baseline", "medians", "cpu_ns", "{:,.0f} ns"),
    "its ratio to the floor's": ("baseline", "medians", "ratio", "{:.2f}"),
    "CPU per pipelined request": ("pipelined", "medians", "cpu_ns", "{:,.0f} ns"),
    "its ratio to the floor's, pipelined": ("pipelined", "medians", "ratio", "{:.2f}"),
    RATE: ("baseline", "medians", "rate", "{:,.0f}"),
    "pipelined requests/s": ("pipelined", "medians", "rate", "{:,.0f}"),
}
PANELS = (  # title, note, figure
    ("Requests per second", f"baseline, {COUNT} connections: more is better", RATE),
    ("CPU time per request", f"baseline, {COUNT} connections: less is better", CPU),
    ("Memory", f"peak with {COUNT} connections: less is better", MEMORY),
    ("Size of the file", "nginx: without the shared libraries that it needs", SIZE),
)
COLOURS = {
    "light": {"ground": "#ffffff", "edge": "#d1d9e0", "text": "#1f2328", "note": "#59636e",
              "mote": "#0969da", "floor": "#a3acb7", "nginx": "#6e7781"},
    "dark": {"ground": "#0d1117", "edge": "#3d444d", "text": "#f0f6fc", "note": "#9198a1",
             "mote": "#4493f8", "floor": "#656c76", "nginx": "#9198a1"},
}
WIDTH, HEIGHT, MARGIN = 800, 370, 28
PANEL_WIDTH, PANEL_HEIGHT = 386, 148
BAR_LEFT, BAR_LENGTH, BAR_HEIGHT, BAR_STEP = 54, 186, 16, 25


def value_of(results, figure, server):
    """None if the server was not measured."""
    profile, kind, key, _ = FIGURES[figure]
    if figure == SIZE:
        return results["machine"]["binary_bytes"].get(server)
    for row in results["rows"]:
        if (row["profile"], row["connections"], row["server"]) == (profile, COUNT, server):
            return row[kind][key]
    return None


def written(figure, value):
    return "" if value is None else FIGURES[figure][3].format(value)


def kept(results):
    """`results` without the rounds, and of the rest what the charts and the pages show."""
    rows = [{key: {name: round(value[name], 3) for name in KEPT if value.get(name) is not None}
             if isinstance(value, dict) else value for key, value in row.items() if key != "rounds"}
            for row in results["rows"]]
    return {**results, "rows": rows}


def as_json(results):
    """A line for each row, so that what has changed is seen."""
    rows = ",\n".join("  " + json.dumps(row) for row in results["rows"])
    return json.dumps({**results, "rows": []}, indent=1).replace('"rows": []', f'"rows": [\n{rows}\n ]') + "\n"


def circumstances(results):
    """When, where and with what, in one line."""
    machine = results["machine"]
    date = datetime.datetime.fromisoformat(machine["date"])
    versions = [f"{name} {re.search('[0-9]+[.][0-9]+', machine[key])[0]}" for name, key in (
        ("Linux", "kernel"), ("g++", "compiler"), ("wrk", "wrk"), ("nginx", "nginx"), ("HAProxy", "haproxy"))
                if machine.get(key)]
    return ", ".join([f"On {date.day} {date:%B %Y}", f"{machine['cpus']} CPUs ({machine['cpu']})",
                      *versions, f"medians of {results['rounds']} rounds of {results['seconds']} s"])


def panel(results, left, top, title, note, figure):
    yield f'<text class="title" x="{left}" y="{top + 15}">{title}</text>'
    yield f'<text class="note" x="{left}" y="{top + 34}">{note}</text>'
    values = {server: value_of(results, figure, server) for server in SERVERS}
    values = {server: value for server, value in values.items() if value is not None}
    start = left + BAR_LEFT
    for number, (server, value) in enumerate(values.items()):
        y = top + 46 + number * BAR_STEP
        length = max(2, BAR_LENGTH * value / max(values.values()))
        name = "name" if server == "mote" else "plain"
        yield f'<text class="{name}" x="{start - 8}" y="{y + 13}" text-anchor="end">{server}</text>'
        yield f'<rect class="{server}" x="{start}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}"/>'
        yield f'<text class="{name}" x="{start + length + 7:.1f}" y="{y + 13}">{written(figure, value)}</text>'


def svg(results, colours):
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
             f'height="{HEIGHT}" role="img">',
             "<title>mote beside the floor, which parses nothing, and nginx</title>",
             "<style>",
             'text { font-family: -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; '
             f'font-size: 13px; fill: {colours["text"]} }}',
             ".title { font-size: 15px; font-weight: 600 } .name { font-weight: 600 }",
             f'.note {{ font-size: 12px; fill: {colours["note"]} }}',
             *(f".{server} {{ fill: {colours[server]} }}" for server in SERVERS),
             f'.card {{ fill: {colours["ground"]}; stroke: {colours["edge"]} }}',
             "</style>",
             f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>']
    for number, (title, note, figure) in enumerate(PANELS):
        left, top = MARGIN + number % 2 * PANEL_WIDTH, MARGIN + number // 2 * PANEL_HEIGHT
        lines += panel(results, left, top, title, note, figure)
    notes = ("The floor makes the same system calls and parses nothing.", circumstances(results) + ": make bench")
    for number, note in enumerate(notes):
        lines.append(f'<text class="note" x="{MARGIN}" y="{HEIGHT - 38 + number * 18}">{html.escape(note)}</text>')
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def ratio_of(row):
    """The median, and in parentheses the lowest and the highest."""
    return "{:.2f} ({:.2f}, {:.2f})".format(*(row[kind]["ratio"] for kind in ("medians", "lowest", "highest")))


def speed_rows(results):
    """The cells of all measurements of speed beside the floor."""
    for row in results["rows"]:
        if row["profile"] in ("baseline", "pipelined", "short"):
            median = row["medians"]
            yield (row["profile"], f"{row['connections']:,}", row["server"], f"{median['rate']:,.0f}",
                   f"{median['p50_us'] / 1000:.2f} / {median['p99_us'] / 1000:.2f} ms",
                   f"{median['cpu_ns']:,.0f} ns ({row['lowest']['cpu_ns']:,.0f}, {row['highest']['cpu_ns']:,.0f})",
                   f"{median['user_ns']:,.0f} / {median['system_ns']:,.0f} ns", f"{row['highest']['peak_kib']:,} KiB",
                   ratio_of(row))


def sizes_rows(results):
    """The cells of content of some sizes beside other servers."""
    rows = {(row["profile"], row["server"]): row for row in results["rows"] if row["profile"].startswith("s=")}
    for profile in dict.fromkeys(profile for profile, _ in rows):
        costs = (f"{rows[profile, server]['medians']['cpu_ns']:,.0f} ns" if (profile, server) in rows else ""
                 for server in ("mote", "nginx", "haproxy"))
        ratio = ratio_of(rows[profile, "mote"]) if (profile, "nginx") in rows else ""
        yield f"/?{profile}", *costs, ratio


def delay_rows(results):
    """The cells of delays beside the same server's baseline."""
    for row in results["rows"]:
        if (row["profile"], row["server"]) == ("delay", "mote"):
            possible = row["connections"] * 100  # for 10 ms are a hundredth of a second
            yield (f"{row['connections']:,}", f"{row['medians']['rate']:,.0f}",
                   f"{row['medians']['rate'] / possible:.0%} of {possible:,}",
                   f"{row['medians']['p50_us'] / 1000:.2f} / {row['medians']['p99_us'] / 1000:.2f} ms",
                   f"{row['medians']['cpu_ns']:,.0f} ns", ratio_of(row))


TABLES = {  # by their heads
    "| profile | connections | server | requests/s | p50 / p99 | CPU per request (lowest, highest) "
    "| user / system | memory | to the floor (lowest, highest) |": speed_rows,
    "| target | mote | nginx | HAProxy | mote to nginx (lowest, highest) |": sizes_rows,
    "| connections | requests/s | of the possible | p50 / p99 | CPU per request "
    "| to the baseline (lowest, highest) |": delay_rows,
}


def replacements(results):
    """Pattern of a place in a page, text to put there, and how many places there may be: at least, at most."""
    yield r"On \d+ [A-Z][a-z]+ \d{4}, \d+ CPUs .*", circumstances(results) + ".", 1, sys.maxsize
    for head, cells_of in TABLES.items():
        rows = [f"| {' | '.join(cells)} |" for cells in cells_of(results)]
        if rows:
            text = "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows])
            yield re.escape(head) + r"(\n\|.*)+", text, 1, 1
    for figure in FIGURES:
        cells = " | ".join(written(figure, value_of(results, figure, server)) for server in SERVERS)
        yield rf"\| {re.escape(figure)} \|.*", f"| {figure} | {cells} | `make bench` |", 0, 1


def with_figures(pages, results):
    """`pages` with the figures of `results` in the place of others."""
    for pattern, text, at_least, at_most in replacements(results):
        found = [re.subn(f"^{pattern}$", lambda _, text=text: text, page, flags=re.M) for page in pages]
        pages, count = [page for page, _ in found], sum(count for _, count in found)
        if not at_least <= count <= at_most:
            raise SystemExit(f"chart: {count} places in the pages instead of one for: {text.splitlines()[0]}")
    return pages


def is_enough(results):
    """Whether there is something to draw in each panel."""
    return all(any(value_of(results, figure, server) for server in SERVERS) for _, _, figure in PANELS)


def draw(results, folder):
    """Writes the charts, and beside them what they show."""
    if not is_enough(results):
        raise SystemExit(f"chart: the results have no baseline with {COUNT} connections")
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
