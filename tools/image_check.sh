#!/usr/bin/env bash
# Build the container image on a Debian base made here, run it as an orchestrator would
# (unprivileged, read-only, in a network of its own) and put requests through it.
#
# No container engine is needed, only buildah, debootstrap and root. Everything happens in
# namespaces that end with this script; only the base stays, in the cache.
set -euo pipefail

suite=bookworm
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/passgate
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."

step() { printf 'image-check: %s\n' "$1"; }
fail() { printf 'image-check: FAILED: %s\n' "$1" >&2; exit 1; }
skip() {
    step "skipped, $1"
    [ "${PASSGATE_NO_SKIP:-}" != 1 ] || fail "PASSGATE_NO_SKIP=1 allows no skip"
    exit 0
}

# The mirror that apt on this machine uses for the suite; nothing where it names none.
mirror() {
    shopt -s nullglob # so that a file that is not there is no argument
    awk -v suite="$suite" '
        function known() { if (uri ~ /^https?:/ && index(suites, " " suite " ")) { print uri; exit } }
        FNR == 1 || NF == 0 { uri = suites = "" }
        $1 == "URIs:" { uri = $2; known() }
        $1 == "Suites:" { $1 = ""; suites = $0 " "; known() }
        $1 == "deb" { sub(/\[[^]]*\] */, ""); uri = $2; suites = " " $3 " "; known() }
        ' /dev/null /etc/apt/sources.list.d/*.{sources,list} /etc/apt/sources.lis[t]
}

# Two archives: one with venv and pip to build in, one without to run in.
make_bases() {
    [ ! -e "$cache/$suite-run.tar" ] || return 0
    step "making a Debian base, once"
    # shellcheck disable=SC2046  # no mirror is no argument
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
        "$suite" "$work/base" $(mirror) >"$work/debootstrap.log" 2>&1 ||
        { tail -n 20 "$work/debootstrap.log" >&2; fail "debootstrap"; }
    rm -rf "$work/base"/var/{cache/apt,lib/apt/lists}/* "$work/base"/usr/share/{doc,locale,man}/* \
        "$work/base"/etc/{resolv.conf,hostname} "$work/base/etc/apt/sources.list"
    mkdir -p "$cache"
    tar -C "$work/base" --one-file-system -cf "$cache/$suite-build.tar" .
    chroot "$work/base" dpkg --purge python3-venv python3.11-venv python3-pip-whl \
        python3-setuptools-whl >>"$work/debootstrap.log"
    tar -C "$work/base" --one-file-system -cf "$work/run.tar" .
    mv "$work/run.tar" "$cache/$suite-run.tar"
    rm -rf "$work/base"
}

# What pip on this machine knows of its index, as the two secrets the Dockerfile asks for.
write_pip_secrets() {
    mkdir "$work/secrets"
    touch "$work"/secrets/{pip.conf,ca.crt}
    "$python" - "$work/secrets" <<'PY'
import ast, os, pathlib, subprocess, sys

to = pathlib.Path(sys.argv[1])
said = subprocess.run(
    [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True
).stdout
known = {}
for line in said.splitlines():
    name, _, value = line.partition("=")
    scope, _, key = name.rpartition(".")
    if scope == ":env:" or key not in known:
        known[key] = ast.literal_eval(value)
bundle = known.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
lines = ["[global]"]
for key in ("index-url", "extra-index-url", "trusted-host", "proxy"):
    if known.get(key):
        lines.append(f"{key} = " + "\n  ".join(str(known[key]).split()))
if bundle:
    (to / "ca.crt").write_bytes(pathlib.Path(bundle).read_bytes())
    lines.append("cert = /run/secrets/ca.crt")
(to / "pip.conf").write_text("\n".join(lines) + "\n")
PY
}

b() { buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run" "$@"; }

build() {
    for which in build run; do
        container=$(b from scratch)
        b add -q "$container" "$cache/$suite-$which.tar" / >/dev/null
        b commit -q --rm "$container" "localhost/base:$which" >/dev/null
    done
    step "building"
    b bud --quiet --format docker --pull-never --layers=false --tag localhost/passgate \
        --build-arg BASE=localhost/base:run --build-arg BUILDER=localhost/base:build \
        --secret "id=pip.conf,src=$work/secrets/pip.conf" \
        --secret "id=ca.crt,src=$work/secrets/ca.crt" . >/dev/null
}

config() { b inspect --type image --format "$1" localhost/passgate; }
list() { config "{{range .Docker.Config.$1}}{{println .}}{{end}}" | sed '/^$/d'; }

inspect() {
    user=$(config '{{.Docker.Config.User}}')
    workdir=$(config '{{.Docker.Config.WorkingDir}}')
    mapfile -t environment < <(list Env)
    mapfile -t command < <(list Entrypoint; list Cmd)
    mapfile -t health < <(list Healthcheck.Test)
    [ "${#command[@]}" -ge 2 ] || fail "the image names no command"
    [ "${#health[@]}" -ge 2 ] || fail "the image has no health check"
    [[ $user =~ ^[1-9][0-9]*:[1-9][0-9]*$ ]] || fail "the user is '$user', not two numbers above 0"

    root=$(b mount "$(b from --pull-never localhost/passgate)")
    found=$(find "$root" -xdev \( -name '*.pth' \
        -o -path '*/bin/*' -regex '.*/\(pip\|uv\|gcc\|g\+\+\|cc\|c\+\+\|clang\|ld\|make\)[-0-9.]*' \
        -o -path '*/python3*' -regex '.*/\(pip\|ensurepip\|setuptools\|hatchling\)' \
        -o -name 'pip-*.whl' \) -printf '/%P\n')
    [ -z "$found" ] || fail "this has no place in the image:"$'\n'"$found"
    for left in etc/pip.conf run/secrets/ca.crt build; do
        [ ! -e "$root/$left" ] || fail "/$left was left in the image"
    done
    found=$(find "$root/opt/passgate" ! -type l \( ! -user 0 -o -perm /022 \) \
        -printf '/opt/passgate/%P\n')
    [ -z "$found" ] || fail "the gateway could change its own files:"$'\n'"$found"
    step "user $user, nothing that builds or installs, no .pth, $(du -sm "$root" | cut -f1) MiB"
}

