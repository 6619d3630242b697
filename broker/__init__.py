"""RabbitMQ as this project uses it: connections, topology, configuration, and what an operator asks. Knows no
handler and no call.
"""
