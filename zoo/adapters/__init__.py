"""Models made elsewhere under our verbs: VAEs of diffusers, teachers of transformers, converters.

Each module needs the extra `adapters` and imports it only when something is built.
"""
