#!/usr/bin/env bats
# The entry for HttpArena that test/arena.sh makes, and that its validation can fail.
load helper
unset BATS_NO_PARALLELIZE_WITHIN_FILE

setup() {
  if [[ $built != "$root" ]]; then skip 'the entry is the same for every compiler'; fi
  # What makes a folder a clone of the arena.
  arena=$BATS_TEST_TMPDIR/arena
  mkdir --parents "$arena/frameworks" "$arena/scripts"
  touch "$arena/scripts/validate.sh"
}
teardown() { stop_server; }

@test "the entry has four files, builds from its Dockerfile, and passes the arena's validation" {
  run -0 "$root/test/arena.sh" "$arena"
  [[ $output == *$'\nok 12 '* && $output != *$'\nnot ok '* ]] || fail "$output"
  local step
  for step in 'scripts/validate.sh mote' '/validate -f mote' '/benchmark -f mote --save'; do
    [[ ${output##*$'\nok 12 '} == *"$step"* ]] || fail "no $step: $output"
  done
  cd "$arena"
  run -0 find frameworks -type f -printf '%m ./%p\n'
  [[ $(sort <<<"$output" | xargs) == '644 ./frameworks/mote/Dockerfile 644 ./frameworks/mote/build.sh '\
'644 ./frameworks/mote/meta.json 644 ./frameworks/mote/server.cpp' ]] || fail "$output"
  local file
  for file in Dockerfile build.sh meta.json server.cpp; do cmp "frameworks/mote/$file" "$root/$file"; done
}

@test "a server that runs already is validated on its port" {
  start_server
  run -0 "$root/test/arena.sh" "$arena" "$server_port"
  [[ $output == *$'\n'*'/benchmark -f mote --save'* ]] || fail "$output"
  if server_is_gone; then fail 'the validation has ended a server that is not its own'; fi
  stop_server
  # A server that takes content of one byte only, and one that is not there.
  build_variant content_limit=1
  start_server
  run -1 "$root/test/arena.sh" "$arena" "$server_port"
  [[ $output != */benchmark* ]] || fail "$output" # no next steps
  stop_server
  run -1 "$root/test/arena.sh" "$arena" "$server_port"
}

@test "an edited meta.json is kept, and a line names the profiles that it lacks" {
  local meta=$arena/frameworks/mote/meta.json
  # The validation, which other tests look at, passes at once.
  local PATH=$BATS_TEST_TMPDIR:$PATH server_port=1
  ln --symbolic /bin/true "$BATS_TEST_TMPDIR/bats"
  run -0 "$root/test/arena.sh" "$arena" "$server_port"
  [[ $output != *lacks* ]] || fail "$output"
  sed --in-place 's/OWNER/someone/; s/"maintainers": \[\]/"maintainers": ["someone"]/; s/, "latency-1m", "latency-10k"//' "$meta"
  cp "$meta" "$BATS_TEST_TMPDIR/edited"
  echo old >"$arena/frameworks/mote/server.cpp"
  run -0 --separate-stderr "$root/test/arena.sh" "$arena" "$server_port"
  [[ $stderr == 'arena.sh: the meta.json that is kept lacks profiles: latency-1m latency-10k' ]] || fail "$stderr"
  cmp "$meta" "$BATS_TEST_TMPDIR/edited"
  cmp "$arena/frameworks/mote/server.cpp" "$root/server.cpp" # the rest is new
  # What is kept is checked, too.
  sed --in-place 's/"someone"\]/1/; s/"maintainers": \[/"maintainers": /' "$meta"
  run -1 --separate-stderr "$root/test/arena.sh" "$arena" "$server_port"
  [[ $stderr == 'arena.sh: meta.json needs a list as maintainers' ]] || fail "$stderr"
}

@test "a folder that is no clone of the arena is refused, and left alone" {
  local folder=$BATS_TEST_TMPDIR/other
  mkdir --parents "$folder/frameworks" "$BATS_TEST_TMPDIR/scripts-only/scripts"
  touch "$BATS_TEST_TMPDIR/scripts-only/scripts/validate.sh"
  for folder in "$folder" "$BATS_TEST_TMPDIR/scripts-only" "$BATS_TEST_TMPDIR/missing"; do
    run -2 --separate-stderr "$root/test/arena.sh" "$folder"
    [[ -z $output && $stderr == "arena.sh: $folder is no clone of HttpArena: it has no frameworks/ or no scripts/validate.sh" ]] ||
      fail "$stderr"
    [[ ! -e $folder/frameworks/mote ]] || fail "$folder"
  done
}

# entry_of EDIT FILE: what the script says of an entry with this edit of a file, which the arena would refuse.
entry_of() {
  mkdir --parents "$BATS_TEST_TMPDIR/copy/test"
  cp "$root"/{Dockerfile,meta.json,server.cpp,build.sh} "$BATS_TEST_TMPDIR/copy"
  cp "$root/test/arena.sh" "$BATS_TEST_TMPDIR/copy/test"
  sed --in-place "$1" "$BATS_TEST_TMPDIR/copy/$2"
  rm --force --recursive "$arena/frameworks/mote"
  run -1 --separate-stderr "$BATS_TEST_TMPDIR/copy/test/arena.sh" "$arena"
}

@test "an entry that the arena would refuse is refused before it is built" {
  local edit file message
  # shellcheck disable=SC2154  # set by run
  while IFS='|' read -r edit file message; do
    entry_of "$edit" "$file"
    [[ $stderr == "arena.sh: $message" ]] || fail "$edit: $stderr"
  done <<'ENTRIES'
s/bookworm-slim/stable-slim/|Dockerfile|the base image debian:stable-slim has no version
s/debian:bookworm-slim/debian/|Dockerfile|the base image debian has no version
s/^COPY server.cpp/COPY server.cc/|Dockerfile|the Dockerfile copies server.cc, which is not in the folder
s/"latency-1m"/"latency-2m"/|meta.json|latency-2m is not a profile of this server
s/"type": "engine"/"type": "tuned"/|meta.json|this is an engine, not tuned
/"repo"/d|meta.json|meta.json needs a str as repo
/"language"/d|meta.json|meta.json needs a str as language
ENTRIES
}

@test "bad arguments get one line and status 2" {
  local arguments
  for arguments in '' 'a b' 'a 1 2'; do
    # shellcheck disable=SC2086  # several words
    run -2 --separate-stderr "$root/test/arena.sh" $arguments
    [[ ${#stderr_lines[@]} == 1 && -z $output ]] || fail "$arguments: $stderr"
  done
}
