#!/usr/bin/env bash
# cronsim 2.8: started inside the second pass of the hour that a change of clocks repeats (02:10, fold=1), its first
# answer for '30 2 * * *' is 02:30 of the first pass, which was 40 minutes before the start. A scheduler that
# sleeps until the next answer fires at once, for a time that is over.
# Seen on 2026-11-30 with Python 3.11.7, Europe/Berlin, 25 October 2026. Cure: drop answers that are not after the
# start when both are compared in UTC.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check cronsim==2.8 tzdata
seen=$("$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

start = datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
first = next(CronSim("30 2 * * *", start))
print(f"start {start.isoformat()}, first {first.isoformat()}, {(first.timestamp() - start.timestamp()) / 60:+.0f} min")
PYTHON
)
echo "$seen"
[ "$seen" = 'start 2026-10-25T02:10:00+01:00, first 2026-10-25T02:30:00+02:00, -40 min' ] ||
  { echo 'it behaves differently now' >&2; exit 1; }
