# Sourced by `up` and `node`: how an engine is started, and how two of them become a Swarm.
# shellcheck shell=bash

# Connects the network namespace of a process with this machine.
connect() {
  # The same each time, as that of a real machine: others remember it.
  local net=(nsenter "--net=/proc/$1/ns/net") mac=02:00:00:00:$number:0${engine_address##*.}
  "${switch[@]}" ip link add "$link" type veth peer name uplink address "$mac" netns "$1"
  if [ -n "$node" ]; then
    "${switch[@]}" ip link set "$link" master switch
  else
    ip address add "$host_address/24" dev "$link"
  fi
  "${switch[@]}" ip link set "$link" up
  "${net[@]}" ip link set lo up
  "${net[@]}" ip address add "$engine_address/24" dev uplink
  "${net[@]}" ip link set uplink up
  "${net[@]}" ip route add default via "$host_address"
}

start() {
  local pid tries
  mkdir -p "$folder/run" "$folder/data"
  setsid bash -c 'echo $$ >"$1"; shift; exec "$@"' start "$folder/pid" \
    unshare --mount --net --pid --ipc --uts --fork --kill-child --propagation private -- \
    "$here/inside.sh" "$folder" "$name" "$node" >"$folder/log" 2>&1 </dev/null 9>&- &
  disown
  for ((tries = 0; tries < 100; tries++)); do
    if pid=$(leader) && [ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ]; then
      connect "$pid"
      touch "$folder/network"
      break
    fi
    sleep 0.05
  done
  wait_for_engine
}

wait_for_engine() {
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    if responds; then
      [ -z "$node" ] || pgrep --parent "$(pgrep --parent "$(leader)")" --exact dockerd >"$folder/run/engine.pid"
      return 0
    fi
    leader >/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$folder/log" >&2
  die "${name}${node:+-$node} did not start; its log is $folder/log"
}

start_swarm() {
  local tries
  make_switch
  each_node start
  each_node join
  for ((tries = 0; tries < 300; tries++)); do
    ! responds || return 0
    sleep 0.1
  done
  die "the nodes of $name did not become ready; their logs are $folder/*/log"
}

# A network namespace with a bridge, for one address of this machine that all nodes reach. A bridge on the machine
# itself would not do: its packet filter may drop what goes from one node to the other.
make_switch() {
  local inside=(nsenter "--net=$folder/switch")
  touch "$folder/switch"
  unshare "--net=$folder/switch" true
  "${inside[@]}" ip link add switch type bridge
  "${inside[@]}" ip link set switch up
  ip link add "$link" type veth peer name machine netns "$folder/switch"
  "${inside[@]}" ip link set machine master switch up
  ip address add "$host_address/24" dev "$link"
  ip link set "$link" up
}

# Makes the manager the first node of a Swarm, or brings another one into it.
join() {
  local manager path=/swarm/init body token
  body="\"ListenAddr\": \"$engine_address:2377\", \"AdvertiseAddr\": \"$engine_address\""
  if [ "$node" != manager ]; then
    manager=$(engine "$name" manager; printf '%s' "$engine_address")
    token=$(engine "$name" manager; ask /swarm | sed 's/.*"Worker":"\([^"]*\)".*/\1/')
    path=/swarm/join body+=", \"RemoteAddrs\": [\"$manager:2377\"], \"JoinToken\": \"$token\""
  fi
  ask "$path" --header 'Content-Type: application/json' --data "{ $body }" >/dev/null
}
