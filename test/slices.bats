#!/usr/bin/env bats
# The instrument behind make slices: that it counts what is asked and answered, and what it makes of its figures.
# Nothing is measured here.
load helper
unset SERVER MOTE ROUNDS CONNECTIONS READING WAIT PROFILES WORKERS JSON # the settings of test/slices.py
setup_file() {
  gcc -O2 -Wall -Wextra -Wconversion -Wshadow -Werror -o "$BATS_FILE_TMPDIR/slices" "$root/test/slices.c"
  start_server --threads 1
}
teardown_file() { stop_server; }

# slices ARGUMENT...: the client.
slices() { timeout 30 "$BATS_FILE_TMPDIR/slices" "$@"; }

@test "each profile's requests are answered, and counted as the server counts them" {
  local profile line
  for profile in baseline pipelined short delay '/?s=100'; do
    run -0 slices copy 8 3 50 5 "$profile" "$server_port" "$server_pid" "$profile" "$server_port" "$server_pid,$$"
    [[ ${#lines[@]} == 3 ]] || fail "$profile: $output"
    for line in "${lines[@]}"; do
      [[ $line =~ ^(nan|[0-9]+\.[0-9])' '(nan|[0-9]+\.[0-9])$ ]] || fail "$profile: $line"
    done
  done
  run_peers <<'PYTHON'
found = counted(pid)[0]
assert found["4xx"] == found["5xx"] == found["expired"] == 0, found
assert found["accepted"] > 5 * 16 and found["requests"] > 15 * 2 * 16, found
PYTHON
}

# requests_and_bytes: what the server has counted so far.
requests_and_bytes() { run_peers <<<'print(*(counted(pid)[0][name] for name in ("requests", "bytes out")))'; }

@test "a long answer is read to its end, whether its content is copied or not" {
  local reading before after
  for reading in copy discard; do
    before=$(requests_and_bytes)
    run -0 slices "$reading" 2 1 50 100000 '/?s=300k' "$server_port" "$server_pid"
    [[ $output =~ ^[0-9]+\.[0-9]$ ]] || fail "$reading: $output" # no wait is too long
    after=$(requests_and_bytes)
    read -r requests bytes <<<"$((${after% *} - ${before% *})) $((${after#* } - ${before#* }))"
    ((requests >= 2 && bytes > requests * 307200 && bytes < requests * 307500)) || fail "$reading: $before, $after"
  done
}

# bats test_tags=alone
@test "lateness is what an answer takes beyond its delay" {
  run -0 slices lateness 16 100 "$server_port"
  [[ ${#lines[@]} == 100 ]] || fail "$output"
  python3 - "${lines[@]}" <<'PYTHON' || fail "$output"
import statistics, sys
late_us = list(map(float, sys.argv[1:]))
assert min(late_us) > 0 and statistics.median(late_us) < 15000, sorted(late_us)  # delays are up to 50 ms
PYTHON
}

@test "sizes are compared with nginx and HAProxy, and a delay with the baseline" {
  READING=discard ROUNDS=2 WAIT=100000 run -0 python3 "$root/test/slices.py" sizes delay
  local expected
  for expected in 's=100 .*server baseline$' 's=100 .*haproxy /100$' 's=1m  *discard .* nginx /1m$' \
    's=1m .*server /?s=1m$' 'delay .* 1\.000 ± .*server baseline$' 'delay .*server delay$'; do
    [[ $(grep --count "^$expected" <<<"$output") == 1 ]] || fail "$expected: $output"
  done
  [[ $(grep --count ' 1\.000 ± 0\.000 ' <<<"$output") == 5 ]] || fail "$output"
}

@test "results have the ratios of all to all: to the floor, to the floor once more, and to nginx" {
  JSON=$BATS_TEST_TMPDIR/results.json SERVER='nginx floor' CONNECTIONS=8 ROUNDS=3 WAIT=100000 run -0 \
    python3 "$root/test/slices.py" baseline
  python3 - "$BATS_TEST_TMPDIR/results.json" <<'PYTHON'
import json, sys
rows = json.load(open(sys.argv[1]))
assert [row["server"] for row in rows] == ["floor", "mote", "nginx", "again"], rows
assert all(row["profile"] == "baseline" and row["connections"] == 8 and row["cpu_ns"] > 0 for row in rows), rows
for row in rows:
    assert list(row["to"]) == ["floor", "mote", "nginx", "again"] and row["to"][row["server"]] == [1, 1, 1], row
    assert all(low <= middle <= high for middle, low, high in row["to"].values()), row
PYTHON
}

@test "what cannot be measured gets one line" {
  run -2 slices copy 8
  [[ ${#lines[@]} == 1 ]] || fail "$output"
  run -1 slices copy 8 1 50 5 baseline "$server_port" 999999999
  [[ $output == 'slices: no process 999999999' ]] || fail "$output"
  run -1 slices copy 8 1 50 5 baseline 1 "$server_pid"
  [[ ${#lines[@]} == 1 && $output == 'slices: a connection to port 1: Connection refused' ]] || fail "$output"
  run -1 slices copy 8 1 50 5 /none "$server_port" "$server_pid"
  [[ $output == 'slices: not an answer to count: HTTP/1.1 404 Not Found' ]] || fail "$output"
  SERVER=/nowhere run -1 python3 "$root/test/slices.py"
  [[ $output == 'slices: no server to measure at /nowhere (./build.sh makes one)' ]] || fail "$output"
  run -1 python3 "$root/test/slices.py" size
  [[ $output == 'slices: unknown profiles: size (there are: baseline '*')' ]] || fail "$output"
}

@test "ratios compare one round, and disturbed rounds are left out" {
  ROUNDS=9 run -0 python3 - <<'PYTHON'
import math
import slices
from slices import ratios_of
floor = [100, 200, 100, math.nan, 400, 100, 100, 100, 100]
mine = [110, 240, 130, 100, 560, 150, 160, math.nan, 170]  # 1.1 to 1.7, in both orders of magnitude
median, low, high, error, count = ratios_of(mine, floor)
assert count == 7 and abs(median - 1.4) < 1e-9 and abs(low - 1.2) < 1e-9 and abs(high - 1.6) < 1e-9, (median, low, high)
assert abs(error - 1.2533 * 0.4 / 1.349 / math.sqrt(7)) < 1e-9, error
try:
    ratios_of([math.nan] * 8 + [1], floor)
    raise AssertionError("one round is enough")
except SystemExit as end:
    assert str(end).startswith("slices: 1 of 9 rounds are left"), end
slices.OTHERS = ["nginx", "floor"]
slices.measure = lambda *_: [(100, 400, 200), (150, 600, 300), (200, 800, 400), (100, 400, 200)]
mote = slices.print_costs("baseline", "copy", 64, None)[1]
assert mote["cpu_ns"] == 300 and mote["server"] == "mote", mote
assert {name: median for name, (median, _, _) in mote["to"].items()} == {
    "floor": 1.5, "mote": 1, "nginx": 0.75, "again": 1.5}, mote
PYTHON
}

@test "what many workers cost is a line for each number of them" {
  natively 'the emulator has threads of its own'
  run -0 python3 "$root/test/workers.py" 3
  [[ ${#lines[@]} == 2 ]] || fail "$output"
  # Of 512 and of 4,096 connections, no worker has all or none.
  local spread="[1-9][0-9]+ to [1-4][0-9][0-9] +[1-9][0-9]+ to [1-3][0-9]{3}"
  [[ ${lines[1]} =~ ^' '+3' '+[0-9.]+' '+[0-9]+'; '[0-9]+' '+[0-9.]+' '+$spread' '+[0-9]+$ ]] || fail "$output"
}
