"""``python -m simdml``."""

from simdml.cli.start import main

if __name__ == "__main__":
    main()
