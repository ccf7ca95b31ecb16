"""The front door: the command line, the demo and the doctor. Nobody imports it."""
