"""The HTTP APIs: validate, pseudonymize, append to the log, reply."""
