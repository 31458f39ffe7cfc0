"""Where images live for their links: a protocol, and its implementations side by side."""

from app.store.disk import DiskStore
from app.store.links import Links
from app.store.protocol import ImageStore, Stored, StoreError

__all__ = ["DiskStore", "ImageStore", "Links", "StoreError", "Stored"]
