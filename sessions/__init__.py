"""The arithmetic of one media session: what its events say it was. Pure."""
