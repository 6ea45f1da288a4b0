#!/usr/bin/env bash
# Fetches transcribed human speech from Debian's packages and unpacks it, without root:  scripts/fetch_speech.sh DIR [SET...]
#
#   asterisk   DIR/asterisk: 24 minutes of studio prompts, one voice (asterisk-core-sounds-en-wav, CC BY-SA 3.0, 18 MB)
#   tuxpaint   DIR/tuxpaint: spoken names of things in ten languages (tuxpaint-stamps-default, GPL-2, 153 MB)
#
# By default asterisk alone. It needs apt-get and dpkg-deb, as Debian and Ubuntu have them, and their package lists
# (`apt-get update`). A set that is already there is left alone. Upstream's list of what the prompts say is no part of
# the package: put core-sounds-en.txt into DIR/asterisk, or only those are read whose file names tell their words.
set -euo pipefail

fail() {
  echo "error: $*" >&2
  exit 1
}

[ $# -ge 1 ] || fail "scripts/fetch_speech.sh DIR [asterisk] [tuxpaint]"
target="$1"
shift
[ $# -ge 1 ] || set -- asterisk
for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || fail "there is no $tool here; fetch the packages on a Debian or Ubuntu machine"
done

for name in "$@"; do
  case "$name" in
    asterisk) package=asterisk-core-sounds-en-wav ;;
    tuxpaint) package=tuxpaint-stamps-default ;;
    *) fail "there is no set '$name'; there are asterisk and tuxpaint" ;;
  esac
  if [ -d "$target/$name/usr/share" ]; then
    echo "$target/$name: there already"
    continue
  fi
  mkdir -p "$target/$name"
  partial="$(mktemp -d "$target/.fetch.XXXXXX")"
  trap 'rm -rf "$partial"' EXIT
  (cd "$partial" && apt-get download -q "$package") || fail "apt-get cannot download $package; is the network there?"
  dpkg-deb -x "$partial"/*.deb "$partial/root" || fail "$package cannot be unpacked"
  mv "$partial/root/usr" "$target/$name/usr"
  rm -rf "$partial"
  echo "$target/$name: made"
done
