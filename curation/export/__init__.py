"""Clips as files: MP4, tar shards, pictures, LeRobot; exact, resumable, with their metadata."""
