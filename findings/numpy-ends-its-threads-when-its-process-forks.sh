#!/usr/bin/env bash
# numpy 2.4.6 (the wheel, with OpenBLAS): its import starts threads of OpenBLAS, which are gone in the *parent* as well
# once that has forked; they come back with the next operation that needs them. So a process that counts its threads to
# find out whether it may fork sees some before its first fork, and none after it, though no code of its own ended any.
# A count that is to tell threads which mind a fork from those that do not has to be taken after a fork.
# Seen on 2026-11-30 with Python 3.11.7 on Linux with two processors (one per thread). Printed: are there more than one?
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import os

import numpy


def threads():
    return len(os.listdir("/proc/self/task"))


imported = threads()
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
forked = threads()
matrix = numpy.ones((600, 600))
matrix @ matrix
print(f"after the import {imported > 1}, after a fork {forked > 1}, after a product {threads() == imported > 1}")
PYTHON
)
echo "$seen"
[ "$seen" = 'after the import True, after a fork False, after a product True' ] ||
  { echo 'it behaves differently now' >&2; exit 1; }
