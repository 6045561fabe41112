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
    return [{"rate": 1234.4 * scale * factor, "p50_us": 2340 * factor, "p99_us": 4560, "user_ns": 21, "system_ns": 43,
             "cpu_ns": 5432.4999 * scale * factor, "peak_kib": 67 * scale * factor, "ratio": 1.28 * factor,
             "errors": 0, "cpu_share": 0.5, "switches": [7, 8]} for factor in (4, 1, 3, 2, 9)]
servers = {name: rounds(10 ** number) for number, name in enumerate(sys.argv[1:])}
machine = {"date": "2001-02-03T04:05+00:00", "cpu": "R&D <1>", "cpus": 6, "kernel": "7.8.9-a",
           "compiler": "g++ (D 3.2.1) 3.2.1", "wrk": "debian/5.4.0-3",
           "nginx": "1.98.7" if "nginx" in servers else None, "haproxy": None,
           "binary_bytes": {name: 2345 * 10 ** number for number, name in enumerate(servers)}}
rows = [("baseline", 512, servers), ("pipelined", 512, servers), ("short", 64, servers)]
if "nginx" in servers:
    rows += [("s=100", 64, {"nginx": servers["nginx"], "mote": servers["mote"], "haproxy": servers["floor"]}),
             ("s=1m", 64, {"nginx": servers["nginx"], "mote": servers["mote"]}),
             ("delay", 512, {"baseline": servers["floor"], "mote": servers["mote"]})]
bench.write_results(machine, rows)
PYTHON
}

# made_up_pages FOLDER: two pages with a place for every figure.
made_up_pages() {
  mkdir --parents "$1"
  PYTHONPATH=$root/test python3 - "$1" <<'PYTHON'
import pathlib, sys
import chart
folder, line = pathlib.Path(sys.argv[1]), "On 1 January 2000, 1 CPUs (a), Linux 1.0, medians of 1 rounds of 1 s."
rows = "".join(f"| {figure} | 1 | 2 | 3 | `make bench` |\n" for figure in chart.FIGURES)
(folder / "first.md").write_text(f"| | mote | floor | nginx | command |\n|---|---|---|---|---|\n{rows}\n{line}\n")
tables = "".join(f"{head}\n|---|---|\n| old |\n| older |\n\ntext\n" for head in chart.TABLES)
(folder / "second.md").write_text(f"{tables}\n{line}\n")
PYTHON
}

