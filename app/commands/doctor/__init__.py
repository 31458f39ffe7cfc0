"""`pinhole doctor`: what of an installation would not work, found before a request does. It never makes an image."""

from app.commands.doctor.command import doctor
from app.commands.doctor.examination import examined
from app.commands.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "doctor", "examined"]
