"""What ``from dispatcher import …`` gives, from where it is."""

from __future__ import annotations

from broker.config.loader import load as load
from broker.config.settings import Settings as Settings
from broker.errors import AccessRefused as AccessRefused
from broker.errors import ConfigError as ConfigError
from broker.errors import ConnectionLost as ConnectionLost
from broker.errors import Refused as Refused
from broker.errors import TooLarge as TooLarge
from broker.errors import TopologyDrift as TopologyDrift
from broker.errors import Unreachable as Unreachable
from broker.errors import Unsendable as Unsendable
from dispatcher.blocking import BlockingDispatcher as BlockingDispatcher
from dispatcher.client import Dispatcher as Dispatcher
from dispatcher.errors import BadRequest as BadRequest
from dispatcher.errors import CallError as CallError
from dispatcher.errors import NoMailbox as NoMailbox
from dispatcher.errors import NoReply as NoReply
from dispatcher.errors import NotOpen as NotOpen
from dispatcher.errors import Overdue as Overdue
from dispatcher.errors import ReplyUnreadable as ReplyUnreadable
from dispatcher.errors import TaskFailed as TaskFailed
from dispatcher.errors import UnknownTask as UnknownTask
from protocol.codec import NotEncodable as NotEncodable
from protocol.errors import GlassrabbitError as GlassrabbitError
from protocol.reply import Reply as Reply
