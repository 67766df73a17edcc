"""`python -m kd_deploy`, and what torchrun starts."""

from kd_deploy.cli import main

if __name__ == "__main__":
    main()
