"""The command line: it reads arguments, calls the API, and tells the outcome; it decides nothing else."""
