"""What follows from a run is published and confirmed before the ack. Runs no handler."""
