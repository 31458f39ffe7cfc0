"""Who may do how much: a protocol, and its implementations side by side."""

from app.limiter.embedded import EmbeddedLimiter
from app.limiter.guarded import GuardedLimiter
from app.limiter.protocol import KINDS, Decision, Limiter, Scope, Spend, Standing, Unit, Used

__all__ = [
    "KINDS",
    "Decision",
    "EmbeddedLimiter",
    "GuardedLimiter",
    "Limiter",
    "Scope",
    "Spend",
    "Standing",
    "Unit",
    "Used",
]
