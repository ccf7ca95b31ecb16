"""Models: tokenizers, generators, their training and metrics. Holds nothing yet."""
