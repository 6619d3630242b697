"""``config.yml`` and the environment to frozen settings, with every problem at once. Only reads files."""
