#!/usr/bin/env bash
# inside.sh FOLDER NAME NODE: the first process of an engine's namespaces. Makes the unpacked packages its root, and
# runs the engine. Everything in the namespaces ends with it. Started by `start`, never by itself.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
engine "${@:2}"

# `up` connects the network namespace first: an engine reads its addresses when it starts.
until [ -e "$folder/network" ]; do sleep 0.05; done

mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
# Tests mount folders of theirs.
mount --rbind /tmp "$root/tmp"
mount --bind "$folder/data" "$root/var/lib"
mkdir -p "$root/run/engine"
mount --bind "$folder/run" "$root/run/engine"
[ ! -d /lib/modules ] || mount --bind /lib/modules "$root/usr/lib/modules"
if [[ $name = podman-* ]] && mountpoint --quiet "$root/sys/fs/cgroup/unified"; then
  # crun refuses a machine where cgroup v1 and v2 are both mounted.
  umount "$root/sys/fs/cgroup/unified"
fi
cd "$root"
pivot_root . oldroot
umount --lazy /oldroot
hash -r
export HOME=/root PATH=/usr/sbin:/usr/bin
cd /
[ -z "$node" ] || printf '%s\n' "$node" >/proc/sys/kernel/hostname

case $name in
docker-* | swarm-*)
  # Two GPUs that are none, by the Container Device Interface: containers get a variable.
  mkdir -p /etc/cdi /etc/docker
  printf '%s\n' '{ "features": { "cdi": true } }' >/etc/docker/daemon.json
  gpu() { printf '{ "name": "%s", "containerEdits": { "env": ["DAYFLY_FAKE_GPU=%s"] } }' "$1" "$1"; }
  printf '{ "cdiVersion": "0.5.0", "kind": "dayfly.test/gpu", "devices": [%s, %s] }\n' "$(gpu 0)" "$(gpu 1)" \
    >/etc/cdi/dayfly.json
  # A task's image is asked for in a registry even where it is present, and that takes minutes without a network.
  export DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1
  # Registries of tests are on this machine, without TLS.
  engine=(dockerd --data-root /var/lib/docker --cgroup-parent "/$cgroup" --insecure-registry "$host_address/32"
    --host unix:///run/engine/engine.sock --host unix:///run/docker.sock)
  if [ -n "$node" ]; then
    # The machine outlives its engine; `node start` starts another.
    mkfifo /run/engine/start
    while true; do
      "${engine[@]}" &
      wait $! || true
      read -r </run/engine/start
    done
  fi
  "${engine[@]}" &
  ;;
podman-*)
  mkdir -p /etc/containers
  printf '%s\n' '{ "default": [{ "type": "insecureAcceptAnything" }] }' >/etc/containers/policy.json
  printf '%s\n' '[engine]' 'cgroup_manager = "cgroupfs"' 'events_logger = "file"' 'runtime = "crun"' \
    >/etc/containers/containers.conf
  printf '%s\n' 'unqualified-search-registries = ["localhost"]' '[[registry]]' "location = \"$host_address\"" \
    'insecure = true' >/etc/containers/registries.conf
  printf '%s\n' '[storage]' 'driver = "overlay"' 'graphroot = "/var/lib/containers/storage"' \
    'runroot = "/run/containers/storage"' >/etc/containers/storage.conf
  export PODMAN_IGNORE_CGROUPSV1_WARNING=1
  # As systemd does it: readers of events can crash the service (libpod/events/logfile.go), and containers run on.
  while true; do
    podman system service --time=0 unix:///run/engine/engine.sock || sleep 0.2
    rm -f /run/engine/engine.sock
  done &
  ;;
esac
# A shell reaps what containers leave behind.
wait $!
