"""`python -m mailworkers` is the command `mailworkers`."""

from mailworkers.cli.main import main

if __name__ == "__main__":
    main()
