"""Generators: one file for each objective, ending with its presets."""
