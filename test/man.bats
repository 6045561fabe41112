#!/usr/bin/env bats
# The manual page: made from --help, and one that groff finds nothing wrong with.
load helper

setup_file() {
  "$root/test/man.sh" "${server[@]}" >"$BATS_FILE_TMPDIR/mote.8"
}

@test "the manual page has each option of --help, with its text" {
  local line text options=0
  text=$(sed 's/\\f.//g; s/\\//g' "$BATS_FILE_TMPDIR/mote.8")
  while read -r line; do
    # Its names, its value, and behind two spaces what it does.
    [[ $line =~ ^(-.*[^ ])\ \ +(.*)$ ]] || fail "$line"
    [[ $text == *$'\n'"${BASH_REMATCH[1]}"$'\n'"${BASH_REMATCH[2]}"$'\n'* ]] || fail "'$line' is not in $text"
    options=$((options + 1))
  done < <("${server[@]}" --help | grep '^ *-')
  ((options == 10))
}

@test "the manual page has no groff warnings" {
  run -0 groff -man -ww -z "$BATS_FILE_TMPDIR/mote.8"
  [[ -z $output ]]
}
