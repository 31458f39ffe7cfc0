"""What the command line does besides serving; app/cli.py is the list."""
