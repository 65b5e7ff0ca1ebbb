"""Every shape on the wire, in the log and in the environment. Imports nothing else of Playhead."""
