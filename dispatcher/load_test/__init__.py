"""Load at a rate, with thresholds: plan, run, count, compare."""
