"""The worker: from the log into the lake, exactly once; sessions are folded while they play."""
