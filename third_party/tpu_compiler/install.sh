#!/bin/sh
# Makes .venv-tpu-compiler: jax and libtpu in a virtual environment of their
# own (about 1.2 GB), because TensorFlow's pins other versions of what they
# need. Does nothing where it is there already.
#
#   PYTHON  interpreter to make it with, 3.11 or newer; default python3
set -eu
here=$(dirname "$(readlink -f "$0")")
venv=$(readlink -f "$here/../..")/.venv-tpu-compiler
python=${PYTHON:-python3}

if cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
  exit 0
fi
if ! "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))'; then
  echo "error: the TPU compiler needs Python 3.11 or newer with venv; set PYTHON" >&2
  exit 1
fi
echo "Installing the TPU compiler into $venv (about 700 MB to download)"
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check \
  --requirement "$here/requirements.txt"
# Last, so that an interrupted installation is made anew.
cp "$here/requirements.txt" "$venv/installed.txt"
