"""The testing kit: ``pip install "glassrabbit[testing]"`` gives pytest the fixtures ``rabbit``, ``rabbit_vhost``
and ``glass``. Nothing is started, and nothing heavy imported, before a test uses one of them. See docs/testing.md.
"""
