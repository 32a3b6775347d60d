"""`python -m nymgate`: the same as the `nymgate` command."""

from nymgate.cli import main

if __name__ == "__main__":
    main()
