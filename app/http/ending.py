"""How a connection comes to its end."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class Ending(Enum):
    """How far it is. What comes is heard in the first three.

    =======  ===============================================  =====================================================
    OPEN     Nobody wants its end.                            LEAVING, CLOSING, CLOSED: a close. DEAF: see there.
    LEAVING  Nothing is due; its close waits as in CLOSING.   LAST: something comes. CLOSED: as there.
    LAST     That close is off: what is asked now is the      As OPEN.
             last to be answered.
    DEAF     What came was no HTTP, or the last request came  CLOSING, CLOSED: the close behind the answer.
             whole. What is due still goes out.
    CLOSING  Its close waits for receipts, or for what is     CLOSED: nothing is waited for any more, or for too
             to come of a body that is answered.              long.
    CLOSED   The transport is closed.
    =======  ===============================================  =====================================================
    """

    OPEN = auto()
    LEAVING = auto()
    LAST = auto()
    DEAF = auto()
    CLOSING = auto()
    CLOSED = auto()


UNHEARD: Final = (Ending.DEAF, Ending.CLOSING, Ending.CLOSED)
WAITING: Final = (Ending.LEAVING, Ending.CLOSING)
