"""A run of a handler ends once, whatever the handler does. Knows no AMQP."""
