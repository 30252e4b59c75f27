"""The HTTP/1.1 stack: one listener towards clients, one pool towards each upstream."""

from passgate.edge.wire.listener import Listener
from passgate.edge.wire.outbox import Outbox
from passgate.edge.wire.pool import Pool

__all__ = ["Listener", "Outbox", "Pool"]
