"""AMQP frames as they pass between a client and a broker: decoded, matched, shown. Read from the specification
alone; neither pika nor a task is known here.
"""
