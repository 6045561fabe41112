#!/usr/bin/env bats
# What the README says that a test can compare: its commands install what they need.
load helper

# packages LIST...: of .ci/packages, sorted.
packages() {
  local list
  for list in "$@"; do sed --quiet "s/^$list \+//p" "$root/.ci/packages"; done | tr ' ' '\n' | sort
}

# installed_before COMMAND: the packages that the README's command installs before it does that, sorted.
installed_before() {
  sed --quiet "s|^apt-get update && apt-get install --yes \(.*\) && $1\$|\1|p" "$root/README.md" | tr ' ' '\n' | sort
}

@test "the README's commands install the packages listed in .ci/packages" {
  diff <(installed_before './build.sh && ./server') <(packages build)
  diff <(installed_before 'make test') <(packages build test)
}

@test "the README's things to try print what it says" {
  local script=$BATS_TEST_TMPDIR/script front to=() ports
  front=$(mktemp --directory) # where nginx's own user may go
  chmod 755 "$front"
  start_server --threads 1
  read -r -a ports <<<"$(free_ports 2)"
  to=(--expression="s/\b8080\b/$server_port/" --expression="s/\b8000\b/${ports[0]}/" --expression="s/\b8001\b/${ports[1]}/"
    --expression="s|/tmp/front|$front/new|" --expression="s|\$PWD/test/deploy|$BATS_TEST_TMPDIR|")
  sed "${to[@]}" "$root/test/deploy/timeouts.conf" >"$BATS_TEST_TMPDIR/timeouts.conf"
  # All of that block but the container, which another test runs.
  sed --quiet '/^Six things to try/,/^```$/p' "$root/README.md" | sed '1,/^```sh$/d; /^# The same answer/,$d' |
    sed "${to[@]}" >"$script"
  cd "$root"
  # However it ends, it leaves no proxy behind.
  sed --in-place "1i trap 'kill \$(jobs -p); nginx -c $BATS_TEST_TMPDIR/timeouts.conf -s stop' EXIT" "$script"
  run timeout 60 bash "$script" 3>&-
  rm --force --recursive "$front"
  # Its comments say what is printed: at the end of a line, or as a line.
  local said
  for said in 200 504 '    100 200' same 'curl: (56) Recv failure: Connection reset by peer'; do
    grep --quiet --fixed-strings --line-regexp -- "$said" <<<"$output" || fail "no '$said' in:" "$output"
    grep --quiet --extended-regexp "(^|[^#]+)# *${said//[()]/.}\$" "$script" || fail "the README does not say '$said'"
  done
  [[ $output == *$'\nGET /echo HTTP/1.0\r\nHost: 127.0.0.1'* ]] || fail "$output"
}
