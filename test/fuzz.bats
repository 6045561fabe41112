#!/usr/bin/env bats
# The fuzzer's inputs once more, without the fuzzer: on each architecture, by a compiler that has no libFuzzer.
load helper

@test "connections with the rows of all tables, on a simulated kernel, have no findings" {
  mkdir "$BATS_TEST_TMPDIR/rows"
  python3 "$root/test/cases.py" --corpus "$BATS_TEST_TMPDIR/rows" "$root"/test/*.bats
  compile -O1 -DMOTE_REPLAY -o "$BATS_TEST_TMPDIR/fuzz" "$root/test/fuzz.cpp"
  run -0 "${emulator[@]}" "$BATS_TEST_TMPDIR/fuzz" "$BATS_TEST_TMPDIR"/rows/*
  ((${output% inputs} > 500)) || fail "$output"
}
