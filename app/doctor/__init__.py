"""`pinhole doctor`: what of an installation would not work, found before a request does. It never makes an image."""

from app.doctor.command import doctor
from app.doctor.examination import examined
from app.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "doctor", "examined"]
