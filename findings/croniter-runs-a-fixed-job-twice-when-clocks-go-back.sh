#!/usr/bin/env bash
# croniter 7.0.0, whose rewritten handling of summer time skips nothing in a gap: in the hour that is repeated a job at
# a fixed time ('30 2 * * *') comes twice, an hour apart. cron itself (Debian's, see `man cron`) runs such a job once.
# Seen on 2026-11-30 with Python 3.11.7, Europe/Berlin, 25 October 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check croniter==7.0.0 tzdata
seen=$("$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime
from zoneinfo import ZoneInfo

from croniter import croniter

times = croniter("30 2 * * *", datetime(2026, 10, 25, tzinfo=ZoneInfo("Europe/Berlin")))
print(*(times.get_next(datetime).isoformat() for _ in range(3)))
PYTHON
)
echo "$seen"
[ "$seen" = '2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00 2026-10-26T02:30:00+01:00' ] ||
  { echo 'it behaves differently now' >&2; exit 1; }
