"""Limits, keys and money against real servers and real processes."""
