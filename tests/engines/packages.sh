# Sourced by `up`: unpacks Debian packages of another release into a folder. Nothing is installed on this machine.
# shellcheck shell=bash

# apt-get with lists, cache and status of its own.
apt() {
  local folder=$work/apt-$suite
  apt-get --quiet=2 \
    --option Dir::Etc::SourceList="$folder/sources.list" --option Dir::Etc::SourceParts=/dev/null \
    --option Dir::State::Lists="$folder/lists" --option Dir::State::Status="$folder/status" \
    --option Dir::Cache="$folder/cache" --option APT::Install-Recommends=false \
    --option APT::Sandbox::User=root --option Acquire::Languages=none --option Acquire::Retries=3 "$@"
}

# The release comes from the archive that this machine has its own packages from.
lists() {
  local folder=$work/apt-$suite uri keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [ ! -e "$folder/listed" ] || return 0
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
  : >"$folder/status"
  uri=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" { print $4; exit }')
  [ -n "$uri" ] || unavailable "the apt sources of this machine have no Debian archive (or run apt-get update first)"
  [ -e "$keyring" ] || unavailable "$keyring does not exist; install debian-archive-keyring"
  printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$suite" >"$folder/sources.list"
  apt update || unavailable "cannot read the package lists of Debian $suite"
  touch "$folder/listed"
}

# unpack FOLDER PACKAGE...: the packages and all that they need, below FOLDER/root. Complete once FOLDER/root exists.
unpack() {
  local folder=$1 part=$1/root.part file
  shift
  [ ! -d "$folder/root" ] || return 0
  lists
  say "downloading and unpacking: $*"
  # The lists may be older than the archive.
  apt --yes --download-only install "$@" >&2 ||
    { apt update && apt --yes --download-only install "$@" >&2; } || unavailable "cannot download: $*"
  rm -rf "$part"
  mkdir -p "$part"
  # `Inst NAME (VERSION …`; in the name of its file a colon of the version is escaped.
  apt --simulate --yes install "$@" |
    awk '$1 == "Inst" { sub(/^\(/, "", $3); gsub(/:/, "%3a", $3); print $2 "_" $3 }' >"$folder/packages"
  while read -r file; do
    set -- "$work/apt-$suite/cache/archives/$file"_*.deb
    dpkg --fsys-tarfile "$1" | tar --extract --keep-directory-symlink --directory "$part"
  done <"$folder/packages"
  rm -rf "$part"/usr/share/{doc,man,locale,info,i18n} "$part"/usr/lib/*/gconv "$part"/usr/bin/ctr
  mkdir -p "$part"/{dev,oldroot,proc,run,sys,tmp,usr/lib/modules} "$part"/var/{lib,tmp}
  rm -rf "$part/var/run"
  ln -s /run "$part/var/run"
  printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n' \
    >"$part/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$part/etc/group"
  : >"$part/etc/resolv.conf"
  [ -e "$part/usr/bin/sh" ] || ln -s bash "$part/usr/bin/sh"
  firewall "$part"
  ldconfig -r "$part"
  mv "$part" "$folder/root"
}

# The scripts that choose between the two kinds of iptables have not run. The kernel may have only one of them.
firewall() {
  local command kind=nft
  iptables-nft --table nat --list >/dev/null 2>&1 || kind=legacy
  for command in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -sfn "xtables-$kind-multi" "$1/usr/sbin/$command"
  done
}
