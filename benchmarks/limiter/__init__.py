"""The limiter on Redis beside a bare EVALSHA and the moving window of the library `limits`."""
