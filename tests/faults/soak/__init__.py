"""The soak: gateway processes behind callers that leave and repeat, in front of providers behind the fault proxy.

    python -m tests.faults.soak --seconds 600 --gateways 2 --restart 30

Prints what was asked, answered, lost and paid twice, the peak memory of each gateway and its sockets at the end.
*Lost*: an answer that reached the gateway whole and its caller cannot have; in a run with kill -9, when the ledger
has no `unknown` row for it either. *Paid twice*: a second submit after one that may have been accepted. Everything is
on loopback and stops by itself.
"""
