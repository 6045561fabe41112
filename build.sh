#!/usr/bin/env bash
# Builds ./server, the program as it ships, and ./server.debug, the same instructions with their symbols.
#   build.sh [--if-needed] [NAME=NUMBER...]
#   NAME=NUMBER   another value for a tunable of server.cpp: ./build.sh idle_timeout_s=30
#   --if-needed   only if there is no server, or one of older sources, another compiler or other tunables
# Environment:
#   CXX      the compiler, g++ (default) or clang++, by name or path, and options of its own, as --target=. It decides
#            whether it is a program for x86-64, aarch64 or riscv64.
#   MARCH    the instruction set it may use, as -march= takes it
#   OUTPUT   the folder that both files go to (default: the one that this script is in)
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
output=${OUTPUT:-$source}

is_conditional=
if [[ ${1:-} == --if-needed ]]; then
  is_conditional=yes
  shift
fi
settings="CXX=${CXX:-g++} MARCH=${MARCH:-} $*" # kept beside the server, in .settings
if [[ -n $is_conditional && -x $output/server && $(<"$output/.settings") == "$settings" ]] 2>/dev/null &&
  [[ ! $source/server.cpp -nt $output/server && ! $source/build.sh -nt $output/server ]]; then
  exit
fi

tunables=
for tunable in "$@"; do
  if [[ ! $tunable =~ ^[a-z0-9_]+=[0-9]+$ ]]; then
    echo "build.sh: not a tunable and its value: '$tunable' (as in: ./build.sh idle_timeout_s=30)" >&2
    exit 2
  fi
  tunables+="TUNE(${tunable%=*}, ${tunable#*=}) "
done

read -r -a compiler <<<"${CXX:-g++}"

if ! command -v "${compiler[0]}" >/dev/null; then
  echo "build.sh: no compiler '${compiler[0]}': apt-get install g++ (or set CXX)" >&2
  exit 1
fi

# Older ones do not know `using enum`.
oldest=11
if [[ $("${compiler[@]}" --version) == *clang* ]]; then oldest=13; fi
version=$("${compiler[@]}" -dumpversion)
if ((${version%%.*} < oldest)); then
  echo "build.sh: ${compiler[0]} $version is too old: g++ 11, clang++ 13 or newer is needed (or set CXX)" >&2
  exit 1
fi

target=()
machine=$("${compiler[@]}" -dumpmachine)
case $machine in
  x86_64*)
    # Runs on every x86-64 of the last ten years; AVX2 is missing in some Celerons and Pentiums of that time.
    target+=("-march=${MARCH:-x86-64-v2}")
    ;;
  aarch64*)
    target+=(-mno-outline-atomics) # no calls of a library that chooses atomic instructions when it runs
    ;;&
  *)
    if [[ -n ${MARCH:-} ]]; then target+=("-march=$MARCH"); fi
    ;;
esac

flags=(
  -std=c++20
  -Os                             # after a system call little of us is left in the caches: fewer lines beat faster loops
  "${target[@]}"
  -g                              # for server.debug
  -Wall -Wextra -Wconversion -Wshadow
  -ffreestanding                  # there is no C library behind this program
  -fno-exceptions                 # nothing throws
  -fno-rtti                       # nothing asks for a type
  -fno-asynchronous-unwind-tables # nobody unwinds the stack
  -fno-stack-protector            # 480 bytes with a global canary, for five arrays whose sizes follow from constants
  -fpie                           # the kernel loads it where it likes, and no address has to be fixed for that
  -ffunction-sections             # lets the linker drop what is not called, and put together what is called together
  -fdata-sections
  -fcf-protection=none            # landing pads for a check that Linux does not make in user space
)
if [[ -n $tunables ]]; then flags+=("-DMOTE_TUNABLES=$tunables"); fi
if [[ $("${compiler[@]}" --version) != *clang* ]]; then
  # Without these two, g++ keeps so much in registers and on the stack that a GET takes 31 instructions and 2 to 4 % of CPU
  # time more (test/slices.py), and the hot page is full.
  flags+=(-fno-move-loop-invariants -fno-tree-forwprop)
  if ((${version%%.*} < 12)); then flags+=(-Wno-address); fi # 11 warns of each `if constexpr (function != nullptr)`
  if [[ $machine == x86_64* ]]; then flags+=(-malign-data=abi); fi # 130 bytes less padding between constants
fi
# Shorter code where the compiler can: g++ from version 12 on.
if "${compiler[@]}" -Oz -x c++ -c -o /dev/null /dev/null 2>/dev/null; then flags+=(-Oz); fi
# What a request runs and reads comes first and shares one page, since each page that is touched after a system call costs
# an address translation. (So its few constants are executable; the others are not.) The second segment continues in the
# file where the first one ends, and in memory some pages further on, so the file needs no padding. What a linker adds
# for dynamic programs is discarded, together with the head of the table of addresses, which is empty.
folder=$(mktemp --directory)
trap 'rm --force --recursive "$folder"' EXIT
cat >"$folder/layout" <<'SCRIPT'
ENTRY(_start)
PHDRS {
  code PT_LOAD FILEHDR PHDRS FLAGS(5);
  constants PT_LOAD FLAGS(4);
  stack PT_GNU_STACK FLAGS(6);
}
SECTIONS {
  . = SIZEOF_HEADERS;
  .text : {
    *(.rodata.cst*) *(.rodata.*class_table*) *(.rodata.*known_lines*) *(.rodata.*content_length_name*)
    *(.text.hot .text.hot.*)
    hot_end = .;
    *(.text .text.*)
  } :code
  . += CONSTANT(MAXPAGESIZE);
  .rodata : { *(.rodata .rodata.*) } :constants
  .rela.dyn : { *(.rela.*) }
  ASSERT(SIZEOF(.rela.dyn) == 0, "a constant holds an address, and nobody fixes it when the program is loaded")
  .data : { *(.data .data.*) *(.bss .bss.*) }
  ASSERT(SIZEOF(.data) == 0, "there is no writable segment: what changes belongs into struct Worker")
  /DISCARD/ : { *(.comment) *(.note*) *(.dynamic) *(.dynsym) *(.dynstr) *(.hash) *(.gnu.hash) *(.interp) *(.eh_frame*)
    *(.riscv.attributes) }
  .got (INFO) : { *(.got .got.plt) } :NONE
}
SCRIPT
link_flags=(
  -nostdlib
  -static-pie
  "-Wl,--script=$folder/layout"
  "-Wl,--gc-sections"
  "-Wl,--build-id=none"
)

mkdir --parents "$output"
"${compiler[@]}" "${flags[@]}" -c -o "$folder/server.o" "$source/server.cpp"
"${compiler[@]}" "${link_flags[@]}" -o "$output/server.debug" "$folder/server.o"
"${compiler[@]}" "${link_flags[@]}" -Wl,--strip-all -o "$folder/server" "$folder/server.o"

# The kernel loads segments. Sections and their names are for tools, which find them in server.debug.
end=0
while read -r type offset _ _ size _; do
  if [[ $type == LOAD ]] && ((offset + size > end)); then end=$((offset + size)); fi
done < <(readelf --program-headers --wide "$folder/server")
truncate --size="$end" "$folder/server"
clear_bytes() { head --bytes="$2" /dev/zero | dd of="$folder/server" bs=1 seek="$1" conv=notrunc status=none; }
clear_bytes 40 8 # e_shoff
clear_bytes 58 6 # e_shentsize, e_shnum, e_shstrndx
mv "$folder/server" "$output/server"
echo "$settings" >"$output/.settings"
echo "server: $(stat --format=%s "$output/server") bytes"
