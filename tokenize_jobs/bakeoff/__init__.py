"""Tokenizers side by side: the same clips, the same protocol, and a video codec at equal bits."""

from tokenize_jobs.bakeoff.run import Bakeoff, Contender, bakeoff

__all__ = ["Bakeoff", "Contender", "bakeoff"]
