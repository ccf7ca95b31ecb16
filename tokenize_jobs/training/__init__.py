"""From tokens of a catalog to a trained generator: recipes, batches, runs, what they publish."""
