#!/usr/bin/env bash
# pytest 9.2.0 with pytest-xdist 3.8.0: tests marked xdist_group are spread over all workers in spite of
# --dist loadgroup, without a warning. xdist writes the group behind the node id of each item, and the node ids that
# reach its scheduler do not have it. With pytest 9.1.0 one worker runs all tests of a group. With 9.2.0 each worker
# pays for a fixture of the module, and two tests that must not run side by side do.
# Seen on 2026-11-30 with Python 3.11.7: 'pytest 9.1.0: 1 worker, pytest 9.2.0: 2 workers'. Cure: pytest below 9.2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cat >"$folder/test_group.py" <<'PYTHON'
import time

import pytest


@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", range(8))
def test_one(number):
    time.sleep(0.2)
PYTHON
workers() {
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0
  (cd "$folder" && venv/bin/python -m pytest -n 2 --dist loadgroup -v test_group.py) |
    sed -n 's/^\[\(gw[0-9]*\)\].*PASSED.*/\1/p' | sort -u | wc -l
}
before=$(workers 9.1.0)
after=$(workers 9.2.0)
echo "pytest 9.1.0: $before worker, pytest 9.2.0: $after workers"
[ "$before $after" = '1 2' ] || { echo 'it behaves differently now' >&2; exit 1; }
