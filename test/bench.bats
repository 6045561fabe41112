#!/usr/bin/env bats
# What the benchmark makes of its runs: results, charts, and the figures of the README. Nothing is measured here.
load helper

export PYTHONDONTWRITEBYTECODE=1
unset ROUNDS SECONDS CONNECTIONS PROFILES JSON SERVER QUICK # the settings of test/bench.py

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
           "nginx": "1.98.7" if "nginx" in servers else None,
           "binary_bytes": {name: 2345 * 10 ** number for number, name in enumerate(servers)}}
bench.write_results(machine, [("baseline", 512, servers), ("pipelined", 512, servers), ("short", 64, servers)])
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

@test "charts and the README show the same figures, with all rounds, with fewer, and without nginx" {
  local row file results
  made_up_results "$BATS_TEST_TMPDIR/all" mote floor nginx
  for results in results bench; do
    mkdir "$BATS_TEST_TMPDIR/$results"
    cp "$root/README.md" "$BATS_TEST_TMPDIR/$results"
    python3 "$root/test/chart.py" "$BATS_TEST_TMPDIR/all/$results.json" "$BATS_TEST_TMPDIR/$results"{,/README.md}
  done
  diff "$BATS_TEST_TMPDIR"/{results,bench}
  for file in bench-light.svg bench-dark.svg bench.json; do # as test/bench.py has them drawn
    cmp "$BATS_TEST_TMPDIR"/{all,bench}/"$file"
  done
  for row in '| size of the file | 2,345 bytes | 23,450 bytes | 234,500 bytes |' \
    '| memory with 512 connections | 603 KiB | 6,030 KiB | 60,300 KiB |' \
    '| CPU per request | 16,298 ns | 162,975 ns | 1,629,750 ns |' \
    '| requests/s | 3,703 | 37,032 | 370,320 |' \
    '| short | 64 | mote | 3,703 | 7.02 / 4.56 ms | 16,298 ns (5,432, 48,892) | 21 / 43 ns | 603 KiB | 3.84 (1.28,'; do
    grep --quiet --fixed-strings -- "$row" "$BATS_TEST_TMPDIR/bench/README.md" || fail "$row"
  done
  [[ $(grep --count '^| short |' "$BATS_TEST_TMPDIR/bench/README.md") == 3 ]] # those of before are gone

  made_up_results "$BATS_TEST_TMPDIR/two" mote floor
  cp "$root/README.md" "$BATS_TEST_TMPDIR/two"
  python3 "$root/test/chart.py" "$BATS_TEST_TMPDIR/two"/{results.json,,README.md}
  grep --quiet '^| requests/s | 3,703 | 37,032 |  | ' "$BATS_TEST_TMPDIR/two/README.md"
  run -1 grep --quiet 'class="nginx"' "$BATS_TEST_TMPDIR/two/bench-light.svg"
}

@test "the README's charts and figures come from the stored results" {
  cp "$root/README.md" "$BATS_TEST_TMPDIR"
  python3 "$root/test/chart.py" "$root/test/charts/bench.json" "$BATS_TEST_TMPDIR/charts" "$BATS_TEST_TMPDIR/README.md"
  diff "$root/test/charts" "$BATS_TEST_TMPDIR/charts" || fail 'make chart draws them anew'
  diff "$root/README.md" "$BATS_TEST_TMPDIR/README.md" || fail 'make chart sets them'
  local names
  names=$(sed --quiet 's/^<\(source\|img\) .*src\(set\)\?="\([^"]*\)".*/\3/p' "$root/README.md")
  [[ $names == $'test/charts/bench-dark.svg\ntest/charts/bench-light.svg' ]] || fail "$names"
}

@test "results that cannot be drawn, or have no place in the README, get one line" {
  made_up_results "$BATS_TEST_TMPDIR" mote floor
  sed 's/"connections": 512/"connections": 64/' "$BATS_TEST_TMPDIR/bench.json" >"$BATS_TEST_TMPDIR/few.json"
  run -1 python3 "$root/test/chart.py" "$BATS_TEST_TMPDIR/few.json" "$BATS_TEST_TMPDIR/none"
  [[ $output == 'chart: the results have no baseline with 512 connections' ]] || fail "$output"
  [[ ! -e $BATS_TEST_TMPDIR/none ]]
  local figure
  for figure in 'size of the file' 'requests\/s' profile; do
    sed "/^| $figure |/d" "$root/README.md" >"$BATS_TEST_TMPDIR/README.md"
    run -1 python3 "$root/test/chart.py" "$BATS_TEST_TMPDIR"/{bench.json,,README.md}
    [[ ${#lines[@]} == 1 && $output == 'chart: 0 places in the README '*"| ${figure/\\/} |"* ]] || fail "$output"
  done
}

@test "only a benchmark without settings, and with nginx, draws the README's charts" {
  local setting python
  python=$(python3 -c 'import sys; print(sys.executable)')
  where() { PYTHONPATH=$root/test run -0 /usr/bin/env "$@" "$python" -c 'import bench; print(bench.CHARTS)'; }
  where
  [[ $output == "$root/test/charts" ]] || fail "$output"
  for setting in ROUNDS=9 SECONDS=2 CONNECTIONS=512 PROFILES=baseline SERVER=./other QUICK=1 PATH=/nowhere; do
    where "$setting"
    [[ $output == "$root/.bench" ]] || fail "$setting: $output"
  done
  where JSON=/a/b.json
  [[ $output == /a ]] || fail "$output"
}
