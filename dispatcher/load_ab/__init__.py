"""Two configurations in turns on one broker, and whether they differ."""
