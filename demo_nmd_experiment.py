"""Compare selection by T-test and by NMD: `lsns demo`."""

from lsns.cli import main

if __name__ == "__main__":
    main("demo")
