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
