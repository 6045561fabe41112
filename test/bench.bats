#!/usr/bin/env bats
# What the benchmark makes of its runs: results, charts, and the figures of the pages. Almost nothing is measured here.
load helper

unset ROUNDS SECONDS CONNECTIONS PROFILES JSON SERVER WORKERS QUICK # the settings of test/bench.py

# made_up_results FOLDER [SERVER...]: lets test/bench.py write what it would have measured, in an order in which a
# median is neither the first nor the last nor the mean. The CPU time is one that is rounded up once it has three
# decimals.
made_up_results() {
  JSON=$1/results.json PYTHONPATH=$root/test python3 - "${@:2}" <<'PYTHON'
import sys
import bench
def rounds(scale):
    return [{"rate": 1234.4 * scale * factor, "mean_us": 3210 * factor, "p50_us": 2340 * factor, "p99_us": 4560,
             "p999_us": 12340, "user_ns": 21, "system_ns": 43, "cpu_ns": 5432.4999 * scale * factor,
             "peak_kib": 67 * scale * factor, "ratio": 1.28 * factor, "p99_ratio": 1 + factor / 1000, "errors": 0,
             "cpu_share": 0.5, "switches": [7, 8]} for factor in (4, 1, 3, 2, 9)]
servers = {name: rounds(10 ** number) for number, name in enumerate(sys.argv[1:])}
machine = {"date": "2001-02-03T04:05+00:00", "cpu": "R&D <1>", "cpus": 6,
           "versions": {"Linux": "7.8.9", "wrk": "5.4.0", "h2load": "3.2.1", "mote": "0.9.8",
                        **({"nginx": "1.98.7"} if "nginx" in servers else {})},
           "binary_bytes": {name: 23450 * 10 ** number for number, name in enumerate(servers)}}
rows, slices = [("rate", 1024, servers), ("baseline", 512, servers), ("short", 64, servers)], []
if "nginx" in servers:
    rows += [("baseline", 16000, {"mote": servers["floor"]}), ("asleep", 0, {"mote": servers["mote"]}),
             ("delay", 512, {"baseline": servers["floor"], "mote": servers["mote"]})]
    to = {"floor": {}, "mote": {"floor": [1.0274, 1.0123, 1.0512], "nginx": [0.55, 0.4, 0.7]},
          "nginx": {"floor": [14.24, 12.76, 17.32]}, "again": {"floor": [1, 0.99, 1.004]}}
    slices = [{"profile": profile, "connections": count, "server": name, "cpu_ns": 1234.5, "to": to[name]}
              for profile, counts in (("baseline", (64, 512)), ("pipelined", [64]), ("short", [64]), ("s=100", [64]))
              for count in counts for name in to]
bench.write_results(machine, rows, slices)
PYTHON
}

# made_up_pages FOLDER: two pages with a place for every figure.
made_up_pages() {
  mkdir --parents "$1"
  PYTHONPATH=$root/test python3 - "$1" <<'PYTHON'
import pathlib, sys
import chart
folder, line = pathlib.Path(sys.argv[1]), "On 1 January 2000, 1 CPUs (a), Linux 1.0."
first, *others = (f"{head}\n|---|---|\n| old |\n| older |\n\ntext\n" for head in chart.TABLES)
(folder / "first.md").write_text(f"{first}\n{line}\n")
(folder / "second.md").write_text(f"{''.join(others)}\n{line}\n")
PYTHON
}

