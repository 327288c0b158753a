"""`python -m lsns`: the command line."""

from lsns.cli import main

if __name__ == "__main__":
    main()
