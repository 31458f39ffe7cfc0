"""Whatever the bytes, the readers of what strangers send give a value or an error of their own, in any pieces alike.

`pytest` runs each property briefly and always on the same inputs; `make fuzz` for long and on new ones, then the
targets of `targets.py` under a fuzzer that follows coverage.
"""
