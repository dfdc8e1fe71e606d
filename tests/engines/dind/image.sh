# Sourced by `up`: an image with a Docker Engine and the docker command, to be used as docker:dind is.
# shellcheck shell=bash

# Programs of the unpacked packages that an engine inside a container needs.
dind_programs=(
  usr/sbin/{dockerd,docker-proxy,runc,xtables-nft-multi,xtables-legacy-multi} usr/bin/{docker,docker-init,tini-static,containerd,containerd-shim-runc-v2}
  usr/bin/{bash,sh,cat,chmod,chown,cp,env,id,ln,ls,mkdir,mktemp,mount,mv,nproc,rm,sleep,stat,tail,touch,uname,wc}
)

# Makes $dind_tar, the image's files as a tar archive. It is made again when this folder changes.
dind_archive() {
  local folder=$work/dind part program library loader
  dind_tar=$folder/$(cat "$here"/dind/* | sha256sum | cut -c 1-16).tar
  [ ! -e "$dind_tar" ] || return 0
  unpack "$folder" docker.io docker-cli iptables bash coreutils mount
  part=$folder/image
  loader=$(cd "$folder/root" && echo usr/lib/*/ld-linux*.so.*)
  rm -rf "$part"
  mkdir -p "$part"/{dev,etc,proc,root,run,sys,tmp} "$part"/usr/{bin,sbin,lib,lib64} "$part"/usr/lib/dind/legacy "$part"/var/{lib/docker,tmp}
  for program in bin sbin lib lib64; do ln -s "usr/$program" "$part/$program"; done
  ln -s /run "$part/var/run"
  for program in "${dind_programs[@]}"; do
    cp --archive "$folder/root/$program" "$part/$program"
    [ ! -L "$folder/root/$program" ] || continue
    # With the loader of the packages: this machine's has other libraries. Static programs need none.
    chroot "$folder/root" "/$loader" --verify "/$program" || continue
    chroot "$folder/root" "/$loader" --list "/$program" |
      awk '{ for (i = 1; i <= NF; i++) if ($i ~ "^/") print $i }'
  done | sort --unique | while read -r library; do
    mkdir -p "$part/$(dirname "$library")"
    cp --dereference "$folder/root$library" "$part$library"
  done
  cp --archive "$folder"/root/usr/lib/*/xtables "$(echo "$part"/usr/lib/*-linux-gnu)/"
  cp "$folder"/root/etc/{passwd,group} "$part/etc/"
  cp "$folder/root/usr/lib/os-release" "$part/usr/lib/"
  printf 'docker:x:999:\n' >>"$part/etc/group"
  for program in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -s xtables-nft-multi "$part/usr/sbin/$program"
    ln -s ../../../sbin/xtables-legacy-multi "$part/usr/lib/dind/legacy/$program"
  done
  cp "$here/dind/entrypoint" "$part/usr/bin/dockerd-entrypoint.sh"
  tar --create --numeric-owner --owner=0 --group=0 --directory "$part" --file "$dind_tar.part" .
  rm -rf "$part" "$folder/root" "$folder"/*.tar
  mv "$dind_tar.part" "$dind_tar"
}

# Brings the image onto the engine, unless it is there.
load_dind_image() {
  dind_archive
  local api=http://engine/v1.41 changes
  changes='changes=ENTRYPOINT+%5B%22dockerd-entrypoint.sh%22%5D'
  changes+='&changes=VOLUME+%2Fvar%2Flib%2Fdocker'
  changes+='&changes=ENV+PATH%3D%2Fusr%2Fsbin%3A%2Fusr%2Fbin%3A%2Fsbin%3A%2Fbin'
  curl --silent --show-error --fail --unix-socket "$socket" --header 'Content-Type: application/x-tar' \
    --request POST --upload-file "$dind_tar" \
    "$api/images/create?fromSrc=-&repo=${dind_image%:*}&tag=${dind_image#*:}&$changes" >/dev/null
}
