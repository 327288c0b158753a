"""Find the units of a language model that answer to a contrast: `lsns localize`."""

from lsns.__main__ import main

if __name__ == "__main__":
    main("localize")
