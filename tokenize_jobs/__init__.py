"""From selected clips to token shards, and from shards to batches. Holds nothing yet."""
