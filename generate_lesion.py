"""Continue a prompt under a lesion, a control lesion or none: `lsns lesion`."""

from lsns.__main__ import main

if __name__ == "__main__":
    main("lesion")
