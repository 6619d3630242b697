"""How a worker is steered while it runs. Reads the control stream, and settles nothing."""