@test "charts show the medians to scale, and the light and dark ones differ in colours only" {
  made_up_results "$BATS_TEST_TMPDIR" mote floor nginx
  python3 - "$BATS_TEST_TMPDIR"/bench-{light,dark}.svg <<'PYTHON'
import math, re, sys
import xml.etree.ElementTree as tree
light, dark = (open(name, encoding="utf-8").read() for name in sys.argv[1:])
colour = re.compile("#[0-9a-f]{6}")
assert colour.sub("#", light) == colour.sub("#", dark), "they differ in more than colours"
assert all(a != b for a, b in zip(colour.findall(light), colour.findall(dark))), "they have the same colours"
svg = tree.fromstring(light)
width, height = (float(edge) for edge in svg.get("viewBox").split()[2:])
texts = [text.text for text in svg.findall("{*}text")]
expected = ["mote 0.9.8", "16.3 µs", "floor", "163.0 µs", "nginx 1.98.7", "1629.7 µs", *["7.0 / 4.6 / 12"] * 3,
            "603 KiB", "5.9 MiB", "59 MiB", "23 KiB", "2.2 MiB"]
assert [text for text in texts if text in expected[6:]] == expected[6:], texts
assert [text for text in texts if text in expected[:6]][:6] == expected[:6], texts
assert texts[-1] == ("On 3 February 2001, 6 CPUs (R&D <1>), Linux 7.8.9, h2load 3.2.1, medians of 5 rounds: "
                     "make bench"), texts[-1]
bars = [bar for bar in svg.findall("{*}rect") if bar.get("class") != "card"]
assert [bar.get("class") for bar in bars] == ["mote", "other", "other"] * 2 + ["mote", "other"]
lengths = [float(bar.get("width")) for bar in bars]
for panel in 0, 3:
    mote, floor, nginx = lengths[panel:panel + 3]
    assert abs(floor * 10 - nginx) < 1 and abs(mote - max(2, floor / 10)) < 0.1, lengths
assert abs(lengths[6] - max(2, lengths[7] / 100)) < 0.1, lengths
dots = [float(dot.get("cx")) for dot in svg.findall("{*}circle")]
ticks = [float(line.get("x1")) for line in svg.findall("{*}line[@class='grid']")]  # at 1, 10 and 100 ms
assert len(ticks) == 3 and dots == dots[:3] * 3, (ticks, dots)
for dot, ms in zip(dots, (7.02, 4.56, 12.34)):
    assert abs(dot - ticks[0] - math.log10(ms) * (ticks[1] - ticks[0])) < 0.2, (ticks, dots)
for part in svg.findall("*[@x]"):
    assert 0 <= float(part.get("x")) <= width and 0 <= float(part.get("y")) <= height, tree.tostring(part)
rows = {}
for text in svg.findall("{*}text"):
    length = 7 * len(text.text)
    left = float(text.get("x")) - length * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor")]
    rows.setdefault(text.get("y"), []).append((left, left + length))
for row in map(sorted, rows.values()):
    assert all(mine[1] < its[0] for mine, its in zip(row, row[1:])) and row[-1][1] < width, row
PYTHON
}

