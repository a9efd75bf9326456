#!/usr/bin/env bash
# Runs the tests on another Debian release, with its Python, git and git-lfs instead of this machine's.
#
#   scripts/test_on_debian.sh trixie [PYTEST-ARGUMENT...]     Python 3.13, git 2.47, git-lfs 3.6
#
# As root, with debootstrap.  The system is made once below DIRECTORY, with a clone of this checkout's last commit, and
# used again.  Guild 0.9 needs an older Python than such a release has: this machine's /usr/bin/python3.11 goes along.
# All mounts are in a namespace of their own, and end with it.
#
# DIRECTORY  where the system is kept (default: /var/tmp/gitrun-RELEASE)
# MIRROR     where its packages come from
set -euo pipefail
release=${1:?"usage: $0 RELEASE [PYTEST-ARGUMENT...]"}
shift
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
root=${DIRECTORY:-/var/tmp/gitrun-$release}
packages=python3,python3-venv,python3-dev,git,ca-certificates,procps

[ "$(id -u)" = 0 ] || { echo "$0: must be root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "$0: apt-get install debootstrap" >&2; exit 1; }
if [ ! -e "$root/made" ]; then
  debootstrap --variant=minbase --include="$packages" "$release" "$root" "${MIRROR:-http://deb.debian.org/debian}" >&2
  cp -a /usr/bin/python3.11 "$root/usr/bin/"
  cp -a /usr/lib/python3.11 "$root/usr/lib/"
  touch "$root/made"
fi
for file in /etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
  [ ! -e "$file" ] || cp -L "$file" "$root$file"
done
rm -rf "$root/src/gitrun"
mkdir -p "$root/src"
git clone -q --no-hardlinks "$top" "$root/src/gitrun"

# SIGINT may be ignored in what a shell starts in the background; tests interrupt their children with it.
exec env --default-signal=INT unshare --mount --pid --fork bash -c '
  set -euo pipefail
  root=$1; shift
  mount --bind "$root" "$root"  # a root that is a mount point: tests make namespaces of their own in it
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount --rbind /sys "$root/sys"
  exec chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin GITRUN_TOOLS=/opt/gitrun-tools bash -c "
    cd /src/gitrun
    tools=\$(scripts/setup_tools.sh)
    \$tools/gitrun/bin/python -c \"import sys; print(sys.version)\"; git --version; git lfs version
    exec \$tools/gitrun/bin/python -m pytest -q -p no:cacheprovider \"\$@\"" tests "$@"' tests "$root" "$@"
