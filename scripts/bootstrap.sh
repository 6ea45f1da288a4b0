#!/usr/bin/env bash
# Makes the environment that a command needs, once:  scripts/bootstrap.sh [base|dev|peers]
#
#   base   .venv with mio_jax and what the quickstart needs
#   dev    the same and the test tools
#   peers  .venv-peers with the other implementations that benchmarks compare with
#
# A finished installation is remembered by a stamp (a hash of setup.py, the constraints and the extra), so a second
# call returns at once; an interrupted one goes on, with pip's cache. Every failure is one line and exit status 1.
# Settings from outside: PYTHON (interpreter to use), MIO_NEED_MB (free disk asked for), and all of pip's own.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

what="${1:-base}"
venv=".venv"
case "$what" in
  base) target=(-e .) ;;
  dev) target=(-e ".[dev]") ;;
  peers) venv=".venv-peers" && target=(-r benchmarks/requirements-peers.txt) ;;
  *) echo "error: scripts/bootstrap.sh takes base, dev or peers, not '$what'" >&2 && exit 1 ;;
esac

fail() {
  echo "error: $*" >&2
  exit 1
}

# Prints "3.11" for an interpreter that can run us, nothing otherwise. A pyenv shim of a version that is not
# selected exists and fails, which is why it is run and not only looked up.
version_of() {
  "$1" -c 'import sys; v = sys.version_info; print(f"{v[0]}.{v[1]}") if v >= (3, 11) else None' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3 python python3.13 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[1-9].*/bin/python; do
    if [ -n "$(version_of "$candidate")" ]; then
      echo "$candidate"
      return
    fi
  done
}

# Changes with everything that the installation depends on, the folder included (an editable install names it).
hash_of() {
  "$1" - "${@:2}" <<'PY'
import hashlib, pathlib, sys
digest = hashlib.sha256(f"{sys.version_info[:2]} {pathlib.Path.cwd()}".encode())
for name in sys.argv[1:]:
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
PY
}

# ------------------------------------------------------------------------------------------ the interpreter
if [ -x "$venv/bin/python" ] && [ -n "$(version_of "$venv/bin/python")" ]; then
  python="$venv/bin/python"
else
  python="$(find_python)"
  [ -n "$python" ] || fail "no Python 3.11 or newer found (looked for python3.11, python3.12, python3 and pyenv's versions); install one, or name it: make PYTHON=/path/to/python3.11 ..."
fi
constraints="constraints/py$(version_of "$python" | tr -d .).txt"
[ -f "$constraints" ] || constraints=""
inputs=(setup.py pyproject.toml)
[ "$what" = peers ] && inputs=(benchmarks/requirements-peers.txt) && constraints=""
key="$(hash_of "$python" "${inputs[@]}" ${constraints:+"$constraints"})" || fail "$python does not run"

# dev holds all of base, so either stamp will do for base.
for stamp in "$what" $([ "$what" = base ] && echo dev); do
  if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/.stamp-$stamp" 2>/dev/null)" = "$key" ]; then exit 0; fi
done

# ------------------------------------------------------------------------------------------ room to install
need_mb=4000
ls "$venv"/.stamp-* > /dev/null 2>&1 && need_mb=1000 # most of it is there already
need_mb="${MIO_NEED_MB:-$need_mb}"
free_mb="$(df -Pm . 2>/dev/null | awk 'NR == 2 { print $4 }')"
if [ -n "$free_mb" ] && [ "$free_mb" -lt "$need_mb" ]; then
  fail "the disk is too full: installing needs $need_mb MB in $PWD, and $free_mb MB are free"
fi

# ------------------------------------------------------------------------------------------ install
began="$(date +%s)"
remember_time() { # adds up over interrupted attempts
  [ -d "$venv" ] || return 0
  local before
  before="$(cat "$venv/.install-seconds" 2>/dev/null || echo 0)"
  echo $((before + $(date +%s) - began)) > "$venv/.install-seconds"
}
trap remember_time EXIT

log="${TMPDIR:-/tmp}/mio-install-$$.log"
if ! "$venv/bin/python" -m pip --version > /dev/null 2>&1; then
  echo "making $venv with $("$python" --version 2>&1)"
  if ! "$python" -m venv --clear "$venv" > "$log" 2>&1; then
    grep -q "No space left" "$log" && fail "the disk is full: could not make $venv"
    fail "could not make $venv with $python: $(tail -n 1 "$log") (on Debian and Ubuntu: apt install python3-venv)"
  fi
fi

show() { # one moving line on a terminal, the large downloads elsewhere
  if [ -t 1 ]; then
    awk '/^(Collecting|Installing|Building| *Downloading)/ { printf "\r\033[K  %.100s", $0; fflush() } END { printf "\r\033[K" }'
  else
    awk '/^ *Downloading/ && /\([0-9][0-9][0-9.]* MB\)/ || /^Installing collected/ { printf "  %.100s\n", $0; fflush() }'
  fi
}

echo "installing packages into $venv (once; about 3.5 GB, a few minutes)"
"$venv/bin/python" -m pip install --disable-pip-version-check ${constraints:+-c "$constraints"} "${target[@]}" 2>&1 | tee "$log" | show
if [ "${PIPESTATUS[0]}" -ne 0 ]; then
  cp "$log" "$venv/install.log" 2>/dev/null
  if grep -qE "No space left on device|Errno 28" "$log"; then
    fail "the disk is full: pip could not install into $venv; free some space and run the same command again"
  fi
  if grep -qE "NewConnectionError|ConnectTimeout|Name or service not known|name resolution|Network is unreachable|Connection refused|ProxyError|Read timed out|ReadTimeout" "$log"; then
    fail "no network: pip could not reach its package index; connect (or set PIP_INDEX_URL) and run the same command again"
  fi
  if grep -q "from versions: none" "$log"; then
    fail "pip found no version at all of $(sed -n 's/.*requirement \([^ ]*\).*from versions: none.*/\1/p' "$log" | head -n 1); is its package index reachable? (log: $venv/install.log)"
  fi
  fail "pip could not install into $venv: $(grep -E '^ *(ERROR|error)' "$log" | head -n 1 | cut -c1-200) (log: $venv/install.log)"
fi
rm -f "$log"
echo "$key" > "$venv/.stamp-$what"
