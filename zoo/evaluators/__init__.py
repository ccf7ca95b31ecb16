"""Models that judge what generators make; none of them makes anything itself."""
