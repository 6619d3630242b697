"""A private RabbitMQ for demonstrations and tests: found, started, stopped, removed."""
