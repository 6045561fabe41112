#!/usr/bin/env bash
# Builds ./server, the program as it ships, and ./server.debug, the same instructions with their symbols.
#   CXX    the compiler: g++ (default) or clang++, by name or path
#   MARCH  the instruction set it may use, as -march= takes it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

compiler=${CXX:-g++}
# x86-64-v2 runs on every x86-64 of the last ten years; AVX2 is missing in some Celerons and Pentiums of that time.
march=${MARCH:-x86-64-v2}

if ! command -v "$compiler" >/dev/null; then
  echo "build.sh: no compiler '$compiler': apt-get install g++ (or set CXX)" >&2
  exit 1
fi

flags=(
  -std=c++20
  -Os                             # the kernel leaves little of us in the caches: fewer lines beat faster loops, and
                                  # what is hot is written as the few loads and stores that it should be
  -march="$march"
  -g                              # for server.debug; strip takes it out of server
  -Wall -Wextra -Wconversion -Wshadow
  -ffreestanding                  # there is no C library behind this program
  -fno-exceptions                 # nothing throws
  -fno-rtti                       # nothing asks for a type
  -fno-asynchronous-unwind-tables # nobody unwinds the stack
  -fno-stack-protector            # its canary would live in thread-local storage, which nobody sets up
  -fno-pie                        # one place in memory: no table of addresses to fix at start
  -ffunction-sections             # lets the linker drop what is not called, and put together what is called together
  -fdata-sections
  -fcf-protection=none            # landing pads for a check that the kernel does not switch on for static programs
)
if [[ $("$compiler" --version) != *clang* ]]; then
  flags+=(
    -fno-move-loop-invariants # a constant is cheaper to load again than to keep in a register that must be saved
    -fipa-pta                 # knows better which values need not be loaded again
    -malign-data=abi          # no padding between constants
    # The rest makes shorter code, as measured, and not slower.
    -fno-tree-forwprop
    -fno-expensive-optimizations
    -fno-early-inlining
    -fno-caller-saves
    -fno-tree-dominator-opts
    -fno-tree-fre
    -fno-tree-pre
    -fno-tree-tail-merge
    -fno-ipa-modref
    -fconserve-stack
    -fno-forward-propagate
    -fno-if-conversion
    -fno-code-hoisting
    -fno-schedule-insns2
    -fno-tree-coalesce-vars
    -fno-optimize-sibling-calls
  )
fi
# Shorter still, where the compiler knows it: g++ does from version 12 on.
if "$compiler" -Oz -x c++ -c -o /dev/null /dev/null 2>/dev/null; then flags+=(-Oz); fi
# What a request runs and reads comes first, so that it shares one page: after every system call each page that is
# touched costs an address translation.
layout=$(mktemp)
trap 'rm --force "$layout"' EXIT
cat >"$layout" <<'SCRIPT'
ENTRY(_start)
SECTIONS {
  . = 0x400000 + SIZEOF_HEADERS;
  .text : { *(.text.hot .text.hot.*) *(.rodata.cst*) *(.rodata.*class_table*) *(.rodata.*_words*) *(.text .text.*) }
  .rodata : { *(.rodata .rodata.*) }
  /DISCARD/ : { *(.comment) *(.note*) }
}
SCRIPT
link_flags=(
  -nostdlib
  -static
  "-Wl,--script=$layout"
  "-Wl,--gc-sections"
  "-Wl,-z,noseparate-code" # code and constants share a page instead of padding the file to page borders
  "-Wl,--build-id=none"
  "-Wl,-z,noexecstack"
  "-Wl,-z,norelro"         # no writable data to protect
)

"$compiler" "${flags[@]}" "${link_flags[@]}" -o server.debug server.cpp
strip --strip-all -o server server.debug

# Section headers and their names are for tools, which find them in server.debug. The kernel loads segments.
end=0
while read -r type offset _ _ size _; do
  if [[ $type == LOAD ]] && ((offset + size > end)); then end=$((offset + size)); fi
done < <(readelf --program-headers --wide server)
truncate --size="$end" server
clear_bytes() { head --bytes="$2" /dev/zero | dd of=server bs=1 seek="$1" conv=notrunc status=none; }
clear_bytes 40 8 # e_shoff
clear_bytes 58 6 # e_shentsize, e_shnum, e_shstrndx
echo "server: $(stat --format=%s server) bytes"
