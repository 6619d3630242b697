"""``python -m dispatcher …``: options and words of its commands."""
