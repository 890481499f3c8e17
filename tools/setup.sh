# Set-up for ./run, which sources this file: system packages, the virtual
# environment, Bazel. Each step leaves a mark, so that the next run skips it.
#
# Sets PYTHON (of the virtual environment) and BAZEL (a small script in .run/).
# shellcheck shell=bash
#
# setup_python is all that a command without a build takes; setup_build is for
# the others.

TF_VERSION="${TF_EMBED_TF_VERSION:-2.21}"

say() { printf '[run] %s\n' "$*" >&2; }

die() {
  printf '[run] error: %s\n' "$*" >&2
  exit 1
}

# --- system packages --------------------------------------------------------

missing_packages=()

# need_package PACKAGE FILE: PACKAGE is missing unless FILE (or a command of
# that name) is there.
need_package() {
  [[ -e "$2" ]] || command -v "$2" >/dev/null || missing_packages+=("$1")
}

# Installs what need_package found missing: as root, and nobody else is asked
# for a password.
install_packages() {
  ((${#missing_packages[@]})) || return 0
  local packages="${missing_packages[*]}"
  missing_packages=()
  local line="apt-get install --no-install-recommends $packages"
  command -v apt-get >/dev/null ||
    die "missing on this machine, by their Debian names: $packages"
  [[ $EUID -eq 0 ]] ||
    die "missing system packages; install them with: sudo $line"
  say "installing system packages: $packages"
  mkdir -p .run
  # Fresh containers have no package lists; old ones have stale ones.
  # shellcheck disable=SC2086  # one word per package
  {
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install \
      -y -qq --no-install-recommends $packages
  } >.run/apt.log 2>&1 </dev/null ||
    die "'$line' failed: $(log_line .run/apt.log)"
}

# The line of a log that says most: that a server was out of reach, which pip
# goes on to call a missing package; else its last error, or its last line.
log_line() {
  grep -oE '(connection broken by|Could not fetch URL) .*' "$1" | tail -n 1 |
    grep . ||
    grep -iE '^(E:|error)' "$1" | tail -n 1 | grep . ||
    tail -n 1 "$1" || true
}

# --- Python -----------------------------------------------------------------

# find_python: prints an interpreter that the TensorFlow has wheels for.
find_python() {
  local candidate
  for candidate in ${TF_EMBED_PYTHON:-python3 python3.12 python3.11 python3.10 python3.13}; do
    if has_wheels "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# has_wheels PYTHON: whether it is one of TF_PYTHONS.
has_wheels() {
  local version
  version="$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
    2>/dev/null)" && [[ " $TF_PYTHONS " == *" $version "* ]]
}

# Names the virtual environment, .venv (.venv-2.20 for TensorFlow 2.20, ...), its
# packages and its TensorFlow's Pythons (TF_PYTHONS).
choose_venv() {
  local version pythons minor known=()
  TF_PYTHONS=""
  while read -r version pythons; do
    known+=("$version")
    if [[ "$version" == "$TF_VERSION" || "${version%.*}" == "$TF_VERSION" ]]; then
      TF_PYTHONS="$pythons"
      minor="${version%.*}"
    fi
  done < <(grep -v '^#' requirements/tensorflows.txt)
  [[ -n "$TF_PYTHONS" ]] ||
    die "TF_EMBED_TF_VERSION is '$TF_VERSION', but must be one of: ${known[*]}"
  REQUIREMENTS="requirements/tensorflow-$minor.txt"
  [[ $minor == 2.21 ]] && SUFFIX="" || SUFFIX="-$minor"
  PYTHON="$PWD/.venv$SUFFIX/bin/python"
}

# What making the virtual environment takes.
need_python() {
  local python needed="TensorFlow $TF_VERSION has wheels for Python $TF_PYTHONS"
  if [[ -x "$PYTHON" ]]; then
    has_wheels "$PYTHON" ||
      die ".venv$SUFFIX holds $("$PYTHON" -V 2>&1), but $needed; delete it, and it is made anew"
    return
  fi
  if ! python="$(find_python)"; then
    [[ -z "${TF_EMBED_PYTHON:-}" ]] ||
      die "TF_EMBED_PYTHON is '$TF_EMBED_PYTHON', but $needed"
    missing_packages+=(python3 python3-venv)
  elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null &&
    ! "$python" -m virtualenv --version >/dev/null 2>&1; then
    missing_packages+=("$("$python" -c \
      'import sys; print("python%d.%d-venv" % sys.version_info[:2])')")
  fi
}

# Makes the virtual environment and installs the pinned packages.
setup_python() {
  choose_venv
  local venv=".venv$SUFFIX" alone="${REQUIREMENTS/tensorflow-/alone-}"
  if is_installed "$venv" "$REQUIREMENTS" &&
    cmp -s "$alone" "$venv/.tf_embed_alone"; then
    return
  fi
  need_python
  install_packages
  install_into "$venv" "$REQUIREMENTS" "about 2 GB"
  if [[ -n "$SUFFIX" ]]; then
    "$PYTHON" tools/later_headers.py >>.run/pip.log 2>&1 ||
      die "could not get headers of later wheels: $(log_line .run/pip.log)"
  fi
  "$PYTHON" -m pip install --disable-pip-version-check --no-deps \
    --requirement "$alone" >>.run/pip.log 2>&1 </dev/null ||
    die "pip could not install $alone: $(log_line .run/pip.log)"
  cp "$alone" "$venv/.tf_embed_alone"
  mark_installed "$venv" "$REQUIREMENTS"
}

# is_installed VENV REQUIREMENTS: exact bytes are compared, so a pull that
# changes a pin is noticed.
is_installed() {
  [[ -x "$1/bin/python" ]] && cmp -s "$2" "$1/.tf_embed_requirements"
}

mark_installed() {
  cp "$2" "$1/.tf_embed_requirements"
}

# install_into VENV REQUIREMENTS SIZE
install_into() {
  [[ -x "$1/bin/python" ]] || make_venv "$1"
  say "installing the packages of $2 into $1 ($3; minutes)"
  mkdir -p .run
  "$1/bin/python" -m pip install --disable-pip-version-check \
    --progress-bar off --requirement "$2" 2>&1 </dev/null |
    tee .run/pip.log | show_progress ||
    die "pip could not install $2: $(log_line .run/pip.log)"
}

# Thins pip's output: on a terminal one line that changes, else one dot a
# package.
show_progress() {
  local word name rest
  while read -r word name rest; do
    [[ $word == Collecting || $word == Installing ]] || continue
    if [[ -t 2 ]]; then
      printf '\r\033[K  %s %s' "$word" "$name" >&2
    else
      printf '.' >&2
    fi
  done
  if [[ -t 2 ]]; then printf '\r\033[K' >&2; else printf '\n' >&2; fi
}

make_venv() {
  local python
  python="$(find_python)" ||
    die "TensorFlow $TF_VERSION has wheels for Python $TF_PYTHONS, and this machine has none of them; point TF_EMBED_PYTHON to one"
  say "making the virtual environment $1 with $("$python" -V)"
  if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    "$python" -m venv --clear "$1" || die "'$python -m venv $1' failed"
  else
    "$python" -m virtualenv --quiet "$1" || die "virtualenv could not make $1"
  fi
}

# --- Bazel ------------------------------------------------------------------

# All that a build takes. What the system lacks is found before anything long
# begins, so that there is one line to install it all.
setup_build() {
  [[ "$PWD" != *' '* ]] ||
    die "Bazel does not build in a folder with a space in its path: $PWD"
  choose_venv
  need_python
  need_build_tools
  install_packages
  setup_python
  setup_bazel
}

# A compiler, the headers and sources that the build takes from the system, and
# something that brings a Bazel.
need_build_tools() {
  need_package g++ "${CXX:-g++}"
  need_package googletest "${GTEST_SRC:-/usr/src/googletest}"
  local python="$PYTHON" include
  if [[ -x "$python" ]] || python="$(find_python)"; then
    include="$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')"
    need_package "$(basename "$include")-dev" "$include/Python.h"
  else
    missing_packages+=(python3-dev)
  fi
  [[ -n "${TF_EMBED_BAZEL:-}" || -e .run/bazel-program ]] ||
    [[ -n "$(debian_bazel)" ]] ||
    command -v bazelisk npm >/dev/null ||
    missing_packages+=(bazel-bootstrap)
}

# Finds a Bazel and notes it in .run/bazel-program.
setup_bazel() {
  mkdir -p .run
  local known=.run/bazel-program program
  if [[ -n "${TF_EMBED_BAZEL:-}" ]]; then
    program="$(command -v "$TF_EMBED_BAZEL")" ||
      die "TF_EMBED_BAZEL='$TF_EMBED_BAZEL' is not a program"
    [[ -e $known && "$program" == "$(<$known)" ]] || remember_bazel "$program"
  elif [[ ! -e $known || .bazelversion -nt $known || ! -x "$(<$known)" ]]; then
    choose_bazel  # as the first time, after a change, or if it went away
  fi
  BAZEL="$PWD/.run/bazel$SUFFIX"
  [[ -x "$BAZEL" && "$BAZEL" -nt $known ]] || write_bazel "$(<$known)"
}

choose_bazel() {
  local version debian bazelisk
  version="$(<.bazelversion)"
  debian="$(debian_bazel)"
  if bazelisk="$(find_bazelisk)"; then
    say "fetching Bazel $version with bazelisk"
    if fetches "$bazelisk" "${debian:+15}"; then
      remember_bazel "$bazelisk"
      return
    fi
    say "bazelisk could not fetch Bazel $version; taking Debian's Bazel"
  fi
  if [[ -z "$debian" ]]; then
    missing_packages+=(bazel-bootstrap)
    install_packages
    debian="$(debian_bazel)"
    [[ -n "$debian" ]] || die "package bazel-bootstrap brought no Bazel"
  fi
  remember_bazel "$debian"
}

# The Bazel of Debian's package bazel-bootstrap, if installed. Its wrapper
# /usr/bin/bazel misreads version variables; the binary has a number.
debian_bazel() {
  compgen -G '/usr/bin/bazel-[0-9]*' | sort -V | tail -n 1 || true
}

# Prints a bazelisk: the user's own, or npm's package, which holds the program.
find_bazelisk() {
  command -v bazelisk && return
  npm_package bazelisk 1.28.1 bazelisk-linux_amd64
}

# npm_package NAME VERSION PROGRAM: prints the path of a program of
# @bazel/NAME, installed into .run/ if need be.
npm_package() {
  local program="$PWD/.run/node_modules/@bazel/$1/$3"
  if ! grep -qs "\"version\": \"$2\"" "$(dirname "$program")/package.json"; then
    command -v npm >/dev/null || return 1
    mkdir -p .run
    timeout 120 npm install --prefix .run --no-save --no-package-lock \
      --no-audit --no-fund "@bazel/$1@$2" >.run/npm.log 2>&1 </dev/null ||
      return 1
  fi
  [[ -x "$program" ]] && printf '%s\n' "$program"
}

# fetches BAZELISK [SECONDS]: whether it comes by the wanted Bazel. Where the
# network drops packets that takes minutes to fail, so with SECONDS given, no
# byte after SECONDS counts as failed.
fetches() {
  local cache="${BAZELISK_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/bazelisk}"
  local before pid second
  mkdir -p "$cache"
  before="$(du -s "$cache" | cut -f1)"
  "$1" --version >.run/bazelisk.log 2>&1 </dev/null &
  pid=$!
  for ((second = 0; second < ${2:-0}; second++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 1
  done
  if [[ -n "${2:-}" && "$(du -s "$cache" | cut -f1)" == "$before" ]]; then
    kill "$pid" 2>/dev/null || true
  fi
  wait "$pid"
}

# remember_bazel PROGRAM: settles on a Bazel, with the options that its version
# needs. Older ones do not know these, and .bazelrc is for all.
remember_bazel() {
  local known option
  known="$("$1" help build --long 2>/dev/null)" ||
    die "'$1' does not work; is it Bazel?"
  say "using Bazel at $1"
  : >.run/bazelrc
  for option in noenable_bzlmod enable_workspace; do
    if grep -q -- "--\[no\]${option#no}" <<<"$known"; then
      echo "common --$option" >>.run/bazelrc
    fi
  done
  printf '%s\n' "$1" >.run/bazel-program
}

# write_bazel PROGRAM: writes .run/bazel (.run/bazel-2.20, ...), which runs
# PROGRAM for the TensorFlow of this virtual environment.
write_bazel() {
  local lines="exec '$1' \"\$@\""
  if [[ -n "$SUFFIX" ]]; then
    # Outputs with another name, so that two TensorFlows do not undo each
    # other's builds.
    lines="export PYTHON_BIN_PATH='$PYTHON'
command=\$1
case \$command in
  build | test | run | info | aquery | cquery)
    shift
    exec '$1' \"\$command\" --platform_suffix=-tf$SUFFIX \"\$@\"
    ;;
esac
$lines"
  fi
  printf '#!/bin/sh\n# Written by ./run from .run/bazel-program.\n%s\n' \
    "$lines" >"$BAZEL.new"
  chmod +x "$BAZEL.new"
  mv "$BAZEL.new" "$BAZEL"
}

# --- benchmarks -------------------------------------------------------------

# setup_benchmarks NEED...: the words that `python -m benchmarks --needs` says.
setup_benchmarks() {
  local need
  for need in "$@"; do
    case "$need" in
      tf_embed)
        setup_build
        build_package
        ;;
      core)
        setup_build
        "$BAZEL" build //benchmarks/core:core_worker --show_result=0 ||
          die "the build failed; Bazel's messages above say where"
        ;;
      kernels)
        need_package libbenchmark-dev /usr/include/benchmark/benchmark.h
        setup_build
        export BAZEL
        ;;
      tpu-compiler)
        PYTHON="$PYTHON" third_party/tpu_compiler/install.sh ||
          die "there is no TPU compiler; the messages above say why"
        export TF_EMBED_TPU_COMPILER_PYTHON="$PWD/.venv-tpu-compiler/bin/python"
        ;;
      *)
        setup_competitor "$need"
        ;;
    esac
  done
}

# setup_competitor NAME: makes .venv-bench-NAME, an environment for something
# that tf_embed is compared with.
setup_competitor() {
  local venv=.venv-bench-$1 requirements=requirements/bench-$1.txt
  is_installed "$venv" "$requirements" && return
  install_into "$venv" "$requirements" "about 1 GB"
  mark_installed "$venv" "$requirements"
}

# --- lint -------------------------------------------------------------------

# Buildifier for ./run lint, if npm is there to bring it.
setup_buildifier() {
  npm_package buildifier 8.2.1 buildifier-linux_amd64 >/dev/null || true
}

# Builds the package and puts it on PYTHONPATH, for programs that import it.
build_package() {
  say "building tf_embed (the first time takes minutes)"
  "$BAZEL" build //python:tf_embed --show_result=0 ||
    die "the build failed; Bazel's messages above say where"
  PYTHONPATH="$("$BAZEL" info bazel-bin 2>/dev/null)/python"
  export PYTHONPATH
}
