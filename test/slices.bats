#!/usr/bin/env bats
# The instrument behind make slices: that it counts what is asked and answered, and what it makes of its figures. Nothing
# is measured here.
load helper
setup_file() {
  gcc -O2 -Wall -Wextra -Wconversion -Wshadow -Werror -o "$BATS_FILE_TMPDIR/slices" "$root/test/slices.c"
  start_server --threads 1
}
teardown_file() { stop_server; }

# slices ARGUMENT...: the client.
slices() { timeout 30 "$BATS_FILE_TMPDIR/slices" "$@"; }

@test "each profile's requests are answered, and counted as the server counts them" {
  local profile line
  for profile in baseline pipelined short; do
    run -0 slices "$profile" 8 3 "$server_port" "$server_pid" "$server_port" "$server_pid"
    [[ ${#lines[@]} == 3 ]] || fail "$profile: $output"
    for line in "${lines[@]}"; do
      [[ $line =~ ^(nan|[0-9]+\.[0-9])' '(nan|[0-9]+\.[0-9])$ ]] || fail "$profile: $line"
    done
  done
  run_peers <<'PYTHON'
found = counted(pid)[0]
assert found["4xx"] == found["5xx"] == found["expired"] == 0, found
assert found["accepted"] > 3 * 16 and found["requests"] > 9 * 2 * 16, found
PYTHON
}

@test "a server that cannot be measured gets one line" {
  run -2 slices baseline 8
  [[ ${#lines[@]} == 1 ]] || fail "$output"
  run -1 slices baseline 8 1 "$server_port" 999999999
  [[ $output == 'slices: no process 999999999' ]] || fail "$output"
  run -1 slices baseline 8 1 1 "$server_pid"
  [[ ${#lines[@]} == 1 && $output == 'slices: a connection to port 1: Connection refused' ]] || fail "$output"
  SERVER=/nowhere run -1 python3 "$root/test/slices.py"
  [[ $output == 'slices: no server to measure at /nowhere (./build.sh makes one)' ]] || fail "$output"
}

@test "ratios compare one round, and disturbed rounds are left out" {
  ROUNDS=9 run -0 python3 - <<'PYTHON'
import math
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
PYTHON
}
