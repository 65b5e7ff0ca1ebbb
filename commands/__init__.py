"""What a person types: each verb of the command `playhead`, and what it prints."""
