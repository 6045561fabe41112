#!/usr/bin/env bats
# The container: what an OCI builder makes of the Dockerfile, and that it runs as test/deploy/kubernetes.yaml wants it.
# Debian's buildah needs no engine for that, and debootstrap makes the base image, so no registry is needed either.
load helper

setup_file() {
  if [[ -n $(reason_to_skip) ]]; then return; fi
  {
    make_base_image &&
      builder build --isolation chroot --pull=never --tag mote --file "$root/Dockerfile" "$root" </dev/null
  } >"$(build_log)" 2>&1 || fail "$(tail --lines=50 "$(build_log)")"
}

setup() {
  local reason
  reason=$(reason_to_skip)
  if [[ -n $reason ]]; then skip "$reason"; fi
  export KUBECONFIG=/dev/null # nothing here is about a cluster that someone may have
}

# Process 1 of a namespace that ignores SIGTERM outlives what started it, for a change of the user undoes --kill-child.
teardown() {
  local pid
  if [[ -n ${server_port:-} ]] && pid=$(inner_pid); then kill -KILL "$pid"; fi
  stop_server
}

reason_to_skip() {
  if [[ -z ${CONTAINER:-} ]]; then
    echo 'a minute, as root, with packages from the network: make container'
  elif [[ $built != "$root" ]]; then
    echo 'the Dockerfile builds for the machine that it is on'
  elif ! unshare --mount true 2>/dev/null; then
    echo 'nothing can be mounted here'
  elif ! curl --silent --fail --max-time 20 --output /dev/null http://deb.debian.org/debian/dists/bookworm/Release; then
    echo 'deb.debian.org cannot be reached'
  fi
}

build_log() { echo "$BATS_FILE_TMPDIR/build.log"; }

# buildah with images and containers of its own, as plain folders: no mounts, and nothing of the machine's is seen.
builder() (become_builder "$@")

# The same in the place of this shell, for signals.
become_builder() {
  TMPDIR=$BATS_FILE_TMPDIR exec buildah --storage-driver vfs --root "$BATS_FILE_TMPDIR/images" \
    --runroot "$BATS_FILE_TMPDIR/containers" "$@"
}

# A new container of an image: sets container, its name, and folder, where its files are.
start_container() {
  container=$(builder from --pull=never "$1") &&
    folder=$(builder mount "$container")
}