# Lay the container's file system out as an engine would: read-only, with the state volume,
# a config and a secret mounted in.
lay_out() {
    cp -a "$root/var/lib/passgate" "$work/state"
    mkdir -p "$root"/{etc/passgate,run/secrets}
    touch "$root"/etc/passgate/passgate.toml "$root"/run/secrets/anthropic
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/tmp"
    mount -t tmpfs tmpfs "$root/dev"
    for device in null zero random urandom; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mount --bind "$work/state" "$root/var/lib/passgate"
    mount --bind "$work/passgate.toml" "$root/etc/passgate/passgate.toml"
    mount --bind "$work/credential" "$root/run/secrets/anthropic"
    mount -o remount,bind,ro "$root"
}

# exec, so that the pid is that of the command itself.
inside() {
    exec setpriv --no-new-privs chroot --userspec="$user" --groups="${user#*:}" "$root" \
        /usr/bin/env -i -C "$workdir" "${environment[@]}" "$@"
}

write_config() {
    "$python" -c 'import secrets; print(secrets.token_urlsafe(32))' >"$work/credential"
    chmod 0444 "$work/credential"
    cat >"$work/passgate.toml" <<TOML
[upstream.anthropic]
kind = "anthropic"
base_url = "http://127.0.0.1:9000"
credential = { kind = "api_key", file = "/run/secrets/anthropic" }

[[route]]
model = "*"
upstream = "anthropic"
TOML
}

