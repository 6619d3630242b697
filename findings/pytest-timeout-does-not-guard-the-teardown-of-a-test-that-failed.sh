#!/usr/bin/env bash
# pytest-timeout 2.4.0 with pytest 9.1.0: the timeout of a test covers its fixtures as well: a teardown that takes too
# long is stopped. Once the test itself has failed it is not: pytest_exception_interact, which is there for debuggers,
# cancels the timer at each failure, without a debugger too. A fixture that waits in its teardown for what the failed
# test left behind (a thread, a container, a queue) then waits for ever, in just the runs whose end one needs to see.
# Seen on 2026-11-30 with Python 3.11.7: timeout 1 s, teardown 3 s; the main branch does not have that hook any more
# (issue 196). Cure: a deadline in the teardown itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pytest==9.1.0 pytest-timeout==2.4.0
cat >"$folder/test_teardown.py" <<'PYTHON'
import time

import pytest


@pytest.fixture
def slow(request):
    yield
    time.sleep(3)
    print(f"{request.node.name} was torn down")


@pytest.mark.parametrize("outcome", ["passes", "fails"])
def test(slow, outcome):
    assert outcome == "passes"
PYTHON
seen=$(cd "$folder" && { venv/bin/python -m pytest --timeout 1 -s -p no:cacheprovider test_teardown.py || true; } |
  grep --only-matching --extended-regexp 'test.[a-z]+. was torn down|^E +Failed: Timeout|[0-9]+ failed.* error')
echo "$seen"
[ "$seen" = 'test[fails] was torn down
E       Failed: Timeout
1 failed, 1 passed, 1 error' ] || { echo 'it behaves differently now' >&2; exit 1; }
