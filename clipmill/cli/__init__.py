"""The command line: the library spoken aloud, one module per group of verbs.

`clipmill.cli.root` puts the groups together. Every command imports what it needs when it runs, so
that `clipmill --help` answers at once.
"""

from clipmill.cli.root import app, main

__all__ = ["app", "main"]
