"""`python -m clipmill` is `clipmill`."""

from clipmill.cli import main

if __name__ == "__main__":
    main()
