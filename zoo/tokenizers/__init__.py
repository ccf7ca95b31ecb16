"""Families of tokenizers: one readable file each, ending with its presets."""
