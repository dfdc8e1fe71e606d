# Sourced by the scripts in this folder: the engines, their paths, and how one is stopped.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Downloads, unpacked packages, sockets and data. Shared by all working copies on a machine: an engine is
# started once, whoever needs it.
work=${DAYFLY_TEST_ENGINES_DIR:-/var/tmp/dayfly-test-engines}
suite=trixie
dind_image=dayfly-test/dind:1

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$@"; exit 1; }
# Ends with the status by which callers know that this machine cannot have such an engine.
unavailable() { say "$@"; exit 69; }

# Sets the variables of the engine with this name.
engine() {
  name=${1:-}
  case $name in
  docker-26)
    number=26
    packages=(docker.io docker-cli iptables procps bash coreutils mount)
    ;;
  podman-5)
    number=54
    packages=(podman crun catatonit netavark aardvark-dns nftables iptables procps bash coreutils mount)
    ;;
  *) die "unknown engine \"$name\"; known are docker-26 and podman-5" ;;
  esac
  folder=$work/$name
  socket=$folder/run/engine.sock
  host_address=10.90.$number.1
  engine_address=10.90.$number.2
  link=dayfly-t$number
  cgroup=dayfly-test-$name
}

needs_root() {
  [ "$(id -u)" -eq 0 ] || unavailable "root is needed to start an engine"
}

# One process at a time starts or stops an engine, or unpacks packages. Everything that outlives the script is
# started with `9>&-`, or it would hold the lock.
lock() {
  mkdir -p "$work"
  chmod 700 "$work"
  exec 9>"$work/lock"
  flock 9
}

# Whether the engine responds.
responds() {
  [ -S "$socket" ] && curl --silent --fail --max-time 10 --unix-socket "$socket" http://engine/_ping >/dev/null
}

# The process whose end ends the engine, if it is there. A process id may have been reused since.
leader() {
  local pid
  pid=$(cat "$folder/pid" 2>/dev/null) || return 1
  { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep --quiet --fixed-strings "$folder" || return 1
  printf '%s\n' "$pid"
}

# Kills the engine with everything in its namespaces, and removes its data; also what a start that was interrupted
# has left.
stop_engine() {
  local pid tries
  if pid=$(leader); then
    kill -KILL "$pid" 2>/dev/null || true
    for ((tries = 0; tries < 100; tries++)); do
      leader >/dev/null || break
      sleep 0.1
    done
  fi
  ip link delete "$link" 2>/dev/null || true
  remove_cgroups
  rm -rf "$folder/run" "$folder/data" "$folder/pid" "$folder/network"
}

# Only empty groups can be removed; the kernel needs a moment after the last process.
remove_cgroups() {
  local tries groups=(-path "*/$cgroup*")
  [ "$name" != podman-5 ] || groups=('(' -path "*/$cgroup*" -o -path '*/libpod_parent*' ')')
  for ((tries = 0; tries < 20; tries++)); do
    [ -n "$(find /sys/fs/cgroup -type d "${groups[@]}" -print -quit 2>/dev/null)" ] || return 0
    find /sys/fs/cgroup -depth -type d "${groups[@]}" -exec rmdir {} + 2>/dev/null || true
    sleep 0.1
  done
}

# What tests read: tests/engines/mod.rs.
environment() {
  local prefix
  for prefix in "$@"; do
    printf 'export %s=unix://%s\n' "DAYFLY_TEST_${prefix}ENGINE" "$socket"
    printf 'export %s=%s\n' "DAYFLY_TEST_${prefix}HOST_ADDRESS" "$host_address"
  done
}
