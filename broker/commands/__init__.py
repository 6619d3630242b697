"""``python -m broker …``: options and words of its commands. What they do is in the folders beside this one."""
