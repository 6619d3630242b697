#!/usr/bin/env bash
# APScheduler 3.11.3: CronTrigger.get_next_fire_time(previous, now), driven with `now = fired + timedelta(seconds=1)`
# (a simulation, or a clock of one's own), alternates for ever between two instants of the hour that is repeated when
# clocks go back. Adding a timedelta to an aware datetime keeps the wall clock and loses the fold, and the trigger
# believes it. With `now` in UTC it goes on.
# Seen on 2026-11-30 with Python 3.11.7, Europe/Berlin, 25 October 2026: the fortieth answer of a job that runs every
# half hour is still 02:30 by the wall clock, and 20:30 in UTC.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check apscheduler==3.11.3 tzdata
seen=$("$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

ZONE = ZoneInfo("Europe/Berlin")


def last_of(count, step):
    trigger, fired = CronTrigger.from_crontab("*/30 * * * *", timezone=ZONE), None
    now = datetime(2026, 10, 25, 1, 45, tzinfo=ZONE)
    for _ in range(count):
        fired = trigger.get_next_fire_time(fired, now)
        now = step(fired)
    return fired


def by_wall(fired):
    return fired + timedelta(seconds=1)


def in_utc(fired):
    return (fired.astimezone(timezone.utc) + timedelta(seconds=1)).astimezone(ZONE)


print(f"by wall clock {last_of(40, by_wall):%d %H:%M}, in UTC {last_of(40, in_utc):%d %H:%M}")
PYTHON
)
echo "$seen"
[ "$seen" = 'by wall clock 25 02:30, in UTC 25 20:30' ] || { echo 'it behaves differently now' >&2; exit 1; }
