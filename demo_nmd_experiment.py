"""Compare selection by T-test and by NMD: `lsns demo`."""

from lsns.__main__ import main

if __name__ == "__main__":
    main("demo")
