#!/usr/bin/env bash
# Prints the manual page, mote(8): the options are what --help says, the rest is test/man.h2m.
#   test/man.sh [COMMAND...]   how to call the server, if it is not ./server
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(mktemp --directory)
trap 'rm --force --recursive "$folder"' EXIT

# help2man takes the page's name from the program's, and lines for options if they are indented.
if (($# == 0)); then set -- "$root/server"; fi
cat >"$folder/mote" <<SCRIPT
#!/usr/bin/env bash
$(printf '%q ' "$@") "\$1" | sed '1{\$!d}; s/^ *-/  &/' # without the first line, which is the version
SCRIPT
chmod +x "$folder/mote"
help2man --no-info --section=8 --manual='System administration' --name='an HTTP/1.1 server in one freestanding file' \
  --include="$root/test/man.h2m" "$folder/mote"
