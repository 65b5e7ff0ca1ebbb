"""A believable month: an audience, what it watches and when, what goes wrong, and the requests that follow."""
