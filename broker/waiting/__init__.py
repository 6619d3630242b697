"""What waits in a queue: looked at, moved to another queue, removed. Runs nothing."""
