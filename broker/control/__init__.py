"""The control stream: read from its beginning, written, and what holds by it. Knows no handler and no task."""
