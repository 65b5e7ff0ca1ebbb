"""The HTTP APIs: check, replace identities, append to the log, answer."""
