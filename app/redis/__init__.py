"""Redis as limits and runs share it: one connection, scripts, and nothing that a decision does not need."""

from app.redis.line import Line, Script, connect
from app.redis.wire import Lost, Refused, bulk

__all__ = ["Line", "Lost", "Refused", "Script", "bulk", "connect"]
