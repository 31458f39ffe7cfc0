"""The wire to callers: the server's protocol, what it shows of a connection, bodies as they come."""
