"""What exists on the broker, as data; its declaration, and what differs from it."""
