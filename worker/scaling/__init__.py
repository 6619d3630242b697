"""More and fewer workers: pools of processes, Compose services, autoscaling."""
