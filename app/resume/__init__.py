"""What a gateway that ended left with upstreams: how a row holds it, and who goes on with it."""
