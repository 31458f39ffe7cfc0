"""Who may do how much: a protocol, and its implementations side by side."""

from app.limiter.embedded import EmbeddedLimiter
from app.limiter.protocol import Decision, Limiter, Scope, Spend, Standing, Unit

__all__ = ["Decision", "EmbeddedLimiter", "Limiter", "Scope", "Spend", "Standing", "Unit"]
