"""Queues and workers as they are now, in numbers. Judges nothing: ``broker.doctor`` does."""
