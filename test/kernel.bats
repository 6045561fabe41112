#!/usr/bin/env bats
# What the source says about the kernel and the processor, beside what their headers and the plain loops say.
load helper

@test "call numbers, constants and structures match the kernel's headers on every architecture" {
  # All enumerators of Sys, of whichever architecture they are, and all constants with a kernel's name.
  sed --quiet '/^enum class Sys.*{/,/^};/p' "$root/server.cpp" | grep --only-matching '[a-z_0-9]* = ' |
    sed 's/\(.*\) = /CALL(\1)/' | sort --unique >"$BATS_TEST_TMPDIR/names.h"
  (($(wc --lines <"$BATS_TEST_TMPDIR/names.h") > 30))
  sed --quiet "/^\/\/ The kernel's constants/,/^struct/p" "$root/server.cpp" |
    grep --only-matching --extended-regexp '\b[A-Z][A-Z0-9_]+ = ' | sed 's/\(.*\) = /CONSTANT(\1)/' >>"$BATS_TEST_TMPDIR/names.h"
  (($(grep --count CONSTANT "$BATS_TEST_TMPDIR/names.h") > 50))
  # With this machine's headers, and with those of the other architectures whose cross compilers are installed.
  local compiler compared=
  for compiler in g++ {aarch64,riscv64}-linux-gnu-g++; do
    if ! command -v "$compiler" >/dev/null; then continue; fi
    run -0 "$compiler" -std=c++20 -fsyntax-only -I "$BATS_TEST_TMPDIR" "$root/test/kernel.cpp"
    compared+=" $compiler"
  done
  echo "# compared with the headers of$compared" >&3
  [[ $compared == ' g++'* ]]
}
