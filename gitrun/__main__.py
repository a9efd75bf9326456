"""`python -m gitrun`."""

from gitrun.cli.main import main

if __name__ == "__main__":
    main()