# Debian as the public image has it, without lists of packages and without a compiler, under that image's name.
make_base_image() {
  local image suite container folder
  read -r image suite < <(sed --quiet 's/^FROM \(debian:\(.*\)-slim\) AS build$/\1 \2/p' "$root/Dockerfile")
  # What debootstrap mounts is gone with its namespace, however it ends.
  start_container scratch &&
    unshare --mount debootstrap --variant=minbase "$suite" "$folder" http://deb.debian.org/debian </dev/null &&
    rm --force --recursive "$folder"/var/lib/apt/lists/* "$folder"/var/cache/apt/archives/*.deb &&
    builder commit --quiet --rm "$container" "$image"
}

# A value of the image, by a template of Go.
image_has() { builder inspect --type image --format "{{$1}}" mote; }

# The manifest's values by a JSONPath; of objects that have no such value, nothing.
manifest_has() {
  kubectl patch --local --type=merge --patch={} --filename="$root/test/deploy/kubernetes.yaml" --output="jsonpath=$1"
}

# The container's server by its command line, whatever stands between it and the test. Nothing else is called /server.
inner_pid() { pgrep --full "^/server --port 0\b"; }

# The running container's server answers, is nobody and in no other group, and ends on SIGTERM with status 0 within a
# second, or as many as given.
answer_and_end() {
  local identity expected
  [[ $(curl --silent "http://127.0.0.1:$server_port/baseline11?a=13&b=42") == 55 ]]
  [[ $(curl --silent --data 20 "http://127.0.0.1:$server_port/baseline11?a=13&b=42") == 75 ]]
  identity=$(grep --extended-regexp '^(Uid|Gid|Groups|CapPrm|CapEff):' "/proc/$(inner_pid)/status" | xargs)
  expected='^Uid:( 65534){4} Gid:( 65534){4} Groups:( 65534)? CapPrm: 0+ CapEff: 0+$'
  [[ $identity =~ $expected ]] || fail "$identity"
  kill -TERM "$(inner_pid)"
  await_end "$@"
}

@test "the image holds the program and nothing else" {
  start_container mote
  run -0 find "$folder" -mindepth 1 -printf '%M %U:%G %P\n'
  [[ $output == '-rwxr-xr-x 0:0 server' ]] || fail "$output"
  run -0 grep --only-matching '^server: [0-9]* bytes$' "$(build_log)"
  [[ $output == "server: $(stat --format=%s "$folder/server") bytes" ]] || fail "$output"
  [[ $("$folder/server" --version) == "$("${server[@]}" --version)" ]]
}

@test "the image has one layer of less than 32 KiB" {
  run -0 python3 -c 'import json, sys
print(*(layer["size"] for layer in json.loads(sys.argv[1])["layers"]))' "$(image_has .Manifest)"
  [[ $output =~ ^[0-9]+$ ]] && ((output < 32768)) || fail "$output"
  echo "# $output bytes" >&3
}

@test "the image's program has the bytes that the same compiler makes elsewhere" {
  local package version
  for package in "g++-$(g++ -dumpversion)" binutils; do
    version=$(dpkg-query --show --showformat='${Version}' "$package") || skip "this machine's $package is no package"
    grep --quiet --fixed-strings "Setting up $package ($version)" "$(build_log)" ||
      skip "this machine has another $package"
  done
  cp "$root/server.cpp" "$root/build.sh" "$BATS_TEST_TMPDIR"
  CXX=g++ "$BATS_TEST_TMPDIR/build.sh"
  start_container mote
  cmp "$folder/server" "$BATS_TEST_TMPDIR/server"
}

@test "the image names its user, port, program and stop signal" {
  local name value
  # No signal is SIGTERM, and no command: no arguments.
  while read -r name value; do
    run -0 image_has ".OCIv1.Config.$name"
    [[ $output == "$value" ]] || fail "$name: '$output'"
  done <<'CONFIG'
User 65534:65534
ExposedPorts map[8080/tcp:{}]
Entrypoint [/server]
Cmd []
StopSignal
CONFIG
}

@test "the builder runs it as that user, and it answers and ends on SIGTERM" {
  start_container mote
  local server_command=(become_builder run --isolation chroot "$container" --) server_program=/server
  start_server
  answer_and_end 3 # the builder takes down what it has put around it
}

@test "as process 1, on a read-only root, as the manifest's user, it answers probes and ends on SIGTERM" {
  start_container mote
  local server_program=/server user arguments path
  user=$(manifest_has '{..runAsUser}'):$(manifest_has '{..runAsGroup}')
  # shellcheck disable=SC2016 # it is the inner shell that knows $0 and $@
  local server_command=(unshare --mount --pid --fork --kill-child sh -euc '
    mount --bind "$0" "$0"
    mount --options remount,bind,ro "$0"
    exec chroot "$@"' "$folder" --userspec="$user" --groups= "$folder")
  read -r -a arguments <<<"$(manifest_has '{.spec.template.spec.containers[0].args[*]}')"
  start_server "${arguments[@]}"
  [[ $(grep '^NSpid:' "/proc/$(inner_pid)/status") == NSpid:*$'\t1' ]]
  run ! touch "/proc/$(inner_pid)/root/file"
  [[ $output == *'Read-only file system' ]]
  for path in $(manifest_has '{..httpGet.path}'); do
    run -0 curl --silent --show-error --fail "http://127.0.0.1:$server_port$path"
  done
  answer_and_end
}

@test "Kubernetes knows every field of the manifest" {
  kubectl patch --local --type=merge --patch={} --filename="$root/test/deploy/kubernetes.yaml" --output=json |
    python3 -c 'import json, subprocess, sys

# What is in the first and not in the second. Only values may be added: numbers keep their form there.
def lost(given, known, path):
    if isinstance(given, dict) and isinstance(known, dict):
        for name in given:
            yield from lost(given[name], known.get(name), f"{path}.{name}")
    elif isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        for index, pair in enumerate(zip(given, known)):
            yield from lost(*pair, f"{path}[{index}]")
    elif given != known:
        yield f"{path}: {given} became {known}"

# These two read an object into the types of the API, which drops what they do not have, and fail at a wrong type.
commands = {"Deployment": ["env", "A=B"], "Service": ["selector", "app=mote"]}
text = sys.stdin.read().strip()
while text:
    given, end = json.JSONDecoder().raw_decode(text)
    text = text[end:].strip()
    command = ["kubectl", "set", *commands.pop(given["kind"]), "--local", "--filename=-", "--output=json"]
    known = json.loads(subprocess.check_output(command, input=json.dumps(given), text=True))
    problems = list(lost(given, known, given["kind"]))
    assert not problems, problems
assert not commands, commands'
}

@test "the manifest has probes and limits, agrees with the image, and gives no privileges" {
  local path
  local -A expected=(
    ['.spec.selector.app']=mote # the Service finds the pods
    ['.spec.template.metadata.labels.app']=mote
    ['.spec.ports[0].targetPort']=http
    ['..containerPort']=8080
    ['..ports[?(@.containerPort==8080)].name']=http
    ['..readinessProbe.httpGet.port']=http
    ['..livenessProbe.httpGet.port']=http
    ['..limits.cpu']=2
    ['..limits.memory']=320Mi
    ['..runAsNonRoot']=true
    ['..runAsUser']=65534
    ['..runAsGroup']=65534
    ['..readOnlyRootFilesystem']=true
    ['..allowPrivilegeEscalation']=false
    ['..capabilities']='{"drop":["ALL"]}'
    ['..seccompProfile.type']=RuntimeDefault
    ['..automountServiceAccountToken']=false
    ['..hostNetwork']=''
    ['..privileged']=''
  )
  for path in "${!expected[@]}"; do
    run -0 manifest_has "{$path}"
    [[ $output == "${expected[$path]}" ]] || fail "$path: $output"
  done
  (($(manifest_has '{..terminationGracePeriodSeconds}') > 4)) # which is how long it may take to end
}
