"""What a worker counts, and the fields of its log."""
