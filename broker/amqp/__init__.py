"""One RabbitMQ connection over pika: frames, confirms, reconnects. Nothing else imports pika, and nothing here
knows what a task is.
"""
