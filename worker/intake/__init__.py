"""What a delivery is, whether it is admitted, and whether its task is known. Runs and publishes nothing."""
