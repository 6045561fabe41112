#!/usr/bin/env bats
# Many connections at once through one worker, on a kernel that is played: see test/crowd.cpp.
load helper

# assert_no_findings SEED: runs for three seconds. `make crowd CROWD_SEED=` repeats what it finds.
assert_no_findings() {
  run -0 make --silent --directory "$root" crowd CROWD_SECONDS=3 CROWD_SEED="$1"
}

@test "many connections at once have no findings" {
  assert_no_findings 1
}

@test "many connections at once have no findings with a random seed" {
  local seed=$((SRANDOM * 1000))
  echo "# crowd: seed $seed" >&3
  assert_no_findings "$seed"
}
