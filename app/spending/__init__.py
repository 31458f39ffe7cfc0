"""The account of one request: limits taken and a row written before the paid call, both settled after it."""

from app.spending.account import Account
from app.spending.amounts import entry_of
from app.spending.reopened import Reopened

__all__ = ["Account", "Reopened", "entry_of"]
