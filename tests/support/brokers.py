"""What the kit (``glassrabbit_testing``) has of it is what our own tests use."""

from glassrabbit_testing.brokers import *  # noqa: F403 - all of it, under the name by which our tests know it
from glassrabbit_testing.nodes import *  # noqa: F403
