"""Where images live for their links: a protocol, and its implementations side by side."""

from app.store.disk import DiskStore
from app.store.links import Links
from app.store.protocol import ImageStore, Stored

__all__ = ["DiskStore", "ImageStore", "Links", "Stored"]
