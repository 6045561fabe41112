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
  g++ -std=c++20 -O1 -march=x86-64-v2 -w -o "$program" "$program.cpp"
  run -0 "$program"
}

@test "the scan by vectors finds what the loop over bytes finds: every class, byte, place and alignment" {
  run_program <<'CPP'
#include <stdio.h>
#include <string.h>
const char *scan(Class kind, const char *at) {
    return kind == Class::field_value ? skip_field_value(at) : skip(kind, at);
}
int main() {
    static char text[256];
    long count = 0;
    for (size_t kind = 0; kind < classes_size; kind += row_size) {
        char member = 0;
        for (int byte = 1; byte < 256 && member == 0; byte++)
            if (is(Class(kind), char(byte))) member = char(byte);
        if (member == 0) return printf("class %zu is empty\n", kind), 1;
        for (size_t offset = 0; offset < 16; offset++)
            for (size_t size = 0; size <= 50; size++)
                for (int byte = 0; byte < 256; byte++) {
                    memset(text, member, sizeof text);
                    text[offset + size] = char(byte);
                    text[offset + size + 7] = 0;
                    const char *const expected = skip_by_bytes(Class(kind), text + offset);
                    const char *const found = scan(Class(kind), text + offset);
                    if (found != expected) return printf("%zu %zu %zu %d\n", kind, offset, size, byte), 1;
                    count++;
                }
    }
    // Values with tabs: the one control byte that belongs to them.
    unsigned long random = 1;
    for (int times = 0; times < 100000; times++, count++) {
        for (size_t i = 0; i < 100; i++) {
            random = random * 6364136223846793005 + 1442695040888963407;
            text[i] = "\t\t\t\t a\xff\x80!~\t\t\t \r\x7f"[random >> 60];
        }
        text[100] = 0;
        if (skip_field_value(text) != skip_by_bytes(Class::field_value, text)) return printf("tabs %d\n", times), 1;
    }
    printf("%ld\n", count);
}
CPP
  [[ $output == $((8 * 16 * 51 * 256 + 100000)) ]] || fail "$output"
}

@test "the classes are those of the RFCs" {
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
    unreserved + sub_delims + ":@/?",                  # target: pchar, "/" and "?", RFC 3986 section 3.3
    unreserved + sub_delims,                           # host: reg-name, section 3.2.2
    string.hexdigits + ":.",                           # ip_literal
    digits, string.hexdigits, " \t",
    "\t" + "".join(map(chr, [*range(0x20, 0x7f), *range(0x80, 0x100)])),  # field_value: RFC 9110 section 5.5
]
found = """$output""".split("\n")
assert [bytes.fromhex(line) for line in found] == [bytes(sorted(map(ord, set(text)))) for text in expected], found
PYTHON
}
