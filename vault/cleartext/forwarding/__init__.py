"""Where a forwarded card is in clear: the filled body, the one connection, the answer until it is redacted."""