@test "charts show the medians to scale, and the light and dark ones differ in colours only" {
  made_up_results "$BATS_TEST_TMPDIR" mote floor nginx
  python3 - "$BATS_TEST_TMPDIR"/bench-{light,dark}.svg <<'PYTHON'
import re, sys
import xml.etree.ElementTree as tree
light, dark = (open(name, encoding="utf-8").read() for name in sys.argv[1:])
colour = re.compile("#[0-9a-f]{6}")
assert colour.sub("#", light) == colour.sub("#", dark), "they differ in more than colours"
assert all(a != b for a, b in zip(colour.findall(light)[:4], colour.findall(dark))), "they have the same colours"
svg = tree.fromstring(light)
width, height = (float(edge) for edge in svg.get("viewBox").split()[2:])
texts = [text.text for text in svg.findall("{*}text")]
expected = ["3,703", "37,032", "370,320", "16,298 ns", "162,975 ns", "1,629,750 ns",
            "603 KiB", "6,030 KiB", "60,300 KiB", "2,345 bytes", "23,450 bytes", "234,500 bytes"]
assert [text for text in texts if text in expected] == expected, texts
assert texts[-1] == ("On 3 February 2001, 6 CPUs (R&D <1>), Linux 7.8, g++ 3.2, wrk 5.4, nginx 1.98, "
                     "medians of 10 rounds of 1 s: make bench"), texts[-1]
bars = [bar for bar in svg.findall("{*}rect") if bar.get("class") != "card"]
assert [bar.get("class") for bar in bars] == ["mote", "floor", "nginx"] * 4
for panel in range(0, 12, 3):
    lengths = [float(bar.get("width")) for bar in bars[panel:panel + 3]]
    assert abs(lengths[1] * 10 - lengths[2]) < 1 and abs(lengths[0] - max(2, lengths[1] / 10)) < 0.1, lengths
for part in svg.findall("*[@x]"):
    assert 0 <= float(part.get("x")) <= width and 0 <= float(part.get("y")) <= height, tree.tostring(part)
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
  for row in '| size of the file | 2,345 bytes | 23,450 bytes | 234,500 bytes |' \
    '| memory with 512 connections | 603 KiB | 6,030 KiB | 60,300 KiB |' \
    '| CPU per request | 16,298 ns | 162,975 ns | 1,629,750 ns |' \
    '| requests/s | 3,703 | 37,032 | 370,320 |' \
    '| short | 64 | mote | 3,703 | 7.02 / 4.56 ms | 16,298 ns (5,432, 48,892) | 21 / 43 ns | 603 KiB | 3.84 (1.28,' \
    '| /?s=100 | 16,298 ns | 1,629,750 ns | 162,975 ns | 3.84 (1.28, 11.52) |' \
    '| /?s=1m | 16,298 ns | 1,629,750 ns |  | 3.84 (1.28, 11.52) |' \
    '| 512 | 3,703 | 7% of 51,200 | 7.02 / 4.56 ms | 16,298 ns | 3.84 (1.28, 11.52) |'; do
    [[ $(cat "$BATS_TEST_TMPDIR"/bench/*.md | grep --count --fixed-strings -- "$row") == 1 ]] || fail "$row"
  done
  [[ $(cat "$BATS_TEST_TMPDIR"/bench/*.md | grep --count '^On 3 February 2001, 6 CPUs') == 2 ]]
  run -1 grep old "$BATS_TEST_TMPDIR/bench/second.md" # those of before are gone
  [[ $(grep --count '^text$' "$BATS_TEST_TMPDIR/bench/second.md") == 3 ]]

  made_up_results "$two" mote floor
  made_up_pages "$two"
  python3 "$root/test/chart.py" "$two"/{results.json,,first.md,second.md}
  grep --quiet '^| requests/s | 3,703 | 37,032 |  | ' "$two/first.md"
  [[ $(grep --count '^| older' "$two/second.md") == 2 ]] # the tables of sizes and delays
  run -1 grep --quiet 'class="nginx"' "$two/bench-light.svg"
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
  sed 's/"connections": 512/"connections": 64/' "$results/bench.json" >"$results/few.json"
  run -1 python3 "$root/test/chart.py" "$results/few.json" "$BATS_TEST_TMPDIR/none"
  [[ $output == 'chart: the results have no baseline with 512 connections' ]] || fail "$output"
  [[ ! -e $BATS_TEST_TMPDIR/none ]]
  for head in '| profile' '| target' '| connections' 'On 3 February'; do
    made_up_pages "$copies"
    sed --in-place "/^${head/3 February/1 January}/d" "$copies"/*.md
    cp "$copies/first.md" "$BATS_TEST_TMPDIR"
    run -1 python3 "$root/test/chart.py" "$results"/{bench.json,} "$copies"/{first,second}.md
    [[ ${#lines[@]} == 1 && $output == 'chart: 0 places in the pages instead of one for: '"$head"* ]] || fail "$output"
    cmp "$copies/first.md" "$BATS_TEST_TMPDIR/first.md"
  done
  made_up_pages "$copies"
  run -1 python3 "$root/test/chart.py" "$results"/{bench.json,} "$copies"/{first,first,second}.md
  [[ $output == 'chart: 2 places in the pages instead of one for: | size of the file | '* ]] || fail "$output"
}

@test "only a benchmark without settings, and with nginx, draws the charts of the pages" {
  local setting python
  python=$(python3 -c 'import sys; print(sys.executable)')
  where() { PYTHONPATH=$root/test run -0 /usr/bin/env "$@" "$python" -c 'import bench; print(bench.CHARTS)'; }
  where
  [[ $output == "$root/test/charts" ]] || fail "$output"
  for setting in ROUNDS=9 SECONDS=2 CONNECTIONS=512 PROFILES=baseline SERVER=./other WORKERS=2 QUICK=1 PATH=/nowhere; do
    where "$setting"
    [[ $output == "$root/.bench" ]] || fail "$setting: $output"
  done
  where JSON=/a/b.json
  [[ $output == /a ]] || fail "$output"
}

@test "each server answers each size with that much content, by as many workers as are asked for" {
  local workers
  build_server
  for workers in 1 2; do
    WORKERS=$workers run -0 python3 - "$BATS_TEST_TMPDIR/$workers" <<'PYTHON'
import pathlib, sys, urllib.request
import bench
folder = pathlib.Path(sys.argv[1])
folder.mkdir()
bench.make_files(folder)
for size, count in bench.SIZES.items():
    for name, command, (_, target) in bench.servers_of(f"s={size}", 64, folder):
        port = bench.free_port()
        server = bench.Server(command(port), port)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{target}", timeout=10) as response:
                assert response.status == 200 and len(response.read()) == count, (name, size)
            assert server.cpu()[0] > 0 and server.peak_memory() > 0
            found = len(server.pids()) if name == "nginx" else len(server.tasks())
            more = 1 if name == "mote" or name == "nginx" and bench.WORKERS > 1 else 0  # the main one
            assert found == bench.WORKERS + more, (name, found)
        finally:
            server.stop()
        print(name, size)
PYTHON
    [[ $(xargs <<<"$output") == "nginx 100 mote 100 haproxy 100 nginx 16k mote 16k haproxy 16k "*"1m mote 1m" ]] ||
      fail "$output"
  done
}

@test "a delay is compared with the baseline of the same server, and with what its connections allow" {
  QUICK=1 ROUNDS=1 PROFILES=delay JSON=$BATS_TEST_TMPDIR/results.json run -0 python3 "$root/test/bench.py"
  grep --quiet '^delay .* baseline .* 0  *1\.00  1\.00  1\.00$' <<<"$output" || fail "$output"
  grep --quiet '^delay .* mote .* 0  *[0-9]' <<<"$output" || fail "$output"
  grep --quiet '^512 connections allow 51,200 requests/s: this is [0-9]*% of it$' <<<"$output" || fail "$output"
}
