"""RabbitMQ's management API, which is asked as the kit (``glassrabbit_testing``) asks it."""

from __future__ import annotations

from glassrabbit_testing.management import Management, ManagementError

__all__ = ["Management", "ManagementError"]
