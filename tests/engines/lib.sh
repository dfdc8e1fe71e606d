# Sourced by the scripts in this folder: the engines, their paths, and how one is stopped.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Downloads, unpacked packages, sockets and data. Shared by all working copies on a machine: an engine is
# started once, whoever needs it.
work=${DAYFLY_TEST_ENGINES_DIR:-/var/tmp/dayfly-test-engines}
dind_image=dayfly-test/dind:1

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$@"; exit 1; }
# Ends with the status by which callers know that this machine cannot have such an engine.
unavailable() { say "$@"; exit 69; }

# engine NAME [NODE]: sets the variables of the engine with this name. A Swarm has several engines: without NODE the
# variables are those of the whole, and $nodes has the names of its nodes.
engine() {
  name=${1:-} node=${2:-} nodes=() switch=() suite=trixie
  packages=(docker.io docker-cli iptables procps bash coreutils mount)
  case $name in
  docker-26) number=26 ;;
  docker-sid) number=28 suite=sid ;;
  podman-5 | podman-sid)
    number=54
    [ "$name" = podman-5 ] || number=58 suite=sid
    packages=(podman crun catatonit netavark aardvark-dns nftables iptables procps bash coreutils mount)
    ;;
  swarm-26)
    number=27
    [ -n "$node" ] || nodes=(manager worker)
    ;;
  *) die "unknown engine \"$name\"; known are docker-26, docker-sid, podman-5, podman-sid and swarm-26" ;;
  esac
  folder=$work/$name${node:+/$node}
  # A Swarm is of the same packages.
  root=$work/${name/swarm/docker}/root
  socket=$folder/run/engine.sock
  host_address=10.90.$number.1
  engine_address=10.90.$number.2
  link=dayfly-t$number
  cgroup=dayfly-test-$name${node:+-$node}
  if [ -n "$node" ]; then
    # Its cable ends in the switch of the Swarm, not on this machine.
    switch=(nsenter "--net=$work/$name/switch")
    link=$node
    [ "$node" = manager ] || engine_address=10.90.$number.3
  fi
}

# Runs a command for each node of a Swarm.
each_node() {
  local each
  for each in "${nodes[@]}"; do (engine "$name" "$each"; "$@"); done
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

# Whether the engine responds; of a Swarm, whether all do, and its nodes are ready.
responds() {
  local each
  if [ ${#nodes[@]} -gt 0 ]; then
    for each in "${nodes[@]}"; do (engine "$name" "$each"; responds) || return 1; done
    [ "$(ready_nodes)" -eq ${#nodes[@]} ]
  else
    [ -S "$socket" ] && curl --silent --fail --max-time 10 --unix-socket "$socket" http://engine/_ping >/dev/null
  fi
}

# Asks the engine for a path of its API, with options of curl.
ask() {
  curl --silent --show-error --fail --max-time 60 --unix-socket "$socket" "http://engine/v1.45$1" "${@:2}"
}

ready_nodes() {
  engine "$name" manager
  ask /nodes 2>/dev/null | grep --only-matching '"State":"ready"' | wc --lines
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
  each_node stop_engine
  power_off
  rm -rf "$folder/data"
  if [ ${#nodes[@]} -gt 0 ]; then
    umount "$folder/switch" 2>/dev/null || true
    rm -f "$folder/switch"
  fi
}

# Kills the engine with everything in its namespaces. Its data stays. Without a link its connections are not closed
# first, as if its machine had lost power.
power_off() {
  local pid tries
  "${switch[@]}" ip link delete "$link" 2>/dev/null || true
  if pid=$(leader); then
    kill -KILL "$pid" 2>/dev/null || true
    for ((tries = 0; tries < 100; tries++)); do
      leader >/dev/null || break
      sleep 0.1
    done
  fi
  remove_cgroups
  rm -rf "$folder/run" "$folder/pid" "$folder/network"
}

# Only empty groups can be removed; the kernel needs a moment after the last process.
remove_cgroups() {
  local tries groups=(-path "*/$cgroup*")
  [[ $name != podman-* ]] || groups=('(' -path "*/$cgroup*" -o -path '*/libpod_parent*' ')')
  for ((tries = 0; tries < 20; tries++)); do
    [ -n "$(find /sys/fs/cgroup -type d "${groups[@]}" -print -quit 2>/dev/null)" ] || return 0
    find /sys/fs/cgroup -depth -type d "${groups[@]}" -exec rmdir {} + 2>/dev/null || true
    sleep 0.1
  done
}

# What tests read: tests/engines/mod.rs. Those of a Swarm have no other prefixes.
environment() {
  local prefix
  if [ ${#nodes[@]} -gt 0 ]; then
    each_node node_environment
    printf 'export DAYFLY_TEST_SWARM_HOST_ADDRESS=%s\n' "$host_address"
    return
  fi
  for prefix in "$@"; do
    printf 'export %s=unix://%s\n' "DAYFLY_TEST_${prefix}ENGINE" "$socket"
    printf 'export %s=%s\n' "DAYFLY_TEST_${prefix}HOST_ADDRESS" "$host_address"
  done
}

# The second file has the process id of the node's dockerd; each start writes it.
node_environment() {
  printf 'export %s=unix://%s\n' "DAYFLY_TEST_SWARM_${node^^}" "$socket"
  printf 'export %s=%s\n' "DAYFLY_TEST_SWARM_${node^^}_PID" "$folder/run/engine.pid"
}
