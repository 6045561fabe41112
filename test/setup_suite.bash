# What bats does once, before the first test of a run.

setup_suite() {
  load helper
  need curl nc:netcat-openbsd pgrep:procps python3 || return
  # Python with its standard library alone, which is what the tests use. The script of a version manager, and what other
  # packages do at every start, can take ten times as long as Python itself.
  python3 -m venv --without-pip "$BATS_RUN_TMPDIR/python"
  export PATH=$BATS_RUN_TMPDIR/python/bin:$PATH
  if [[ -z ${MOTE_PORT:-}${MOTE_SERVER:-} ]]; then build_into "$built"; fi
}