probe() {
    KEY=${key:-} "$python" - "$1" <<'PY'
import http.client, json, os, sys, time

# 127.0.0.2 reaches what listens on every address, and not what listens on 127.0.0.1.
OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
ASK = {"model": "claude-sonnet-4-5", "max_tokens": 16, "messages": [{"role": "user", "content": "Hi"}]}


def answered(host, port, *request):
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request(*request)
    answer = connection.getresponse()
    return answer.status, answer.read()


def ask(host, port, key, stream=False):
    fields = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": key}
    return answered(host, port, "POST", "/v1/messages", json.dumps(ASK | {"stream": stream}), fields)


def wait(host, port):
    ends = time.monotonic() + 30
    while True:
        try:
            return answered(host, port, "GET", "/health")[0]
        except OSError:
            if time.monotonic() > ends:
                sys.exit(f"image-check: FAILED: nothing listens on port {port} after 30 s")
            time.sleep(0.1)


def want(what, expected, got):
    if expected != got:
        sys.exit(f"image-check: FAILED: {what}: expected {expected!r}, got {got!r}")


wait(INSIDE, 9000)
if sys.argv[1] == "gateway":
    want("/health", 200, wait(OUTSIDE, 8787))
    key = os.environ["KEY"]
    for stream in (False, True):
        direct, through = ask(INSIDE, 9000, "any", stream), ask(OUTSIDE, 8787, key, stream)
        want("a request with its key", 200, through[0])
        want("the upstream's body", direct[1], through[1])
    want("a wrong key", 401, ask(OUTSIDE, 8787, "pg_" + "x" * 43)[0])
    try:
        answered(OUTSIDE, 8788, "GET", "/healthz")
    except ConnectionRefusedError:
        pass
    else:
        sys.exit("image-check: FAILED: the admin listener is reachable from outside")
PY
}

# In a network of its own: nothing here can reach another machine, and no port is taken.
run_in_own_network() {
    "$python" -c 'import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 1))'
    lay_out
    (inside python -m passgate.demo.upstream 9000) >"$work/upstream.log" 2>&1 &
    upstream=$!
    probe upstream || { cat "$work/upstream.log" >&2; exit 1; }
    key=$(inside passgate keys add check 2>"$work/keys.log" |
        grep -o -m 1 'pg_[A-Za-z0-9_-]\{43\}') ||
        { cat "$work/keys.log" >&2; fail "passgate keys add made no key"; }
    (inside "${command[@]}") >"$work/gateway.log" 2>&1 &
    gateway=$!
    probe gateway || { cat "$work/gateway.log" >&2; exit 1; }
    [ "$(awk '/^Uid:/ { print $2, $3, $4, $5 }' "/proc/$gateway/status")" = \
        "${user%:*} ${user%:*} ${user%:*} ${user%:*}" ] || fail "it does not run as $user"
    grep -q '^CapEff:[[:space:]]*0*$' "/proc/$gateway/status" || fail "it holds capabilities"
    (inside "${health[@]:1}") || fail "the image's health check says no"
    step "answers 200 with the upstream's body, 401 to a wrong key; the health check agrees"
    kill -TERM "$gateway"
    status=0
    wait "$gateway" || status=$?
    kill "$upstream"
    [ "$status" = 0 ] || { cat "$work/gateway.log" >&2; fail "SIGTERM: it exited with $status"; }
    step "SIGTERM: exits 0"
}

case ${1:-} in
'')
    [ "$(uname -s)" = Linux ] || skip "this is not Linux"
    [ "$(id -u)" = 0 ] || skip "this is not root"
    for tool in buildah debootstrap unshare setpriv; do
        command -v "$tool" >/dev/null || skip "$tool is not installed"
    done
    unshare --mount --pid --net --fork true 2>/dev/null || skip "namespaces are not allowed here"
    work=$(mktemp -d)
    # Mounts exist only in the inner namespace, so this cannot reach through one.
    trap 'rm -rf --one-file-system "$work"' EXIT
    IMAGE_CHECK_DIR=$work unshare --mount --pid --fork --kill-child --mount-proc "$0" build
    ;;
build)
    work=$IMAGE_CHECK_DIR
    export BUILDAH_ISOLATION=chroot
    make_bases
    write_pip_secrets
    build
    inspect
    write_config
    export -f step fail lay_out inside probe run_in_own_network
    unshare --net bash -euo pipefail -c "$(declare -p work python root user workdir environment command health); run_in_own_network"
    step passed
    ;;
esac
