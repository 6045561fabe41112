#!/usr/bin/env bats
# Bytes and text: what the grammar is written in, looked at from inside.
load helper

# run_program: compiles the C++ on standard input behind the server's source, as a program of its own, and runs it.
run_program() {
  local program=$BATS_TEST_TMPDIR/program
  {
    echo "#define MOTE_HOSTED"
    echo "#include \"$root/server.cpp\""
    echo "namespace { long trap(Sys, long, long, long, long, long, long) { __builtin_trap(); }"
    echo "long start_thread(unsigned long, void *, void (*)(void *), void *) { __builtin_trap(); } }"
    cat
  } >"$program.cpp"
  compile -O1 -w -o "$program" "$program.cpp"
  run -0 "${emulator[@]}" "$program"
}

@test "the scans agree with the plain loop for every class, byte, place, alignment and size up to 200" {
  local options=()
  if ((${#emulator[@]} != 0)); then options=(-DBRIEF); fi # two minutes less
  compile -O2 -Wall -Wextra "${options[@]}" -o "$BATS_TEST_TMPDIR/scans" "$root/test/scans.cpp"
  run -0 "${emulator[@]}" "$BATS_TEST_TMPDIR/scans"
  echo "# $output" >&3
  ((${output% comparisons} > 10000000)) || fail "$output"
}

@test "the character classes match the RFCs" {
  run_program <<'CPP'
#include <stdio.h>
int main() {
    for (size_t kind = 0; kind < classes_size; kind += row_size, puts(""))
        for (int byte = 0; byte < 256; byte++)
            if (is(Class(kind), char(byte))) printf("%02x", byte);
}
CPP
  python3 - <<PYTHON
import string
digits, letters = string.digits, string.ascii_letters
unreserved, sub_delims = digits + letters + "-._~", "!\$&'()*+,;="  # RFC 3986 section 2
expected = [
    digits + letters + "!#\$%&'*+-.^_\`|~",            # token: RFC 9110 section 5.6.2
    "".join(set(map(chr, range(0x21, 0x7f))) - set('"<>#')),  # target
    unreserved + sub_delims,                           # host: reg-name, section 3.2.2
    string.hexdigits + ":.",                           # ip_literal
    digits, string.hexdigits, " \t",
    "\t" + "".join(map(chr, [*range(0x20, 0x7f), *range(0x80, 0x100)])),  # field_value: RFC 9110 section 5.5
]
found = """$output""".split("\n")
assert [bytes.fromhex(line) for line in found] == [bytes(sorted(map(ord, set(text)))) for text in expected], found
PYTHON
}
