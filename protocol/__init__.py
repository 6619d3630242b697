"""What travels: messages, their encoding, limits and error codes. Pure; knows neither pika nor a socket.

``protocol/README.md`` is the specification; ``tests/contract/vectors.json`` holds bytes and values for it.
"""

#: Of all four packages, which come together.
__version__ = "0.1.0"
