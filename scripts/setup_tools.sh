#!/usr/bin/env bash
# Gets what the tests need and is not there yet; prints the directory of the tools on stdout, all else on stderr.
#
#   scripts/setup_tools.sh
#
# Debian packages (as root, with apt-get), and three virtual environments below the tools directory:
#   gitrun/   gitrun itself with its test and lint tools: editable where everybody can read the checkout, else a copy
#   guild/    Guild AI, whose real runs the tests lock
#   servers/  giftless, a git-lfs server, and moto, which plays S3
# Some tests act as a user who is not root, so that every user must be able to run both Pythons.
#
# GITRUN_TOOLS  the tools directory (default: .tools in the checkout, or below /var/tmp where others cannot read that)
# PYTHON        the Python for gitrun, 3.11 or newer
# GUILD_PYTHON  the Python for Guild, 3.8 to 3.11: newer ones cannot run Guild 0.9
set -euo pipefail
exec 3>&1 >&2 </dev/null
umask 022
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export PATH=$PATH:/usr/sbin:/sbin PIP_DISABLE_PIP_VERSION_CHECK=1

# Guild 0.9 imports pkg_resources, which setuptools 82 dropped; with click 8.3 its pipelines are noisy.
guild_requirements=('guildai==0.9.0' 'setuptools<82' 'click<8.3')

# giftless names none of what it needs, and its tokens have an empty subject, which PyJWT 2.10 does not take.
server_requirements=('giftless==0.6.2' figcan flask-classful flask-marshmallow webargs python-dateutil 'pyjwt<2.10'
  cryptography cachetools python-dotenv pyyaml 'moto[server]>=5')

# command:package, for each program that the tests run
programs=(git:git git-lfs:git-lfs strace:strace setfacl:acl setfattr:attr gcc:gcc setpriv:util-linux mount:mount
  setcap:libcap2-bin mkfs.ext4:e2fsprogs chattr:e2fsprogs mkfs.btrfs:btrfs-progs mkfs.xfs:xfsprogs bindfs:bindfs patch:patch rsync:rsync sshd:openssh-server ssh:openssh-client unshare:util-linux losetup:mount)

main() {
  local missing tools
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} = 0 ] || install "${missing[@]}"
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} = 0 ] || fail "these packages could not be had: ${missing[*]}"

  tools=$(tools_directory)
  mkdir -p "$tools"
  [ -O "$tools" ] && [ ! -L "$tools" ] || fail "$tools belongs to somebody else"
  as_other test -x "$tools" || fail "other users cannot reach $tools; set GITRUN_TOOLS to a directory that they can"
  exec 9>"$tools/guard"
  flock 9
  gitrun_environment "$tools/gitrun"
  guild_environment "$tools/guild"
  server_environment "$tools/servers"
  echo "$tools" >&3
}

fail() { echo "setup_tools: $*"; exit 1; }

# Runs a command as somebody who is not root.  setpriv itself may still start a program where only root can reach; env,
# which it starts, may not.
as_other() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups env -- "$@"; else "$@"; fi
}

missing_packages() {
  local pair
  for pair in "${programs[@]}"; do
    command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
  done | sort -u
  [ -e /usr/include/stdlib.h ] || echo libc6-dev
}

install() {
  [ "$(id -u)" = 0 ] || fail "missing; as root: apt-get install $*"
  command -v apt-get >/dev/null || fail "missing, and there is no apt-get to install them: $*"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "$@" || fail "apt-get could not install: $*"
}

tools_directory() {
  if [ -n "${GITRUN_TOOLS:-}" ]; then
    realpath -m "$GITRUN_TOOLS"
  elif as_other test -x "$top"; then
    echo "$top/.tools"
  else
    echo "/var/tmp/gitrun-tools-$(id -u)"
  fi
}

gitrun_environment() {
  local python state how=()
  python=$(find_python 11 99 "${PYTHON:-}" python3.11-venv) || fail "gitrun needs a Python of 3.11 or newer that every user can run; name it in PYTHON"
  as_other test -x "$top" && how=(--editable)
  state="$python ${how[*]} $top $(cat "$top/setup.cfg" "$top/pyproject.toml" | sha256sum)"
  is_made "$1" "$state" || {
    make_environment "$1" "$python" "${how[@]}" "$top[dev]"
    echo "$state" >"$1/made"
    return
  }
  # A copy is old by now.  Left-overs of an earlier build would be installed with it.
  [ ${#how[@]} -gt 0 ] || { rm -rf "$top/build" && "$1/bin/pip" install -qq --no-deps --force-reinstall "$top"; }
}

guild_environment() {
  local python state
  python=$(find_python 8 11 "${GUILD_PYTHON:-}" python3.11-venv) || fail "Guild AI 0.9 needs a Python of 3.8 to 3.11 that every user can run; name it in GUILD_PYTHON"
  state="$python ${guild_requirements[*]}"
  is_made "$1" "$state" || {
    make_environment "$1" "$python" "${guild_requirements[@]}"
    echo "$state" >"$1/made"
  }
  as_other env -i PATH="$1/bin:/usr/bin:/bin" HOME=/nonexistent "$1/bin/guild" --version || fail "Guild AI does not start"
}

server_environment() {
  local python state
  python=$(find_python 10 13 "" python3.11-venv) || fail "giftless needs a Python of 3.10 or newer that every user can run"
  state="$python ${server_requirements[*]}"
  is_made "$1" "$state" || {
    make_environment "$1" "$python" "${server_requirements[@]}"
    echo "$state" >"$1/made"
  }
}

is_made() { [ -e "$1/made" ] && [ "$(cat "$1/made")" = "$2" ]; }

make_environment() { # DIRECTORY PYTHON PIP-ARGUMENT...
  rm -rf "$1"
  "$2" -m venv "$1"
  "$1/bin/pip" install -qq "${@:3}"
}

# The first Python 3.LOW to 3.HIGH that everybody can run and that can make virtual environments.
find_python() { # LOW HIGH NAMED PACKAGE
  if [ -n "$3" ]; then
    suits "$3" "$1" "$2" && echo "$3"
    return
  fi
  candidate "$1" "$2" && return
  # Debian keeps the half that makes virtual environments in a package of its own.
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  { (install "$4") || (install python3-venv); } >&2 && candidate "$1" "$2"
}

candidate() { # LOW HIGH
  local minor directory
  for minor in 11 12 13 14 10 9 8; do
    for directory in $(tr : ' ' <<<"$PATH") /usr/local/bin /usr/bin; do
      suits "$directory/python3.$minor" "$1" "$2" && echo "$directory/python3.$minor" && return
    done
  done
  return 1
}

suits() { # PYTHON LOW HIGH
  [ -x "$1" ] && as_other "$1" -c "
import sys, ensurepip, venv; ensurepip.version()
sys.exit(not (3, $2) <= sys.version_info[:2] <= (3, $3))" 2>/dev/null
}

main
