#!/usr/bin/env bats
# The server and a plain reading of the RFCs (test/reference.py) take the same requests for good, refuse the same ones
# with the same status, and see the same content in them.
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }

@test "20,000 mutated requests get the verdicts of the reference" {
  run timeout 300 python3 "$root/test/differential.py" "$server_port" --seed "${SEED:-$RANDOM}"
  [[ $status == 0 ]] || fail "$output" # with the seed, which shows it again
  echo "# ${lines[-1]}" >&3
}
