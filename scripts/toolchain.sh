# Sourced by scripts/setup and scripts/lock: finds Python and uv.
# shellcheck shell=bash

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
  say "$@"
  exit 1
}

# Prints the path of a Python that can run the project; $PYTHON, if set, is the only candidate.
find_python() {
  local name found candidates=(python3.13 python3.12 python3.11 python3)
  [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
  for name in "${candidates[@]}"; do
    found=$("$name" -c '
import sys
if (3, 11) <= sys.version_info[:2] < (3, 14):
    print(sys.executable)' 2>/dev/null) || continue
    [ -z "$found" ] || { printf '%s\n' "$found" && return; }
  done
  die "no Python 3.11, 3.12 or 3.13 among: ${candidates[*]};" \
    "install one, or name it: PYTHON=/path/to/python $0"
}

# Prints uv's path: the one on PATH, or else the project's copy, which pip installs by checksum. `--target` needs
# neither the venv module nor permission to write into the system's Python.
find_uv() {
  local python=$1
  if uv --version >/dev/null 2>&1; then
    command -v uv
    return
  fi
  if ! cmp -s requirements-uv.txt .uv/made-from || ! .uv/bin/uv --version >/dev/null 2>&1; then
    "$python" -m pip --version >/dev/null 2>&1 ||
      die "neither uv nor pip here; install one of them ($python has no pip module)"
    say "installing uv"
    rm -rf .uv
    PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --retries 2 --disable-pip-version-check --no-deps --require-hashes \
      --only-binary :all: --target .uv -r requirements-uv.txt >&2 ||
      die "pip could not install uv (see above); the first run needs a package index: go online, or set PIP_INDEX_URL"
    cp requirements-uv.txt .uv/made-from
  fi
  printf '%s\n' "$PWD/.uv/bin/uv"
}

# Passes pip's index and certificates to uv, which does not read pip's configuration.
share_pip_settings() {
  local python=$1 value
  if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
    value=${PIP_INDEX_URL:-$("$python" -m pip config get global.index-url 2>/dev/null || true)}
    [ -z "$value" ] || export UV_DEFAULT_INDEX="$value"
  fi
  if [ -z "${SSL_CERT_FILE:-}" ]; then
    value=${PIP_CERT:-$("$python" -m pip config get global.cert 2>/dev/null || true)}
    [ -z "$value" ] || export SSL_CERT_FILE="$value"
  fi
}
