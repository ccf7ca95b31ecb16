"""Curation on Ray: plan what is missing, run it, commit what comes back."""
