#!/usr/bin/env bash
# Makes the entry for HttpArena, validates it as the arena does, and prints the next steps:
#   test/arena.sh ARENA        into ARENA/frameworks/mote, and what is built from there
#   test/arena.sh ARENA PORT   the same, but what listens on that port, a container perhaps
# ARENA is a clone of the arena. A meta.json that is there already is kept: it has your name and your repository.
set -euo pipefail

if (($# < 1 || $# > 2)) || [[ -z $1 || ! ${2-1} =~ ^[0-9]+$ ]]; then
  echo "arena.sh: one folder and perhaps a port: ${0##*/} ARENA [PORT]" >&2
  exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
entry=$1/frameworks/mote
if [[ ! -d $1/frameworks || ! -f $1/scripts/validate.sh ]]; then
  echo "arena.sh: $1 is no clone of HttpArena: it has no frameworks/ or no scripts/validate.sh" >&2
  exit 2
fi

mkdir --parents "$entry"
# The arena runs an executable build.sh in the place of `docker build`; here the Dockerfile calls it.
install --mode=644 "$root"/{Dockerfile,server.cpp,build.sh} "$entry"
if [[ ! -e $entry/meta.json ]]; then install --mode=644 "$root/meta.json" "$entry"; fi

# What it checks before it builds: the entry's profiles are the server's, and each base image has a version.
python3 - "$entry" "$root/meta.json" <<'PYTHON'
import json, pathlib, re, sys
entry = pathlib.Path(sys.argv[1])
meta = json.loads((entry / "meta.json").read_text())
ours = json.loads(pathlib.Path(sys.argv[2]).read_text())
kinds = {"display_name": str, "language": str, "type": str, "engine": str, "description": str, "repo": str,
         "enabled": bool, "tests": list, "maintainers": list}
for name, kind in kinds.items():
    if not isinstance(meta.get(name), kind):
        sys.exit(f"arena.sh: meta.json needs a {kind.__name__} as {name}")
if meta["type"] != "engine":
    sys.exit(f"arena.sh: this is an engine, not {meta['type']}")
# Those of latency send what baseline does.
profiles = {"baseline", "pipelined", "limited-conn", "async", "latency-1m", "latency-10k", "latency-500k-8cpu"}
for name in meta["tests"]:
    if name not in profiles:
        sys.exit(f"arena.sh: {name} is not a profile of this server")
if missing := [name for name in ours["tests"] if name not in meta["tests"]]:
    print("arena.sh: the meta.json that is kept lacks profiles:", *missing, file=sys.stderr)
dockerfile = (entry / "Dockerfile").read_text()
for image in re.findall(r"^FROM (\S+)", dockerfile, re.M):
    if image != "scratch" and not re.search(r":(?!latest|stable)[a-z0-9]", image):
        sys.exit(f"arena.sh: the base image {image} has no version")
for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.M):
    for name in line.split():
        if not (entry / name).is_file():
            sys.exit(f"arena.sh: the Dockerfile copies {name}, which is not in the folder")
PYTHON

if (($# == 2)); then
  MOTE_PORT=$2 bats "$root/test/validate.bats"
else
  # Built elsewhere: the folder is to hold what is handed in, and no more.
  folder=$(mktemp --directory)
  trap 'rm --force --recursive "$folder"' EXIT
  cp "$entry"/* "$folder"
  bash "$folder/build.sh"
  MOTE_SERVER=$folder/server bats "$root/test/validate.bats"
fi

cat <<STEPS

The entry is in $entry. Next steps:
1. In $1: scripts/validate.sh mote (the arena's own validation; it needs Docker)
2. In frameworks/mote/meta.json: your name in maintainers, the address of your repository in repo
3. Open a pull request. The arena validates it by itself, or on the comment
     /validate -f mote
   and this one measures it and keeps the result:
     /benchmark -f mote --save
STEPS