@test "charts and pages show the same figures, with all rounds, with fewer, and without nginx" {
  local row file results all=$BATS_TEST_TMPDIR/all two=$BATS_TEST_TMPDIR/two
  made_up_results "$all" mote floor nginx
  for results in results bench; do
    made_up_pages "$BATS_TEST_TMPDIR/$results"
    python3 "$root/test/chart.py" "$all/$results.json" "$BATS_TEST_TMPDIR/$results"{,/first.md,/second.md}
  done
  diff "$BATS_TEST_TMPDIR"/{results,bench}
  for file in bench-light.svg bench-dark.svg bench.json; do # as test/bench.py has them drawn
    cmp "$BATS_TEST_TMPDIR"/{all,bench}/"$file"
  done
  for row in "| program, with its shared libraries | 23 KiB | 2.2 MiB | \`make bench\` |" \
    '| memory: no connection | 603 KiB |  | ' '| memory: 1,024 connections | 603 KiB | 59 MiB | ' \
    '| memory: 16,000 connections | 5.9 MiB |  | ' \
    '= 1: 64; 512 connections | 1.03 (1.01 to 1.05); 1.03 (1.01 to 1.05) | 14 (13 to 17); 14 (13 to 17) | ' \
    "CPU per request at 10,000 requests/s, the floor's = 1 | 4 (3 to 5) | 4 (3 to 5) | \`PROFILES=rate make bench\` |" \
    "| CPU per answer of 100 bytes, nginx's = 1 | 0.6 (0.4 to 0.7) | 1 | \`PROFILES=sizes make bench\` |" \
    '| baseline | 512 | 1,234 ns | 1,234 ns | 1,234 ns | 1.03 (1.01 to 1.05) | 14 (13 to 17) | 1.00 (0.99 to 1.00) |' \
    '| nginx | 370,320 | 1630 (1086 to 2173) µs | 9.6 / 7.0 ms | 4.56 (4.56 to 4.56) ms | 12.34 ' \
    '| short | 64 | mote | 3,703 | 7.02 / 4.56 ms | 16,298 ns (5,432, 48,892) | 21 / 43 ns | 603 KiB |' \
    '| /?s=100 | 1,234 ns | 1,234 ns |  | 0.6 (0.4 to 0.7) |' \
    '| 512 | 3,703 | 7% of 51,200 | 7.02 / 4.56 ms | 16,298 ns | 4 (3 to 5) |'; do
    [[ $(cat "$BATS_TEST_TMPDIR"/bench/*.md | grep --count --fixed-strings -- "$row") == 1 ]] || fail "$row"
  done
  [[ $(cat "$BATS_TEST_TMPDIR"/bench/*.md | grep --count '^On 3 February 2001, 6 CPUs.* nginx 1.98.7\.$') == 2 ]]
  run -1 grep old "$BATS_TEST_TMPDIR"/bench/{first,second}.md # those of before are gone
  [[ $(grep --count '^text$' "$BATS_TEST_TMPDIR/bench/second.md") == 5 ]]

  made_up_results "$two" mote floor
  made_up_pages "$two"
  run -0 python3 "$root/test/chart.py" "$two"/{results.json,,first.md,second.md}
  [[ ${#lines[@]} == 4 && ${lines[0]} == 'chart: the results have nothing for the table | | mote | nginx '* ]] ||
    fail "$output"
  grep --quiet '^| short | 64 | mote | 3,703 |' "$two/second.md"
  [[ $(cat "$two"/*.md | grep --count '^| older') == 4 ]] # what compares with nginx, slices, sizes and delays
  run -1 grep --quiet nginx "$two/bench-light.svg"
}

@test "the charts and figures of the pages come from the stored results" {
  local page pages=() names
  for page in README.md test/README.md; do
    if [[ -e $root/$page ]]; then pages+=("$page"); fi
  done
  mkdir "$BATS_TEST_TMPDIR/test"
  for page in "${pages[@]}"; do cp "$root/$page" "$BATS_TEST_TMPDIR/$page"; done
  python3 "$root/test/chart.py" "$root/test/charts/bench.json" "$BATS_TEST_TMPDIR/charts" \
    "${pages[@]/#/$BATS_TEST_TMPDIR/}"
  diff "$root/test/charts" "$BATS_TEST_TMPDIR/charts" || fail 'make chart draws them anew'
  for page in "${pages[@]}"; do diff "$root/$page" "$BATS_TEST_TMPDIR/$page" || fail "make chart sets them: $page"; done
  names=$(sed --quiet 's/^<\(source\|img\) .*src\(set\)\?="\([^"]*\)".*/\3/p' "$root/README.md")
  [[ $names == $'test/charts/bench-dark.svg\ntest/charts/bench-light.svg' ]] || fail "$names"
}

@test "results that cannot be drawn, or have no place in the pages, get one line and change nothing" {
  local results=$BATS_TEST_TMPDIR/results copies=$BATS_TEST_TMPDIR/pages head
  made_up_results "$results" mote floor nginx
  sed 's/"profile": "rate"/"profile": "other"/' "$results/bench.json" >"$results/few.json"
  run -1 python3 "$root/test/chart.py" "$results/few.json" "$BATS_TEST_TMPDIR/none"
  [[ $output == 'chart: the results have no run at a fixed rate' ]] || fail "$output"
  [[ ! -e $BATS_TEST_TMPDIR/none ]]
  for head in '| | mote' '| profile | connections | floor' '| profile | connections | server' '| target' '| server' \
    '| connections' 'On 3 February'; do
    made_up_pages "$copies"
    sed --in-place "/^${head/3 February/1 January}/d" "$copies"/*.md
    cp "$copies/first.md" "$BATS_TEST_TMPDIR"
    run -1 python3 "$root/test/chart.py" "$results"/{bench.json,} "$copies"/{first,second}.md
    [[ ${#lines[@]} == 1 && $output == 'chart: 0 places in the pages instead of one for: '"$head"* ]] || fail "$output"
    cmp "$copies/first.md" "$BATS_TEST_TMPDIR/first.md"
  done
  made_up_pages "$copies"
  run -1 python3 "$root/test/chart.py" "$results"/{bench.json,} "$copies"/{first,first,second}.md
  [[ $output == 'chart: 2 places in the pages instead of one for: | | mote | '* ]] || fail "$output"
}

@test "only a benchmark without settings, and with all servers, draws the charts of the pages" {
  local setting python program bin=$BATS_TEST_TMPDIR/bin
  python=$(python3 -c 'import sys; print(sys.executable)')
  where() { run -0 /usr/bin/env PATH="$bin" "$@" "$python" -c 'import bench; print(bench.CHARTS)'; }
  mkdir "$bin"
  for program in nginx haproxy lighttpd node; do
    where
    [[ $output == "$root/.bench" ]] || fail "without $program: $output"
    ln --symbolic /bin/true "$bin/$program"
  done
  where
  [[ $output == "$root/test/charts" ]] || fail "$output"
  for setting in ROUNDS=9 SECONDS=2 CONNECTIONS=512 PROFILES=baseline SERVER=./other WORKERS=2 WAIT=9 QUICK=1; do
    where "$setting"
    [[ $output == "$root/.bench" ]] || fail "$setting: $output"
  done
  where JSON=/a/b.json
  [[ $output == /a ]] || fail "$output"
}

@test "each server answers what it is asked for, by as many workers as are asked for" {
  local workers
  for workers in 1 2; do
    WORKERS=$workers run -0 python3 - "$BATS_TEST_TMPDIR/$workers" <<'PYTHON'
import pathlib, sys, urllib.request
import bench, peers, slices
folder = pathlib.Path(sys.argv[1])
folder.mkdir()
bench.make_files(folder)
bench.build_floor(folder)
asked = [(name, command, "/pipeline", 2) for name, command, _ in bench.servers_of("rate", 1024, folder)]
for size, count in bench.SIZES.items():
    for program, target in slices.measured(f"s={size}"):
        if target != "baseline":
            name = "mote" if program == slices.OURS else program
            asked.append((name, lambda port, program=program: slices.command(program, "", port, folder), target, count))
for name, command, target, count in asked:
    port = bench.free_port()
    server = bench.Server(command(port), port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{target}", timeout=10) as response:
            content = response.read()
        assert response.status == 200 and len(content) == count and (count != 2 or content == b"ok"), (name, target)
        assert server.cpu()[0] > 0 and server.peak_memory() > 0
        if name in ("mote", "nginx", "haproxy"):
            has_main_one = name == "mote" or name == "nginx" and bench.WORKERS > 1
            found = server.tasks if name in ("mote", "haproxy") else server.pids
            # The first worker may have answered before the last one has begun.
            peers.wait_until(lambda: len(found()) == bench.WORKERS + has_main_one)
    finally:
        server.stop()
    print(name, target)
PYTHON
    output=$(xargs <<<"$output")
    [[ $output == "floor /pipeline mote /pipeline nginx /pipeline haproxy /pipeline "* ]] || fail "$output"
    [[ $output == *"nginx /100 mote /?s=100 haproxy /100 nginx /16k "*"1m mote /?s=1m" ]] || fail "$output"
  done
}

@test "of a fixed rate what is sent while it is measured counts, and no answer but 200" {
  python3 - <<'PYTHON'
import bench
before, after = [(99, 200, 7)] * 5, [(300, 200, 7)] * 5
counted = [(200, 200, latency) for latency in range(1000)]
found = bench.figures_of_log([*before, *counted, (200, 503, 7), (250, -1, 7), *after], 100, 300)
assert (found["requests"], found["rate"], found["mean_us"]) == (1000, 5e6, 499.5), found
assert (found["p50_us"], found["p99_us"], found["p999_us"]) == (499, 989, 998), found
PYTHON
  command -v h2load >/dev/null || skip 'no h2load: apt-get install nghttp2-client'
  run -0 python3 - <<'PYTHON'
import time
import bench
bench.WARM_UP_SECONDS, bench.RATE_SECONDS = 0.3, 0.5
bench.raise_descriptor_limit()
port = bench.free_port()
server = bench.Server(bench.mote(port), port)
start = time.monotonic()
try:
    found = bench.measure_rate(server)
    assert time.monotonic() - start > 12 * 1024 / 10000, "13 requests of a connection do not take 12 intervals"
finally:
    server.stop()
assert found["errors"] == 0 and found["requests"] > 1000 and found["cpu_ns"] > 0, found
assert 0 < found["p50_us"] <= found["p99_us"] <= found["p999_us"] and found["peak_kib"] > 0, found
PYTHON
}

@test "the slices are part of the benchmark, and it says when they are missing" {
  export QUICK=1 ROUNDS=1 WAIT=100000 PROFILES=sizes JSON=$BATS_TEST_TMPDIR/results.json
  run -0 python3 "$root/test/bench.py"
  python3 - <<'PYTHON'
import json, os
rows = json.load(open(os.environ["JSON"]))["slices"]
assert {row["profile"] for row in rows} == {"s=100", "s=16k", "s=64k", "s=1m"}, rows
assert all(len(row["to"]["nginx"]) == 3 for row in rows) and len(rows) == 4 + 3 + 2 + 2, rows
PYTHON
  SERVER=/bin/false run -1 python3 "$root/test/bench.py"
  [[ ${lines[-1]} == 'bench: left out: sizes' ]] || fail "$output"
}

@test "a delay is compared with the baseline of the same server, and with what its connections allow" {
  QUICK=1 ROUNDS=1 PROFILES=delay JSON=$BATS_TEST_TMPDIR/results.json run -0 python3 "$root/test/bench.py"
  grep --quiet '^delay .* baseline .* 0  *1\.00  1\.00  1\.00$' <<<"$output" || fail "$output"
  grep --quiet '^delay .* mote .* 0  *[0-9]' <<<"$output" || fail "$output"
  grep --quiet '^512 connections allow 51,200 requests/s: this is [0-9]*% of it$' <<<"$output" || fail "$output"
}
